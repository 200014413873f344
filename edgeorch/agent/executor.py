"""Carries out what was decided, one method for each action; every method can be repeated.

Success shows in the observer or in the pod's memory, failure is raised; the worker turns it into a
back-off, an event and a waiting reason (`failures.py`). Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import logging
import shutil
import signal as signals
from typing import TYPE_CHECKING, Any, assert_never

from msgspec import Struct

from edgeorch.agent import attending
from edgeorch.agent.creation import CreateError, Order
from edgeorch.core import actions, container_labels, pod_plan, restarts, runtime_classes
from edgeorch.core.observed import Exit, Kind, State, Stop, former
from edgeorch.lib import clock as clocks
from edgeorch.model import errors as api_errors
from edgeorch.model import kinds, views
from edgeorch.model.runtime_classes import RuntimeClass
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeorch.agent import (
        checks,
        creation,
        devices,
        figures,
        images,
        ports,
        sandboxes,
        volumes,
    )
    from edgeorch.agent.memory import Memory
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.settings import Settings
    from edgeorch.agent.voice import Voice
    from edgeorch.core.actions import Action
    from edgeorch.core.observed import Container
    from edgeorch.runtime import stdio
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

WITHDRAW_LIMIT = 1.0
"""Seconds a pod's end waits for Services to let go of it."""
_START_ERROR = 128
_EPOCH = "1970-01-01T00:00:00Z"


class StartFailed(Exception):
    """The container was made but cannot run; it has ended with that."""


class Workshop(Struct, frozen=True):
    """Everything that work on pods needs; one for the agent."""

    objects: Objects
    containers: ports.Containers
    observer: Observer
    network: ports.Network
    output: ports.Output
    sandboxes: sandboxes.Sandboxes
    volumes: volumes.Volumes
    images: images.ImageKeeper
    maker: creation.Maker
    devices: devices.Devices
    checks: checks.Checks
    withdrawal: ports.Withdrawal | None
    voice: Voice
    clock: clocks.Clock
    settings: Settings
    figures: figures.Figures
    give_way: Callable[[], None] = lambda: None
    """Called when the disk had no room for a container that is to run."""

    async def hear(
        self, pod: views.Meta, spec: views.Container, container: Container
    ) -> stdio.Stdio:
        """From now on its output goes into its log; repeatable. Raises OSError."""
        return await self.output.attach(
            container.id,
            self.maker.log_path(pod, spec.name, container.attempt),
            link=self.maker.log_link(pod, spec.name, container.id),
            terminal=spec.tty,
            stdin=spec.stdin,
        )


