"""Voluntary disruption: how many pods may go, and whether this one may.

`status` counts for one budget what pkg/controller/disruption counts; `judge` answers an eviction as
pkg/registry/core/pod/storage/eviction.go does. An allowed eviction is noted on the budget
(disruptedPods) and lowers what it allows at once, so that two at the same moment never spend the
same allowance; the note goes when the pod does, or after two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from edgeorch.core import pod_facts, rollout
from edgeorch.lib import json
from edgeorch.model import selectors, views, workloads
from edgeorch.model.kinds import Object

ALLOWED = "DisruptionAllowed"
SYNC_FAILED = "SyncFailed"
NOTE_SECONDS = 120.0
"""How long an allowed eviction counts as a pod lost."""
_MAX_NOTES = 2000

Scale = Callable[[views.OwnerReference], int | None]
"""The size of the workload that a controller reference means; None when it has no size."""


class Expected(Struct, frozen=True):
    """How many pods there should be, and how many of them healthy. `unmanaged`: without a
    controller, which budgets by share cannot count."""

    pods: int
    healthy: int
    unmanaged: tuple[str, ...] = ()


class ScaleError(Exception):
    """The number of expected pods cannot be told; the text says why."""


def selects(budget: workloads.Budget, labels: Mapping[str, str]) -> bool:
    if budget.spec.selector is None:
        return False
    return selectors.label_selector(json.to_builtins(budget.spec.selector))(labels)


def expected(
    budget: workloads.Budget, pods: Sequence[pod_facts.PodFacts], scale: Scale
) -> Expected:
    """Raises ScaleError."""
    least, most = budget.spec.min_available, budget.spec.max_unavailable
    if most is not None:
        total, unmanaged = _sizes(pods, scale)
        healthy = total - rollout.resolve(most, total, round_up=True)
        return Expected(total, max(0, healthy), unmanaged)
    if isinstance(least, str):
        total, unmanaged = _sizes(pods, scale)
        return Expected(total, rollout.resolve(least, total, round_up=True), unmanaged)
    return Expected(len(pods), least or 0)


def _sizes(pods: Sequence[pod_facts.PodFacts], scale: Scale) -> tuple[int, tuple[str, ...]]:
    """The sizes of all workloads that the pods are of, each once."""
    found: dict[str, int] = {}
    unmanaged = []
    for pod in pods:
        refs = pod.metadata.owner_references
        ref = next((ref for ref in refs if ref.controller), None)
        if ref is None:
            unmanaged.append(pod.metadata.name)
        elif ref.uid not in found:
            size = scale(ref)
            if size is None:
                kind = f"{ref.kind.lower()}s"
                group = ref.api_version.rpartition("/")[0]
                resource = f"{kind}.{group}" if group else kind
                raise ScaleError(f"{resource} does not implement the scale subresource")
            found[ref.uid] = size
    return sum(found.values()), tuple(unmanaged)


class Notes(Struct, frozen=True):
    """Evictions that are allowed and not yet seen: still counted, or given up after too long."""

    kept: dict[str, str]
    given_up: list[str]
    again: float | None
    """Seconds until the next one is given up."""


def notes(
    budget: workloads.Budget,
    pods: Sequence[pod_facts.PodFacts],
    age: Callable[[str], float],
) -> Notes:
    """`age`: seconds since a time as noted."""
    kept, given_up, waits = {}, [], []
    there = {pod.metadata.name for pod in pods if not pod.terminating}
    for name, noted in budget.status.disrupted_pods.items():
        if name not in there:
            continue
        left = NOTE_SECONDS - age(noted)
        if left <= 0:
            given_up.append(name)
        else:
            kept[name] = noted
            waits.append(min(left, NOTE_SECONDS))
    return Notes(kept, given_up, min(waits, default=None))


def status(
    budget: workloads.Budget,
    pods: Sequence[pod_facts.PodFacts],
    found: Expected,
    noted: Mapping[str, str],
    stamp: str,
) -> Object:
    healthy = sum(
        pod.ready and not pod.terminating and pod.metadata.name not in noted for pod in pods
    )
    allowed = max(0, healthy - found.healthy) if found.pods > 0 else 0
    made: Object = {
        "observedGeneration": budget.metadata.generation,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": found.healthy,
        "expectedPods": found.pods,
    }
    if noted:
        made["disruptedPods"] = dict(noted)
    reason = "SufficientPods" if allowed else "InsufficientPods"
    made["conditions"] = [
        _condition(budget, "True" if allowed else "False", reason, "", stamp),
        *_others(budget),
    ]
    return made


def failed(budget: workloads.Budget, obj: Object, why: str, stamp: str) -> Object:
    """The status when the pods cannot be counted: nothing may go."""
    condition = _condition(budget, "False", SYNC_FAILED, why, stamp)
    kept = {"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0} | (obj.get("status") or {})
    return {**kept, "disruptionsAllowed": 0, "conditions": [condition, *_others(budget)]}


def _condition(
    budget: workloads.Budget, value: str, reason: str, message: str, stamp: str
) -> Object:
    known = next((each for each in budget.status.conditions if each.type == ALLOWED), None)
    since = known.last_transition_time if known and known.status == value else None
    return {
        "type": ALLOWED,
        "status": value,
        "observedGeneration": budget.metadata.generation,
        "lastTransitionTime": since or stamp,
        "reason": reason,
        "message": message,
    }


def _others(budget: workloads.Budget) -> list[Object]:
    return [
        {key: value for key, value in json.to_builtins(each).items() if value is not None}
        for each in budget.status.conditions
        if each.type != ALLOWED
    ]


# --- evictions ----------------------------------------------------------------------------------


class Evict(Struct, frozen=True):
    """It may go. `spends`: the budget that must be told of it."""

    spends: str = ""


class Refuse(Struct, frozen=True):
    """Not now. `cause`: what the budget says; `retry_after` seconds, 0: unknown."""

    cause: str
    retry_after: int = 0


class Impossible(Struct, frozen=True):
    """Several budgets speak of the pod, or a budget has lost count."""

    message: str
    forbidden: bool = False


Verdict = Evict | Refuse | Impossible
_SEVERAL = (
    "This pod has more than one PodDisruptionBudget, "
    "which the eviction subresource does not support."
)


def judge(pod: pod_facts.PodFacts, budgets: Sequence[workloads.Budget]) -> Verdict:
    """`budgets`: those of the pod's namespace that select it."""
    if pod.terminal or pod.terminating or pod.status.phase in ("Pending", ""):
        return Evict()
    if not budgets:
        return Evict()
    if len(budgets) > 1:
        return Impossible(_SEVERAL)
    budget, said = budgets[0], budgets[0].status
    if not pod.ready:
        if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
            return Evict()
        if said.current_healthy >= said.desired_healthy > 0:
            return Evict()
    return _spend(budget)


