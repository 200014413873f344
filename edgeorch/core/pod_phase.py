"""What a pod as a whole has come to: still wanted, done, failed; and the phase that shows it.

A terminal phase appears only when nothing of the pod runs any more (KEP-3329), so that whoever
counts finished pods never counts one that still uses the device.
"""

from __future__ import annotations

from msgspec import Struct

from edgeorch.core import restarts
from edgeorch.core.observed import Container, Hook, Kind, PodSeen, ProbeKind, State
from edgeorch.model import views

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
DEADLINE = "DeadlineExceeded"


class Verdict(Struct, frozen=True):
    """Why the pod must end, and as what."""

    phase: str
    reason: str = ""
    message: str = ""


def verdict(pod: views.Pod, seen: PodSeen, now: float) -> Verdict | None:
    """None while the pod is to go on."""
    if pod.terminal:
        return Verdict(pod.status.phase, pod.status.reason, pod.status.message)
    if seen.eviction is not None:
        return Verdict(FAILED, seen.eviction.reason, seen.eviction.message)
    deadline = pod.spec.active_deadline_seconds
    if deadline is not None and now - seen.accepted_at >= deadline:
        why = "Pod was active on the node longer than the specified deadline"
        return Verdict(FAILED, DEADLINE, why)
    if pod.spec.os is not None and pod.spec.os.name not in ("", "linux"):
        why = "Failed to admit pod as the OS field doesn't match node OS"
        return Verdict(FAILED, "PodOSNotSupported", why)
    codes = _final_codes(pod, seen)
    if codes is not None:
        return Verdict(FAILED if any(codes) else SUCCEEDED)
    return Verdict(FAILED) if _abandoned(pod, seen) or _init_failed(pod, seen) else None


def _final_codes(pod: views.Pod, seen: PodSeen) -> list[int] | None:
    """How the main containers ended; None while one runs, will run, or has not run yet."""
    codes = []
    for spec in pod.spec.containers:
        latest = seen.latest(spec.name)
        if latest is None or latest.exit is None or seen.former(latest):
            return None
        if restarts.wanted(pod, spec, Kind.MAIN, latest.exit):
            return None
        codes.append(latest.exit.code)
    return codes


def phase(pod: views.Pod, seen: PodSeen, now: float) -> str:
    still = any(container.state is State.RUNNING for container in seen.containers)
    said = verdict(pod, seen, now)
    if said is not None and not still:
        return said.phase
    if pod.metadata.deletion_timestamp and seen.containers and not still:
        return _final(pod, seen)
    latest = [seen.latest(spec.name) for spec in pod.spec.containers]
    if not initialized(pod, seen) and not any(found and seen.former(found) for found in latest):
        return PENDING
    by_name = {spec.name: spec for spec in pod.spec.containers}
    run = (f is not None and _has_run(by_name[f.name], f, seen) for f in latest)
    return RUNNING if all(run) else PENDING


def initialized(pod: views.Pod, seen: PodSeen) -> bool:
    """Whether every init container has done its work and every sidecar has started."""
    if any(c.kind is Kind.MAIN and _counts(c, seen) for c in seen.containers):
        return True
    for spec in pod.spec.init_containers:
        latest = seen.latest(spec.name)
        if latest is None or seen.former(latest):
            return False
        if spec.restart_policy == "Always":
            if not started(spec, latest, seen):
                return False
        elif latest.exit is None or latest.exit.code != 0:
            return False
    return True


def started(spec: views.Container, container: Container, seen: PodSeen) -> bool:
    """What the status calls `started`: running, postStart done, startup probe passed."""
    if container.state is not State.RUNNING:
        return False
    hook = spec.lifecycle.post_start if spec.lifecycle else None
    if hook is not None and seen.hooks.get(container.id) is not Hook.DONE:
        return False
    return spec.startup_probe is None or seen.verdict(container, ProbeKind.STARTUP) is True


def ready(spec: views.Container, container: Container, seen: PodSeen) -> bool:
    """One that is to be restarted is not ready; one whose pod ends is as long as it answers."""
    stopping = container.id in seen.stops and seen.ending_since is None
    if stopping or not started(spec, container, seen):
        return False
    return spec.readiness_probe is None or seen.verdict(container, ProbeKind.READINESS) is True


def probes(spec: views.Container) -> list[tuple[ProbeKind, views.Probe]]:
    found = (
        (ProbeKind.STARTUP, spec.startup_probe),
        (ProbeKind.LIVENESS, spec.liveness_probe),
        (ProbeKind.READINESS, spec.readiness_probe),
    )
    return [(kind, probe) for kind, probe in found if probe is not None]


def _final(pod: views.Pod, seen: PodSeen) -> str:
    for spec in pod.spec.containers:
        latest = seen.latest(spec.name)
        if latest is None or latest.exit is None or latest.exit.code != 0:
            return FAILED
    return SUCCEEDED


def _abandoned(pod: views.Pod, seen: PodSeen) -> bool:
    """A pod that must not restart has lost its sandbox in the midst of its run (a reboot)."""
    if pod.spec.restart_policy != "Never" or seen.sandbox is not None:
        return False
    return any(c.state is State.ENDED and c.kind is not Kind.EPHEMERAL for c in seen.containers)


def _init_failed(pod: views.Pod, seen: PodSeen) -> bool:
    for spec in pod.spec.init_containers:
        latest = seen.latest(spec.name)
        if latest is None or latest.exit is None or spec.restart_policy == "Always":
            continue
        if seen.former(latest) or latest.exit.code == 0:
            continue
        if not restarts.wanted(pod, spec, Kind.INIT, latest.exit):
            return True
    return False


def hook_pending(spec: views.Container, container: Container, seen: PodSeen) -> bool:
    """Whether it runs, but its postStart hook has not gone well so far."""
    hook = spec.lifecycle.post_start if spec.lifecycle else None
    runs = container.state is State.RUNNING
    return hook is not None and runs and seen.hooks.get(container.id) is not Hook.DONE


def _has_run(spec: views.Container, container: Container, seen: PodSeen) -> bool:
    if container.last is not None:
        return True
    return container.state is not State.CREATED and not hook_pending(spec, container, seen)


def _counts(container: Container, seen: PodSeen) -> bool:
    return seen.sandbox is not None and container.sandbox == seen.sandbox.token
