"""How many replicas one metric asks for: usage of pods against its target.

After pkg/controller/podautoscaler/replica_calculator.go. Pods that are over or on their way out do
not count; what a pod uses before it is ready is left aside, and counts as nothing when that would
scale up; a pod that nothing is known of counts against whichever way the others point. Amounts are
in thousandths, as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from edgeorch.core import pod_facts
from edgeorch.lib import quantity
from edgeorch.model import autoscaling, pod_resources

CPU, MEMORY = "cpu", "memory"
INITIALIZATION = 300.0
"""Seconds after its start in which a pod's CPU counts only if it was ready all the while it was
measured (--horizontal-pod-autoscaler-cpu-initialization-period)."""
TOLERANCE = 0.1

Ratio = Callable[[Mapping[str, int]], float]
"""Usage by name of pod to how it stands to the target; 1.0 is just right."""


class MetricError(Exception):
    """The metric tells nothing; the text says why, in Kubernetes' words."""


class Usage(Struct, frozen=True):
    """What one pod used. `containers`: name to CPU in billionths of a core and memory in bytes,
    measured over the last `window` seconds."""

    containers: Mapping[str, tuple[int, int]]
    window: float


class Tolerances(Struct, frozen=True):
    """How far usage may be from its target, as a share of it, before anything is done."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def allow(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Look(Struct, frozen=True):
    """The pods that the target selects, and what they used, by name. `now`: since boot."""

    namespace: str
    pods: Sequence[pod_facts.PodFacts]
    usages: Mapping[str, Usage]
    now: float


class Proposal(Struct, frozen=True):
    replicas: int
    average: int
    """Thousandths that a pod uses."""
    utilization: int | None = None
    """Percent of what is requested."""


def by_utilization(
    current: int, target: int, resource: str, container: str, look: Look, tolerances: Tolerances
) -> Proposal:
    """`target`: percent of requests. `container` "": the whole pod. Raises MetricError."""
    used = _used(resource, container, look)
    groups = _group(resource, look, used)
    requests = {pod.metadata.name: _request(pod, resource, container) for pod in look.pods}

    def ratio(amounts: Mapping[str, int]) -> float:
        return _utilization(amounts, requests) / target

    percent = _utilization(groups.measured, requests)
    average = sum(groups.measured.values()) // len(groups.measured)
    # What nothing is known of uses all it may, so that it holds back a scale-down.
    most = max(100, target)
    missing = {name: requests[name] * most // 100 for name in groups.missing}
    replicas = _replicas(current, groups, ratio, missing, tolerances)
    return Proposal(replicas, average, percent)


def by_average(
    current: int, target: int, resource: str, container: str, look: Look, tolerances: Tolerances
) -> Proposal:
    """`target`: thousandths for each pod. Raises MetricError."""
    used = _used(resource, container, look)
    groups = _group(resource, look, used)

    def ratio(amounts: Mapping[str, int]) -> float:
        return (sum(amounts.values()) // len(amounts)) / target

    average = sum(groups.measured.values()) // len(groups.measured)
    missing = dict.fromkeys(groups.missing, target)
    return Proposal(_replicas(current, groups, ratio, missing, tolerances), average)


def tolerances(behavior: autoscaling.Behavior | None) -> Tolerances:
    if behavior is None:
        return Tolerances()
    return Tolerances(_share(behavior.scale_up.tolerance), _share(behavior.scale_down.tolerance))


def milli(text: str) -> int:
    return quantity.parse(text).milli()


def _share(text: str | None) -> float:
    return TOLERANCE if text is None else quantity.parse(text).nano / quantity.NANO


# --- beneath ------------------------------------------------------------------------------------


class _Groups(Struct, frozen=True):
    """Pods by what may be made of them. `measured` holds those that count at once."""

    ready: int
    measured: dict[str, int]
    unready: list[str]
    missing: list[str]


def _used(resource: str, container: str, look: Look) -> dict[str, int]:
    """Thousandths by name of pod."""
    prefix = f"unable to get metrics for resource {resource}: "
    if not look.usages:
        raise MetricError(f"{prefix}no metrics returned from resource metrics API")
    which = {CPU: 0, MEMORY: 1}.get(resource)
    found = {}
    for pod, usage in sorted(look.usages.items()):
        chosen = usage.containers
        if container:
            if container not in chosen:
                where = f"{look.namespace}/{pod}"
                raise MetricError(
                    f"{prefix}failed to get container metrics: container {container} not present "
                    f"in metrics for pod {where}"
                )
            chosen = {container: chosen[container]}
        if which is not None and chosen:
            found[pod] = sum(_milli(which, amounts[which]) for amounts in chosen.values())
    return found


def _milli(which: int, amount: int) -> int:
    """CPU comes in billionths, rounded up as Kubernetes rounds; memory in whole bytes."""
    return amount * 1000 if which else -(-amount // 10**6)


def _group(resource: str, look: Look, used: Mapping[str, int]) -> _Groups:
    if not look.pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    ready, unready, missing = 0, [], []
    measured = dict(used)
    for pod in look.pods:
        name = pod.metadata.name
        if pod.terminating or pod.status.phase == "Failed":
            measured.pop(name, None)
        elif pod.status.phase in ("Pending", ""):
            unready.append(name)
        elif name not in used:
            missing.append(name)
        elif resource == CPU and _unready(pod, look.usages[name].window, look.now):
            unready.append(name)
        else:
            ready += 1
    for name in unready:
        measured.pop(name, None)
    if not measured:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return _Groups(ready, measured, unready, missing)


def _unready(pod: pod_facts.PodFacts, window: float, now: float) -> bool:
    if not pod.ready_transition or not pod.status.start_time:
        return True
    if now < pod.started_since + INITIALIZATION:
        return not pod.ready or now - window < pod.ready_since
    return not pod.ready and not pod.was_ready


def _request(pod: pod_facts.PodFacts, resource: str, container: str) -> int:
    """Raises MetricError."""
    name, whole = pod.metadata.name, pod.spec.resources
    if not container and whole and any(map(pod_resources.pod_level, whole.requests)):
        found = pod_resources.requests(pod.spec).get(resource)
        if found is None:
            raise MetricError(f"missing pod-level request for {resource} in Pod {name}")
        return -(-found // 10**6)
    sidecars = [each for each in pod.spec.init_containers if each.sidecar]
    total = 0
    for each in [*pod.spec.containers, *sidecars]:
        if container and each.name != container:
            continue
        asked = each.resources.requests.get(resource)
        if asked is None:
            raise MetricError(
                f"missing request for {resource} in container {each.name} of Pod {name}"
            )
        total += milli(asked)
        if container:
            return total
    if container:
        raise MetricError(f"container {container} not found in Pod {name}")
    return total


def _utilization(amounts: Mapping[str, int], requests: Mapping[str, int]) -> int:
    """Percent. Raises MetricError."""
    known = [name for name in amounts if name in requests]
    asked = sum(requests[name] for name in known)
    if not asked:
        raise MetricError("no metrics returned matched known pods")
    return sum(amounts[name] for name in known) * 100 // asked


def _replicas(
    current: int,
    groups: _Groups,
    ratio: Ratio,
    missing: Mapping[str, int],
    tolerances: Tolerances,
) -> int:
    """`missing`: what pods that nothing is known of are taken to use, scaling down."""
    first = ratio(groups.measured)
    rising = bool(groups.unready) and first > 1.0
    if not rising and not groups.missing:
        return current if tolerances.allow(first) else math.ceil(first * groups.ready)
    amounts = dict(groups.measured)
    if first < 1.0:
        amounts |= missing
    elif first > 1.0:
        amounts |= dict.fromkeys(groups.missing, 0)
    if rising:
        amounts |= dict.fromkeys(groups.unready, 0)
    second = ratio(amounts)
    turned = (first < 1.0 < second) or (second < 1.0 < first)
    if turned or tolerances.allow(second):
        return current
    found = math.ceil(second * len(amounts))
    # More pods in the count must not turn the direction either.
    if (second < 1.0 and found > current) or (second > 1.0 and found < current):
        return current
    return found