class Executor:
    """Acts for one pod. `pod` is the newest state of it."""

    def __init__(self, shop: Workshop, pod: views.Pod, memory: Memory) -> None:
        self.pod = pod
        self._shop = shop
        self._memory = memory
        self._attendant = attending.Attendant(
            shop.checks, shop.observer, shop.voice, shop.clock, memory, self._ip, shop.figures
        )
        self._changed = asyncio.Event()

    async def perform(self, action: Action, wake: asyncio.Event) -> None:  # noqa: C901
        match action:
            case actions.EnsureSandbox():
                await self._ensure_sandbox()
            case actions.RestartAll():
                await self._restart_all(action)
            case actions.MountVolumes():
                await self._mount_volumes(action)
            case actions.EnsureImage():
                await self._ensure_image(action, wake)
            case actions.CreateContainer():
                await self._create(action)
            case actions.StartContainer():
                await self._start(action)
            case actions.RunPostStart():
                spec, kind = self._spec(action.name)
                await self._attendant.post_start(self.pod, spec, kind, action.id)
            case actions.Probe():
                spec, kind = self._spec(action.name)
                say = self._shop.voice.container(self.pod, action.name, kind)
                await self._attendant.probe(action, spec, say, wake)
            case actions.Withdraw():
                await self._withdraw()
            case actions.BeginStop():
                self._begin_stop(action)
            case actions.RunPreStop():
                spec, kind = self._spec(action.name)
                await self._attendant.pre_stop(self.pod, spec, kind, action.id)
            case actions.Signal():
                await self._signal(action)
            case actions.Settle():
                await self._settle(action.id)
            case actions.RemoveContainer():
                await self._remove(action.id)
            case actions.TearDown():
                await self._tear_down()
            case actions.FinishDeletion():
                await self._finish()
            case _:
                assert_never(action)

    # --- making ready ---------------------------------------------------------------------------

    async def _ensure_sandbox(self) -> None:
        shop = self._shop
        token = self._memory.token
        there = (c.sandbox for c in shop.observer.pod(self.pod.metadata.uid))
        if any(made_for != token and not former(made_for, token) for made_for in there):
            told = "Pod sandbox changed, it will be killed and re-created."
            shop.voice.pod(self.pod, "Normal", "SandboxChanged", told)
        name = self.pod.spec.runtime_class_name
        refused = runtime_classes.refusal(name, self._runtime_class(name))
        if refused:
            raise OSError(refused)
        self._memory.torn_down = False
        self._memory.sandbox = await shop.sandboxes.ensure(self.pod, self._memory.token)
        for told in await shop.sandboxes.dns_limits(self.pod):
            shop.voice.pod(self.pod, "Warning", "DNSConfigForming", told)

    def _runtime_class(self, name: str) -> RuntimeClass | None:
        found = self._shop.objects.find(kinds.RUNTIME_CLASS.resource, "", name) if name else None
        return found.view(RuntimeClass) if found else None

    async def _restart_all(self, action: actions.RestartAll) -> None:
        shop, before = self._shop, self._memory.sandbox
        if before is None:
            return
        uid = self.pod.metadata.uid
        self._memory.sandbox = await asyncio.to_thread(
            shop.sandboxes.renew, uid, before, action.token
        )
        self._memory.token = action.token

    async def _mount_volumes(self, action: actions.MountVolumes) -> None:
        ip = self._memory.sandbox.ip if self._memory.sandbox else ""
        self._memory.torn_down = False
        shelf, images = self._shop.volumes, {}
        for volume in await asyncio.to_thread(shelf.unshown_images, self.pod):
            images[str(volume["name"])] = await self._volume_image(volume)
        await shelf.set_up(self.pod, self._shop.maker.env_facts(self.pod, ip), images)
        self._memory.volumes = action.version

    async def _volume_image(self, volume: Mapping[str, Any]) -> str:
        """Chain id of the image whose files a volume shows. Raises ImageError, ContainerdError."""
        source, shop = volume["image"], self._shop
        wanted = views.Container(
            name=str(volume["name"]),
            image=source.get("reference", ""),
            image_pull_policy=source.get("pullPolicy", ""),
        )
        say = functools.partial(shop.voice.pod, self.pod)
        uid = self.pod.metadata.uid
        ready = await shop.images.ensure(uid, wanted, self._auths(), say)
        return ready.config.chain_id

    async def _ensure_image(self, action: actions.EnsureImage, wake: asyncio.Event) -> None:
        spec, kind = self._spec(action.name)
        shop, waits = self._shop, self._memory.waits
        say = shop.voice.container(self.pod, action.name, kind)

        def show(text: str) -> None:
            waits[action.name] = f'Pulling image "{spec.image}": {text}'
            shop.voice.progress(self.pod, action.name, kind, "PullProgress", waits[action.name])
            wake.set()

        try:
            ready = await shop.images.ensure(self.pod.metadata.uid, spec, self._auths(), say, show)
        finally:
            waits.pop(action.name, None)
        self._memory.images[action.name] = (action.attempt, ready)

    def _auths(self) -> list[bytes]:
        """The docker config of each pull secret that is there."""
        lookup = self._shop.volumes.lookup(self.pod.metadata.namespace)
        found, missing = [], []
        for ref in self.pod.spec.image_pull_secrets:
            secret = lookup("secrets", ref.name)
            if secret is None:
                missing.append(ref.name)
                continue
            keys = (".dockerconfigjson", ".dockercfg")
            found += [base64.b64decode(secret.data[key]) for key in keys if key in secret.data]
        if missing:
            told = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
                "attempting to pull the image may not succeed."
            )
            self._shop.voice.pod(self.pod, "Warning", "FailedToRetrieveImagePullSecret", told)
        return found

    async def _create(self, action: actions.CreateContainer) -> None:
        spec, kind = self._spec(action.name)
        shop, memory = self._shop, self._memory
        before = shop.observer.container(action.after) if action.after else None
        _, image = memory.images[action.name]
        order = Order(
            pod=self.pod,
            container=spec,
            kind=kind,
            attempt=action.attempt,
            crashes=action.crashes,
            image=image,
            sandbox=memory.token,
            pod_ip=memory.sandbox.ip if memory.sandbox else "",
            accepted_at=memory.accepted_at,
            last=self._remembered(before),
            target_pid=self._target_pid(spec),
        )
        id_, labels = await shop.maker.create(order, shop.clock.monotonic())
        shop.observer.created(id_, labels)
        say = shop.voice.container(self.pod, action.name, kind)
        say("Normal", "Created", f"Created container: {action.name}")

    def _remembered(self, before: Container | None) -> Exit | None:
        if before is None or before.exit is None:
            return None
        anew = former(before.sandbox, self._memory.token)
        return restarts.remembered(before.exit, all_restart=anew)

    def _target_pid(self, spec: views.Container) -> int:
        """Raises CreateError."""
        target = spec.target_container_name if isinstance(spec, views.EphemeralContainer) else ""
        if not target:
            return 0
        attempts = self._shop.observer.pod(self.pod.metadata.uid)
        for container in attempts:
            if container.name == target and container.state is State.RUNNING and container.pid:
                return container.pid
        told = f"unable to find target container {target}"
        raise CreateError("CreateContainerConfigError", told)

    async def _start(self, action: actions.StartContainer) -> None:
        spec, kind = self._spec(action.name)
        shop = self._shop
        container = shop.observer.container(action.id)
        if container is None or container.state is not State.CREATED:
            return
        say = shop.voice.container(self.pod, action.name, kind)
        try:
            with shop.observer.starting(action.id):
                pid = await self._begun(spec, container)
                at, shown = shop.clock.monotonic(), clocks.rfc3339(shop.clock.now())
                shop.observer.running(action.id, pid, at, shown)
        except (errors.Unavailable, errors.DeadlineExceeded, errors.AlreadyExists):
            raise  # whether it has started shows in containerd's list, or at the next try
        except errors.NotFound:
            # Its record or its snapshot is gone: made again, it can be started.
            await self._remove(action.id)
            raise
        except errors.ContainerdError as error:
            told = f"failed to create containerd task: {error}"
            await self._could_not_start(action.id, told)
            say("Warning", "Failed", f"Error: {told}")
            raise StartFailed(told) from error
        say("Normal", "Started", f"Started container {action.name}")
        text = container_labels.encode_started(at, shown)
        # The word of an ended or removed container comes too late and is not needed.
        with contextlib.suppress(errors.NotFound):
            await shop.containers.update_labels(action.id, {container_labels.STARTED: text})

    async def _begun(self, spec: views.Container, container: Container) -> int:
        """The pid."""
        shop, pod = self._shop, self.pod.metadata
        try:
            return await shop.containers.start(container.id, await shop.hear(pod, spec, container))
        except errors.AlreadyExists:
            await self._clear_task(container.id)
            # Its pipes end with it, and nobody would read what comes through them after that.
            await shop.output.finish(container.id)
            return await shop.containers.start(container.id, await shop.hear(pod, spec, container))

    async def _clear_task(self, container_id: str) -> None:
        """One that ended unseen before its start was answered is in the way of the next try."""
        task = await self._shop.containers.task(container_id)
        if task is not None:
            self._shop.observer.disregard(container_id, task.pid)
        await self._shop.containers.delete_task(container_id, force=True)

    async def _could_not_start(self, container_id: str, why: str) -> None:
        shop = self._shop
        ended = Exit(
            code=_START_ERROR,
            reason="StartError",
            message=why,
            started=_EPOCH,
            finished=clocks.rfc3339(shop.clock.now()),
            at=shop.clock.monotonic(),
            container_id=container_id,
        )
        shop.observer.failed_to_start(container_id, ended)

    # --- stopping -------------------------------------------------------------------------------

    async def _withdraw(self) -> None:
        sandbox = self._memory.sandbox
        if self._shop.withdrawal is not None and sandbox is not None:
            try:
                async with asyncio.timeout(WITHDRAW_LIMIT):
                    await self._shop.withdrawal.withdrawn(self.pod.metadata.uid, sandbox.ip)
            except TimeoutError:
                log.warning("Services still name %s; stopping it all the same", _name(self.pod))
        self._memory.withdrawn = True

    def _begin_stop(self, action: actions.BeginStop) -> None:
        self._memory.stops[action.id] = Stop(self._shop.clock.monotonic())
        if not self._memory.gone and action.message:
            _, kind = self._spec(action.name)
            say = self._shop.voice.container(self.pod, action.name, kind)
            say("Normal", "Killing", action.message)

    async def _signal(self, action: actions.Signal) -> None:
        now = self._shop.clock.monotonic()
        if action.signal == "kill":
            self._memory.stopping(action.id, kill_at=now)
            await self._shop.containers.kill(action.id, signals.SIGKILL, all_processes=True)
            return
        number = _signal_number(self._shop.observer.label(action.id, container_labels.STOP_SIGNAL))
        await self._shop.containers.kill(action.id, number)
        self._memory.stopping(action.id, term_at=now, hook_done=True)

    async def _settle(self, container_id: str) -> None:
        shop = self._shop
        container = shop.observer.container(container_id)
        if container is None or container.exit is None:
            return
        await self._drain(container_id)
        text = container_labels.encode_exit(container.exit)
        with contextlib.suppress(errors.NotFound):
            await shop.containers.update_labels(container_id, {container_labels.ENDED: text})
            await shop.containers.delete_task(container_id)
        shop.observer.settled(container_id)
        self._tell_back_off(container)

    def _tell_back_off(self, container: Container) -> None:
        """Settling comes before waiting: once for each crash that makes the container wait."""
        spec, kind = self._spec(container.name)
        if self._memory.ending_since is not None or container.exit is None:
            return
        if not restarts.wanted(self.pod, spec, kind, container.exit):
            return
        meta = self.pod.metadata
        where = f"{container.name} in pod {meta.name}_{meta.namespace}({meta.uid})"
        say = self._shop.voice.container(self.pod, spec.name, kind)
        say("Warning", "BackOff", f"Back-off restarting failed container {where}")

    async def _drain(self, container_id: str) -> None:
        """Let the log have the last words."""
        await self._shop.output.finish(container_id)

    async def _remove(self, container_id: str) -> None:
        await self._drain(container_id)
        container = self._shop.observer.container(container_id)
        if self._memory.gone:
            # With its containers goes the last trace that leads the next process to its logs.
            await asyncio.to_thread(self._shop.volumes.mark, self.pod.metadata.uid)
        await self._shop.containers.delete(container_id, force=True)
        if container is not None:
            await asyncio.to_thread(self._remove_files, container)
        self._memory.forget(container_id)
        self._shop.observer.removed(container_id)

    def _remove_files(self, container: Container) -> None:
        """The message is in the labels by now; the log stays for one more attempt."""
        maker, meta = self._shop.maker, self.pod.metadata
        maker.message_path(meta.uid, container).unlink(missing_ok=True)
        maker.log_link(meta, container.name, container.id).unlink(missing_ok=True)
        older = maker.log_path(meta, container.name, container.attempt - 1)
        for path in older.parent.glob(f"{older.name}*"):
            path.unlink(missing_ok=True)

    # --- the end --------------------------------------------------------------------------------

    async def _tear_down(self) -> None:
        self._memory.sandbox = None
        if self._memory.gone or self.pod.metadata.deletion_timestamp:
            # While its other traces still lead to it.
            await self._remove_logs()
        await self._remove_volumes()
        await self._shop.sandboxes.tear_down(self.pod)
        self._memory.volumes = None
        self._memory.images.clear()
        self._memory.torn_down = True

    async def _finish(self) -> None:
        meta = self.pod.metadata
        self._shop.images.forget(meta.uid)
        await self._remove_logs()
        await self._remove_volumes()
        if not self._memory.gone:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}}
            try:
                await self._shop.objects.delete(
                    kinds.POD.resource, meta.namespace, meta.name, options
                )
            except api_errors.StatusError as error:
                if error.code not in (404, 409):
                    raise
        self._memory.finished = True

    async def _remove_volumes(self) -> None:
        shows = any(volume.get("image") for volume in self.pod.spec.volumes)
        await self._shop.volumes.remove(self.pod.metadata.uid, shows_images=shows)

    async def _remove_logs(self) -> None:
        folder = self._shop.maker.log_path(self.pod.metadata, "x", 0).parent.parent
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    # --- small ----------------------------------------------------------------------------------

    def _spec(self, name: str) -> tuple[views.Container, Kind]:
        for container, kind in pod_plan.containers_of(self.pod):
            if container.name == name:
                return container, kind
        return views.Container(name=name), Kind.MAIN

    def _ip(self) -> str:
        if self.pod.spec.host_network:
            return self._shop.network.node_addresses.host or "127.0.0.1"
        return self._memory.sandbox.ip if self._memory.sandbox else ""


def _signal_number(name: str) -> int:
    """`SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+1`; anything else is SIGTERM."""
    if name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    found = getattr(signals, full, signals.SIGTERM)
    if isinstance(found, signals.Signals):
        return int(found)
    for base in (signals.SIGRTMIN, signals.SIGRTMAX):
        offset = full.removeprefix(base.name)
        if full.startswith(base.name) and offset[1:].isdigit():
            return int(base) + int(offset)
    return int(signals.SIGTERM)


def _name(pod: views.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
