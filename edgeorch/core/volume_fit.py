"""Whether the volumes of a pod's claims let it run on the node, in the scheduler's own words.

As the plugins VolumeBinding and VolumeRestrictions of pkg/scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from edgeorch.core import local_path, pod_facts, volume_binding, volume_match
from edgeorch.core.scheduling import Refusal
from edgeorch.model import storage, views

Claim = storage.PersistentVolumeClaim
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"
ELSEWHERE = "node(s) had volume node affinity conflict"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
IN_USE = (
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)


class Seen(Struct, frozen=True):
    claim: Callable[[str], Claim | None]
    """A claim of the pod's namespace."""
    volumes: Mapping[str, storage.PersistentVolume]
    classes: Mapping[str, storage.StorageClass]
    others: Callable[[str], Iterable[pod_facts.PodFacts]]
    """Pods that name the claim, this one among them."""


def unusable(pod: pod_facts.PodFacts, seen: Seen) -> Refusal | None:
    """What is wrong with its claims wherever it were to run."""
    own = pod.own_claims
    unbound = False
    for name in pod.claims:
        claim = seen.claim(name)
        if claim is None:
            told = f'persistentvolumeclaim "{name}" not found'
            if name in own:
                told = (
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim"
                    f' "{name}"'
                )
            return Refusal([told], whole=True)
        why = _broken(pod, claim, own)
        if why:
            return Refusal([why], whole=True)
        if not volume_binding.is_bound(claim) and (
            claim.spec.volume_name or not volume_binding.is_delayed(claim, seen.classes)
        ):
            unbound = True
    return Refusal([UNBOUND], whole=True) if unbound else None


def _broken(pod: pod_facts.PodFacts, claim: Claim, own: set[str]) -> str:
    meta = claim.metadata
    if claim.status.phase == "Lost":
        return (
            f'persistentvolumeclaim "{meta.name}" bound to non-existent persistentvolume'
            f' "{claim.spec.volume_name}"'
        )
    if meta.deletion_timestamp:
        return f'persistentvolumeclaim "{meta.name}" is being deleted'
    if meta.name in own:
        owner = meta.controller
        if owner is None or owner.uid != pod.metadata.uid:
            return (
                f"PVC {meta.namespace}/{meta.name} was not created for pod"
                f" {pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"
            )
    return ""


def conflict(pod: pod_facts.PodFacts, node: views.Node, seen: Seen) -> Refusal | None:
    """What is wrong with its claims on this node; all of them are usable somewhere."""
    claims = [claim for name in pod.claims if (claim := seen.claim(name)) is not None]
    if any(_is_held(pod, claim, seen) for claim in claims):
        return Refusal([IN_USE], resolvable=True)
    reasons = set()
    taken: set[str] = set()
    for claim in claims:
        if volume_binding.is_bound(claim):
            volume = seen.volumes.get(claim.spec.volume_name)
            if volume is None:
                reasons.add(NO_VOLUME)
            elif not volume_match.reaches(volume, node):
                reasons.add(ELSEWHERE)
        elif not _can_have(claim, node, seen, taken):
            reasons.add(NO_MATCH)
    return Refusal(sorted(reasons)) if reasons else None


def _is_held(pod: pod_facts.PodFacts, claim: Claim, seen: Seen) -> bool:
    if "ReadWriteOncePod" not in claim.spec.access_modes:
        return False
    return any(
        other.metadata.uid != pod.metadata.uid and other.spec.node_name and not other.terminal
        for other in seen.others(claim.metadata.name)
    )


def _can_have(claim: Claim, node: views.Node, seen: Seen, taken: set[str]) -> bool:
    chosen = claim.metadata.annotations.get(volume_binding.SELECTED_NODE)
    if chosen is not None:
        return chosen == node.metadata.name
    volume = volume_match.find(claim, seen.volumes.values(), node, taken)
    if volume is not None:
        taken.add(volume.metadata.name)
        return True
    found = seen.classes.get(volume_match.class_of_claim(claim) or "")
    if found is None or found.provisioner == volume_binding.NO_PROVISIONER:
        return False
    return local_path.is_allowed(found, node)


def open_claims(pod: pod_facts.PodFacts, seen: Seen) -> list[str]:
    """Names of those that are bound only now that the pod has its node."""
    found = [claim for name in pod.claims if (claim := seen.claim(name)) is not None]
    return [claim.metadata.name for claim in found if not volume_binding.is_bound(claim)]
