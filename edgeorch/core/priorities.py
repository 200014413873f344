"""What a new Pod gets from its PriorityClass (Kubernetes' Priority admission plugin)."""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.priority_classes import PREEMPT, PriorityClass


def name_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("priorityClassName") or "")


def default_of(classes: Iterable[PriorityClass]) -> PriorityClass | None:
    """The class of pods that name none: of several that want to be it, the lowest."""
    wanting = [each for each in classes if each.global_default]
    return min(wanting, key=lambda each: each.value) if wanting else None


def complete(pod: Object, found: PriorityClass | None) -> None:
    """Give `pod` its priority, in place. Raises StatusError where it says otherwise itself.

    `found` is the class that it names, or else the default; None where there is no such class.
    """
    spec, name = pod["spec"], name_of(pod)
    if name and found is None:
        raise _forbidden(pod, f"no PriorityClass with name {name} was found")
    priority, policy = (found.value, found.preemption_policy) if found else (0, PREEMPT)
    if not name and found is not None:
        spec["priorityClassName"] = found.metadata.name
    own = spec.get("priority")
    if own not in (None, priority):
        raise _forbidden(pod, _computed("integer", "priority", own, priority))
    own = spec.get("preemptionPolicy")
    if own not in (None, "", policy):
        raise _forbidden(pod, _computed("string", "PreemptionPolicy", own, policy))
    spec["priority"] = priority
    spec["preemptionPolicy"] = policy


def check_default(new: Object, classes: Iterable[PriorityClass]) -> None:
    """Only one class is that of pods that name none. Raises StatusError."""
    name = new["metadata"].get("name", "")
    held = default_of(classes)
    if new.get("globalDefault") and held is not None and held.metadata.name != name:
        why = (
            f"PriorityClass {held.metadata.name} is already marked as default. "
            "Only one default can exist"
        )
        raise errors.forbidden("priorityclasses.scheduling.k8s.io", name, why)


def _computed(what: str, field: str, own: object, computed: object) -> str:
    return (
        f"the {what} value of {field} ({own}) must not be provided in pod spec; priority admission "
        f"controller computed {computed} from the given PriorityClass name"
    )


def _forbidden(pod: Object, why: str) -> errors.StatusError:
    meta = pod.get("metadata") or {}
    return errors.forbidden("pods", meta.get("generateName") or meta.get("name", ""), why)
