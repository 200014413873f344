"""What goes on beside a running container: its hooks and its probes, in the kubelet's words.

Results go into the pod's memory, where the next decision sees them; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING

from edgeorch.agent import checks, figures
from edgeorch.core import probe_state
from edgeorch.core.observed import Failure, Hook, Kind, ProbeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeorch.agent.memory import Memory
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.voice import Say, Voice
    from edgeorch.core import actions
    from edgeorch.core.observed import Container
    from edgeorch.lib import clock as clocks
    from edgeorch.model import views

log = logging.getLogger(__name__)

_TRIES = 3
"""How often a probe that cannot be made is tried before that is told."""
_HOOK_ERROR_SHOWN = 5.0
"""Seconds in which a container whose postStart hook has failed shows that."""


class Attendant:
    def __init__(
        self,
        made: checks.Checks,
        observer: Observer,
        voice: Voice,
        clock: clocks.Clock,
        memory: Memory,
        ip: Callable[[], str],
        counted: figures.Figures,
    ) -> None:
        """`ip` is where the pod is reached."""
        self._checks = made
        self._observer = observer
        self._voice = voice
        self._clock = clock
        self._memory = memory
        self._ip = ip
        self._figures = counted
        self._began = clock.monotonic()

    # --- hooks ----------------------------------------------------------------------------------

    async def post_start(
        self, pod: views.Pod, spec: views.Container, kind: Kind, container_id: str
    ) -> None:
        hook = spec.lifecycle.post_start if spec.lifecycle else None
        if hook is None:
            return
        trouble = await self._hook(hook, pod, spec, container_id)
        self._memory.hooks[container_id] = Hook.FAILED if trouble else Hook.DONE
        if trouble:
            # Only the status tells why: events are read by more people.
            say = self._voice.container(pod, spec.name, kind)
            say("Warning", "FailedPostStartHook", "PostStartHook failed")
            until = self._clock.monotonic() + _HOOK_ERROR_SHOWN
            self._memory.failures[f"start/{spec.name}"] = Failure(
                "PostStartHookError", trouble, until
            )

    async def pre_stop(
        self, pod: views.Pod, spec: views.Container, kind: Kind, container_id: str
    ) -> None:
        hook = spec.lifecycle.pre_stop if spec.lifecycle else None
        if hook is not None:
            trouble = await self._hook(hook, pod, spec, container_id)
            if trouble:
                log.info("%s", trouble)
                say = self._voice.container(pod, spec.name, kind)
                say("Warning", "FailedPreStopHook", "PreStopHook failed")
        self._memory.stopping(container_id, hook_done=True)

    async def _hook(
        self,
        hook: views.LifecycleHandler,
        pod: views.Pod,
        spec: views.Container,
        container_id: str,
    ) -> str:
        """Why it failed; "" when it went well."""
        try:
            well, told = await self._checks.hook(hook, spec, container_id, self._ip())
        except checks.Unknown as error:
            well, told = False, str(error)
        if well:
            return ""
        meta = pod.metadata
        what = "Exec lifecycle hook ([])"
        if hook.exec is not None:
            what = f"Exec lifecycle hook ([{' '.join(hook.exec.command)}])"
        elif hook.http_get is not None:
            what = f"HTTP lifecycle hook ({hook.http_get.path.removeprefix('/')})"
        elif hook.tcp_socket is not None:
            what = f"TCP lifecycle hook ({hook.tcp_socket.port})"
        where = f'Container "{spec.name}" in Pod "{meta.name}_{meta.namespace}({meta.uid})"'
        return f"{what} for {where} failed - error: {told}"

    # --- probes ---------------------------------------------------------------------------------

    async def probe(
        self,
        action: actions.Probe,
        spec: views.Container,
        say: Say,
        wake: asyncio.Event,
    ) -> None:
        """Until the verdict is final or the plan drops it."""
        container = self._observer.container(action.id)
        probe = probe_of(spec, action.kind)
        if container is None or probe is None:
            return
        await asyncio.sleep(self._delay(container, action.kind, probe))
        run = probe_state.Run()
        loop = asyncio.get_running_loop()
        while True:
            tick = loop.time()
            well = await self._ask(action, probe, spec, say)
            self._count(action, well, loop.time() - tick)
            if well is not None:
                run = probe_state.advance(run, well)
                said = probe_state.verdict(run, probe)
                if said is not None and self._judge(action, said):
                    wake.set()
                if said is not None and probe_state.ends_probing(action.kind, said):
                    return
            await asyncio.sleep(max(0.0, tick + probe.period_seconds - loop.time()))

    def _count(self, action: actions.Probe, well: bool | None, seconds: float) -> None:
        key = (action.name, action.kind, figures.RESULTS[well])
        self._memory.probed[key] = self._memory.probed.get(key, 0) + 1
        self._figures.probes.observe(seconds, action.kind.value.capitalize())

    def _delay(self, container: Container, kind: ProbeKind, probe: views.Probe) -> float:
        """Seconds to the first probe.

        Of containers of a former process, whose verdicts are known, the first probes are spread
        over their period: else all would go on in step for ever.
        """
        begun = container.started_at or 0.0
        now = self._clock.monotonic()
        delay = max(0.0, begun + probe.initial_delay_seconds - now)
        known = self._memory.probes.get((container.id, kind)) is not None
        if known and begun < self._began and now - self._began < probe.period_seconds:
            delay += probe.period_seconds * (zlib.crc32(container.id.encode()) % 1000) / 1000
        return delay

    async def _ask(
        self, action: actions.Probe, probe: views.Probe, spec: views.Container, say: Say
    ) -> bool | None:
        """None when the probe could not be made, which says nothing about the container."""
        name = action.kind.value.capitalize()
        trouble = ""
        for _ in range(_TRIES):
            try:
                well, told = await self._checks.probe(probe, spec, action.id, self._ip())
            except checks.Unreachable as error:
                log.debug("Cannot probe %s: %s", action.id, error)
                return None
            except checks.Unknown as error:
                trouble = str(error)
                continue
            if not well:
                say("Warning", "Unhealthy", f"{name} probe failed: {told}")
            elif told:
                say("Warning", "ProbeWarning", f"{name} probe warning: {told}")
            return well
        said = f"{name} probe errored and resulted in unknown state: {trouble}"
        say("Warning", "Unhealthy", said)
        return None

    def _judge(self, action: actions.Probe, said: bool) -> bool:
        """Whether that is news."""
        key = (action.id, action.kind)
        before = self._memory.probes.get(key)
        self._memory.probes[key] = said
        return before is not said


def probe_of(spec: views.Container, kind: ProbeKind) -> views.Probe | None:
    match kind:
        case ProbeKind.STARTUP:
            return spec.startup_probe
        case ProbeKind.LIVENESS:
            return spec.liveness_probe
        case ProbeKind.READINESS:
            return spec.readiness_probe
