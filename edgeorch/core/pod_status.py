"""What the pod's status says, from what is seen of it; reasons and words as the kubelet's.

A function of the pod, what is seen and the wall time to show; the status before only matters for
transition times, for conditions that others own, and for containers whose records are gone by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from edgeorch.core import actions, eviction, pod_phase, pod_plan, qos, restarts
from edgeorch.core.observed import Container, Exit, Failure, Held, Kind, PodSeen, State
from edgeorch.lib import backoff
from edgeorch.model import views
from edgeorch.model.kinds import Object

_RESTARTING = "AllContainersRestarting"
_OURS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    _RESTARTING,
)
MAX_MESSAGES = 12 * 1024
"""Bytes of termination messages in the status of one pod."""
_BEGINNING_OF_TIME = "1970-01-01T00:00:00Z"


class Surroundings(Struct, frozen=True):
    """What the status shows besides the pod itself. `now` is wall time as text."""

    now: str
    monotonic: float
    host_ip: str
    crash_loop: backoff.Policy = restarts.CRASH_LOOP


def derive(pod: views.Pod, seen: PodSeen, old: Object, around: Surroundings) -> Object:
    """The whole new status. `old` is the status before and is not changed."""
    said = pod_phase.verdict(pod, seen, around.monotonic)
    phase = pod_phase.phase(pod, seen, around.monotonic)
    status: Object = {key: value for key, value in old.items() if key not in _REPLACED}
    status["phase"] = phase
    if said is not None and said.reason:
        status["reason"] = said.reason
        status["message"] = said.message
    _addresses(pod, seen, status, old, around)
    status["startTime"] = old.get("startTime") or around.now
    status["qosClass"] = old.get("qosClass") or qos.qos_class(pod.spec)
    for field, kinds in _LISTS:
        if said is not None and not seen.containers and not old.get(field):
            continue  # Nothing of it was ever begun: the node did not take it.
        entries = _container_statuses(pod, seen, old.get(field) or [], kinds, around)
        if entries:
            status[field] = entries
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    status["conditions"] = _conditions(pod, seen, status, old, around)
    return status


_REPLACED = ("phase", "reason", "message", "podIP", "podIPs", "hostIP", "hostIPs")
_LISTS = (
    ("initContainerStatuses", (Kind.INIT, Kind.SIDECAR)),
    ("containerStatuses", (Kind.MAIN,)),
    ("ephemeralContainerStatuses", (Kind.EPHEMERAL,)),
)


def _addresses(
    pod: views.Pod, seen: PodSeen, status: Object, old: Object, around: Surroundings
) -> None:
    # Until the device has looked at its addresses, what is known stays.
    host = around.host_ip or old.get("hostIP", "")
    if host:
        status["hostIP"] = host
        status["hostIPs"] = [{"ip": host}]
    ip = seen.sandbox.ip if seen.sandbox else ""
    if pod.spec.host_network and seen.sandbox:
        ip = host
    # A pod that ends keeps the address it had, for whoever reads the last event.
    if not ip and (pod.metadata.deletion_timestamp or status["phase"] in ("Succeeded", "Failed")):
        ip = old.get("podIP", "")
    if ip:
        status["podIP"] = ip
        status["podIPs"] = [{"ip": ip}]


# --- containers ---------------------------------------------------------------------------------


def _container_statuses(
    pod: views.Pod,
    seen: PodSeen,
    old: Iterable[Object],
    kinds: tuple[Kind, ...],
    around: Surroundings,
) -> list[Object]:
    before = {entry.get("name"): entry for entry in old}
    found = []
    for spec, kind in pod_plan.containers_of(pod):
        if kind in kinds:
            entry = _container_status(pod, spec, kind, seen, before.get(spec.name), around)
            found.append(entry)
    # Kubernetes lists containers by name, but init containers as they run.
    return found if Kind.INIT in kinds else sorted(found, key=lambda entry: entry["name"])


def _container_status(
    pod: views.Pod,
    spec: views.Container,
    kind: Kind,
    seen: PodSeen,
    before: Object | None,
    around: Surroundings,
) -> Object:
    latest = seen.latest(spec.name)
    stays = bool(pod.metadata.deletion_timestamp) or pod.terminal or kind is Kind.EPHEMERAL
    never_ran = latest is None or latest.state is State.CREATED
    if never_ran and before is not None and stays and "terminated" in before["state"]:
        return before
    entry: Object = {
        "name": spec.name,
        "state": {},
        "lastState": {},
        "ready": latest is not None and _ready(pod, spec, kind, latest, seen),
        "restartCount": _shown_restarts(latest, before),
        "image": latest.image if latest and latest.image else spec.image,
        "imageID": latest.image_id if latest else "",
    }
    if kind is not Kind.EPHEMERAL:
        entry["started"] = latest is not None and pod_phase.started(spec, latest, seen)
    if latest is not None and latest.state is not State.CREATED:
        entry["containerID"] = f"containerd://{latest.id}"
        if latest.user is not None:
            uid, gid, groups = latest.user
            shown: Object = {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}
            entry["user"] = {"linux": shown}
    _states(pod, spec, kind, seen, latest, before, around, entry)
    _bound_messages(pod, entry)
    _resources(spec, seen, latest, entry)
    if spec.lifecycle is not None and spec.lifecycle.stop_signal:
        entry["stopSignal"] = spec.lifecycle.stop_signal
    return entry


def _bound_messages(pod: views.Pod, entry: Object) -> None:
    """The containers of a pod share the room for termination messages."""
    count = len(pod.spec.containers) + len(pod.spec.init_containers)
    room = MAX_MESSAGES // max(1, count)
    for field in ("state", "lastState"):
        ended = entry[field].get("terminated")
        if ended is not None and len(ended.get("message", "").encode()) > room:
            ended["message"] = ended["message"].encode()[:room].decode("utf-8", "ignore")


def _shown_restarts(latest: Container | None, before: Object | None) -> int:
    if latest is None:
        return int(before["restartCount"]) if before else 0
    # An attempt counts once it runs.
    return latest.attempt - 1 if latest.state is State.CREATED and latest.last else latest.attempt


def _ready(
    pod: views.Pod, spec: views.Container, kind: Kind, latest: Container, seen: PodSeen
) -> bool:
    if kind is Kind.INIT:
        return latest.exit is not None and latest.exit.code == 0
    if kind is Kind.EPHEMERAL:
        return False
    return pod_phase.ready(spec, latest, seen)


def _states(
    pod: views.Pod,
    spec: views.Container,
    kind: Kind,
    seen: PodSeen,
    latest: Container | None,
    before: Object | None,
    around: Surroundings,
    entry: Object,
) -> None:
    last = latest.last if latest else None
    if latest is not None and pod_phase.hook_pending(spec, latest, seen):
        # The kubelet says so of no container before its postStart hook has gone well.
        failure = _failure(seen, spec.name)
        reason, why = (failure.reason, failure.message) if failure else ("ContainerCreating", "")
        entry["state"] = {"waiting": _waiting(reason, why)}
    elif latest is not None and latest.state is State.RUNNING:
        entry["state"] = {"running": {"startedAt": latest.started or around.now}}
    elif latest is not None and latest.exit is not None:
        waiting = None
        if _comes_back(pod, spec, kind, seen, latest):
            waiting = _waiting_to_restart(pod, spec, seen, latest, around)
        if waiting is None:
            entry["state"] = {"terminated": terminated(latest.exit)}
        else:
            last = restarts.remembered(latest.exit, all_restart=seen.former(latest))
            entry["state"] = {"waiting": waiting}
    else:
        entry["state"] = {"waiting": _waiting_to_start(pod, spec, kind, seen)}
    if last is not None:
        entry["lastState"] = {"terminated": terminated(last)}
    elif latest is None and before is not None:
        entry["lastState"] = before.get("lastState") or {}
        if before.get("containerID"):
            entry["containerID"] = before["containerID"]


def terminated(ended: Exit) -> Object:
    """ContainerStateTerminated."""
    found: Object = {"exitCode": ended.code}
    if ended.reason:
        found["reason"] = ended.reason
    if ended.message:
        found["message"] = ended.message
    found["startedAt"] = ended.started or _BEGINNING_OF_TIME
    found["finishedAt"] = ended.finished or _BEGINNING_OF_TIME
    found["containerID"] = f"containerd://{ended.container_id}"
    return found


def _comes_back(
    pod: views.Pod, spec: views.Container, kind: Kind, seen: PodSeen, latest: Container
) -> bool:
    """Whether an ended container is about to run again, so that it shows as waiting."""
    if pod.metadata.deletion_timestamp or pod.terminal or latest.exit is None:
        return False
    anew = seen.former(latest) and kind is not Kind.EPHEMERAL
    return anew or restarts.wanted(pod, spec, kind, latest.exit)


def _waiting_to_restart(
    pod: views.Pod, spec: views.Container, seen: PodSeen, latest: Container, around: Surroundings
) -> Object | None:
    """None when nothing holds it up: until it runs again its end is still what there is to say."""
    failure = _failure(seen, spec.name)
    if failure is not None and failure.retry_at > around.monotonic:
        return _waiting(failure.reason, failure.message)
    wanted_hash = pod_plan.spec_hash(spec)
    if restarts.due(latest, wanted_hash, around.crash_loop) > around.monotonic:
        delay = restarts.delay(latest, wanted_hash, around.crash_loop)
        return _waiting("CrashLoopBackOff", back_off_message(pod, spec.name, delay))
    if failure is not None:
        return _waiting(failure.reason, failure.message)
    if seen.former(latest):
        return _waiting(restarts.ALL_REASON, "")
    told = seen.waits.get(spec.name, "")
    return _waiting("ContainerCreating", told) if told else None


def back_off_message(pod: views.Pod, name: str, delay: float) -> str:
    meta = pod.metadata
    where = f"pod={meta.name}_{meta.namespace}({meta.uid})"
    return f"back-off {_go_duration(delay)} restarting failed container={name} {where}"


def _waiting_to_start(pod: views.Pod, spec: views.Container, kind: Kind, seen: PodSeen) -> Object:
    failure = _failure(seen, spec.name)
    if seen.sandbox is None and actions.EnsureSandbox().topic in seen.failures:
        # The kubelet would not have come to the container.
        failure = seen.failures.get(f"image/{spec.name}")
    if failure is not None:
        return _waiting(failure.reason, failure.message)
    inits = bool(pod.spec.init_containers) and kind is not Kind.EPHEMERAL
    before_us = inits and not pod_phase.initialized(pod, seen)
    reason = "PodInitializing" if before_us else "ContainerCreating"
    return _waiting(reason, seen.waits.get(spec.name, ""))


def _failure(seen: PodSeen, name: str) -> Failure | None:
    for topic in (f"image/{name}", f"create/{name}", f"start/{name}"):
        if topic in seen.failures:
            return seen.failures[topic]
    return None


def _waiting(reason: str, message: str) -> Object:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _resources(
    spec: views.Container, seen: PodSeen, latest: Container | None, entry: Object
) -> None:
    if latest is None or latest.state is State.CREATED:
        return
    asked = {"limits": spec.resources.limits, "requests": spec.resources.requests}
    entry["resources"] = {name: dict(amounts) for name, amounts in asked.items() if amounts}
    if spec.resources.requests:
        entry["allocatedResources"] = dict(spec.resources.requests)
    if held := seen.devices.get(spec.name):
        entry["allocatedResourcesStatus"] = _health(held)


def _health(held: Iterable[Held]) -> list[Object]:
    """What is unplugged is told, whether or not the container minds (KEP-4680)."""
    found: dict[str, list[Object]] = {}
    for each in held:
        health = "Healthy" if each.present else "Unhealthy"
        found.setdefault(each.resource, []).append({"resourceID": each.id, "health": health})
    return [{"name": name, "resources": units} for name, units in found.items()]


def _go_duration(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"


# --- conditions ---------------------------------------------------------------------------------


def _conditions(
    pod: views.Pod, seen: PodSeen, status: Object, old: Object, around: Surroundings
) -> list[Object]:
    before = {entry.get("type"): entry for entry in old.get("conditions") or []}
    generation = pod.metadata.generation
    found = [
        _condition(before, around.now, generation, kind, *judged)
        for kind, judged in _judged(pod, seen, status, before).items()
    ]
    evicted = seen.eviction
    if evicted is not None and evicted.disruption:
        judged = (True, eviction.BY_KUBELET, evicted.message)
        found.append(
            _condition(before, around.now, generation, eviction.DISRUPTION_TARGET, *judged)
        )
    said = {entry["type"] for entry in found}
    others = [entry for kind, entry in before.items() if kind not in _OURS and kind not in said]
    return found + others


def _judged(
    pod: views.Pod, seen: PodSeen, status: Object, before: Mapping[Any, Object]
) -> dict[str, tuple[bool, str, str]]:
    """Condition type to status, reason, message."""
    phase = status["phase"]
    containers = _containers_ready(pod, status, phase)
    found = {
        "PodReadyToStartContainers": (_ready_to_start(seen), "", ""),
        "Initialized": _initialized(pod, seen, phase),
        "Ready": _ready_with_gates(pod, containers, before),
        "ContainersReady": containers,
        "PodScheduled": (True, "", ""),
    }
    anew = any(
        latest is not None and latest.state is not State.ENDED and seen.former(latest)
        for latest in (seen.latest(container.name) for container in seen.containers)
    )
    if anew or _RESTARTING in before:
        found[_RESTARTING] = (anew, "", "")
    return found


def _ready_to_start(seen: PodSeen) -> bool:
    """Whether the sandbox stands, which for the kubelet means that the volumes did before it.

    What has begun had its volumes, also where they are looked at again after a restart of ours.
    """
    if seen.sandbox is None:
        return False
    begun = any(container.state is not State.CREATED for container in seen.containers)
    return seen.volumes is not None or begun


def _initialized(pod: views.Pod, seen: PodSeen, phase: str) -> tuple[bool, str, str]:
    if phase == pod_phase.SUCCEEDED:
        return True, "PodCompleted", ""
    if pod_phase.initialized(pod, seen) or phase == pod_phase.RUNNING:
        return True, "", ""
    names = []
    for spec in pod.spec.init_containers:
        latest = seen.latest(spec.name)
        done = latest is not None and latest.exit is not None and latest.exit.code == 0
        up = latest is not None and pod_phase.started(spec, latest, seen)
        if not (up if spec.restart_policy == "Always" else done):
            names.append(spec.name)
    if not names:
        return True, "", ""
    listed = " ".join(names)
    return False, "ContainersNotInitialized", f"containers with incomplete status: [{listed}]"


def _containers_ready(pod: views.Pod, status: Object, phase: str) -> tuple[bool, str, str]:
    if phase == pod_phase.SUCCEEDED:
        return False, "PodCompleted", ""
    if phase == pod_phase.FAILED:
        return False, "PodFailed", ""
    sidecars = [spec.name for spec in pod.spec.init_containers if spec.restart_policy == "Always"]
    counted = [*sidecars, *(spec.name for spec in pod.spec.containers)]
    lists = ("initContainerStatuses", "containerStatuses")
    ready = {each["name"] for field in lists for each in status.get(field) or () if each["ready"]}
    unready = [name for name in counted if name not in ready]
    if unready:
        listed = " ".join(unready)
        return False, "ContainersNotReady", f"containers with unready status: [{listed}]"
    return True, "", ""


def _ready_with_gates(
    pod: views.Pod, containers: tuple[bool, str, str], before: Mapping[Any, Object]
) -> tuple[bool, str, str]:
    if not containers[0]:
        return containers
    missing = []
    for gate in pod.spec.readiness_gates:
        kind = gate.get("conditionType", "")
        entry = before.get(kind)
        if entry is None:
            missing.append(
                f'corresponding condition of pod readiness gate "{kind}" does not exist.'
            )
        elif entry.get("status") != "True":
            missing.append(
                f'the status of pod readiness gate "{kind}" is not "True", but {entry["status"]}'
            )
    if missing:
        return False, "ReadinessGatesNotReady", ", ".join(missing)
    return True, "", ""


def _condition(
    before: Mapping[Any, Object],
    now: str,
    generation: int,
    kind: str,
    value: bool,
    reason: str,
    message: str,
) -> Object:
    status = "True" if value else "False"
    entry = before.get(kind)
    same = entry is not None and entry.get("status") == status
    moved = entry.get("lastTransitionTime") if entry is not None and same else now
    found: Object = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": moved or now,
    }
    if generation:
        found["observedGeneration"] = generation
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found