def _spend(budget: workloads.Budget) -> Verdict:
    name, said = budget.metadata.name, budget.status
    if said.observed_generation < budget.metadata.generation:
        cause = f"The disruption budget {name} is still being processed by the server."
        return Refuse(cause, retry_after=10)
    if said.disruptions_allowed < 0:
        return Impossible("pdb disruptions allowed is negative", forbidden=True)
    if len(said.disrupted_pods) > _MAX_NOTES:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        return Impossible(why, forbidden=True)
    if said.disruptions_allowed:
        return Evict(spends=name)
    known = next((each for each in said.conditions if each.type == ALLOWED), None)
    if known is not None and known.reason == SYNC_FAILED:
        return Refuse(
            f"The disruption budget {name} does not allow evicting pods currently because it "
            "failed sync" + (f": {known.message}" if known.message else "")
        )
    return Refuse(
        f"The disruption budget {name} needs {said.desired_healthy} healthy pods and has "
        f"{said.current_healthy} currently"
    )


def spent(obj: Object, pod_name: str, stamp: str) -> Object:
    """The budget with one eviction noted."""
    said: dict[str, Any] = dict(obj.get("status") or {})
    said["disruptionsAllowed"] = said.get("disruptionsAllowed", 0) - 1
    said["disruptedPods"] = {**(said.get("disruptedPods") or {}), pod_name: stamp}
    return {**obj, "status": said}


def targeted(pod: Object, stamp: str) -> Object:
    """The pod with the condition that says it was evicted on request."""
    said: dict[str, Any] = dict(pod.get("status") or {})
    others = [c for c in said.get("conditions") or [] if c.get("type") != "DisruptionTarget"]
    made = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": stamp,
    }
    return {**pod, "status": {**said, "conditions": [*others, made]}}
