"""What a push asks of the Bundle itself, and when it must not be taken."""

from __future__ import annotations

from edgeorch.core import bundle_plan
from edgeorch.model import bundle_header, bundles, errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.model.validation import bundles as rules


def refuse(bundle: bundles.Bundle, version: str, asked: bundles.Push) -> None:
    """Raises StatusError (409) for what must not be taken."""
    resource = kinds.BUNDLE.resource
    if bundle.metadata.deletion_timestamp:
        raise errors.conflict(
            resource, asked.name, "it is being deleted; push again when it is gone"
        )
    refused = bundle_plan.refusal(bundle, version)
    if refused is not None and not asked.force:
        why = (
            f"version {bundles.short(version)} has failed on this device ({refused.reason}); "
            "change the manifests, or push them with ?force=true"
        )
        raise errors.conflict(resource, asked.name, why)


def refuse_order(asked: bundles.Push, highest: str | None) -> None:
    """Raises StatusError (409) for what comes after a later version: somebody may be sending what
    was signed long ago. `highest`: the sequence that was taken, as it is kept."""
    if highest is None:
        return
    floor = bundle_header.number(highest)
    annotation = bundle_header.SEQUENCE
    if floor is None:
        _, namespace, name = bundles.SEQUENCES
        told = f"ConfigMap {namespace}/{name} says {highest!r} of it, which is no sequence"
    elif asked.sequence is None:
        told = f"its manifests have no {annotation}, and one of {floor} was taken before"
    elif asked.sequence < floor:
        told = f"its {annotation} is {asked.sequence}, and one of {floor} was taken before"
    else:
        return
    raise errors.conflict(kinds.BUNDLE.resource, asked.name, told)


def spares_data(bundle: bundles.Bundle, version: str) -> bool:
    """While there is a version that might come back, and would want its data again."""
    good = bundle.status.last_good_version
    return bool(good) and good != version


def spec(before: Object, asked: bundles.Push, version: str) -> Object:
    """The Bundle's, with what is asked for."""
    found = {**before}
    if version:
        found["version"] = version
    if asked.deadline is not None:
        found["deadlineSeconds"] = asked.deadline
    if asked.min_ready is not None:
        found["minReadySeconds"] = asked.min_ready
    if asked.health_url is not None:
        found["healthURL"] = asked.health_url
    return found


def causes(before: Object, asked: bundles.Push, version: str) -> list[errors.Cause]:
    """What is wrong with what is asked for besides the manifests."""
    return rules.bundle({"metadata": {"name": asked.name}, "spec": spec(before, asked, version)})
