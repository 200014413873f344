"""How a Deployment moves its ReplicaSets: the next steps, from one observation.

`plan` follows pkg/controller/deployment (sync.go, rolling.go, recreate.go): find the ReplicaSet of
the current template, scale in proportion when the size changed, else roll. A rolling update never
has more than replicas + maxSurge pods, and never gives up an available pod when fewer than
replicas - maxUnavailable would remain. Stricter than Kubernetes, a status that lags behind its spec
cannot loosen these bounds: pods that were to go still take room until they are reported gone, and
no more pods are believed available than a spec allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from edgeorch.core import revisions, template_hash
from edgeorch.model import views
from edgeorch.model.kinds import Object


class CreateReplicaSet(Struct, frozen=True):
    """For the current template, under the current hash."""

    hash: str
    replicas: int
    annotations: dict[str, str]
    revision: str


class ScaleReplicaSet(Struct, frozen=True):
    name: str
    old: int
    new: int
    annotations: dict[str, str]


class AnnotateReplicaSet(Struct, frozen=True):
    """Bring annotations and minReadySeconds of the current one up to date."""

    name: str
    annotations: dict[str, str]
    min_ready_seconds: int


class DeleteReplicaSet(Struct, frozen=True):
    """It has no pods and lies beyond the revision history limit."""

    name: str


class SetRevision(Struct, frozen=True):
    """Note on the Deployment which revision is current."""

    revision: str


Action = CreateReplicaSet | ScaleReplicaSet | AnnotateReplicaSet | DeleteReplicaSet | SetRevision


def plan(
    deployment: views.Deployment,
    replica_sets: Sequence[views.ReplicaSet],
    *,
    old_pods_left: bool = False,
) -> list[Action]:
    """`replica_sets`: all it owns. `old_pods_left`: pods of old ones still exist (Recreate)."""
    if deployment.metadata.deletion_timestamp:
        return []
    new, old = split(deployment, replica_sets)
    actions: list[Action] = []
    if new is not None:
        actions += _refresh(deployment, new, old)
    sets = [each for each in (new, *old) if each is not None]
    if deployment.spec.paused or _was_resized(deployment, sets):
        actions += _scale(deployment, new, old)
        if deployment.spec.paused:
            actions += _clean_up(deployment, old)
        return actions
    if deployment.spec.strategy.type == "Recreate":
        return actions + _recreate(deployment, new, old, old_pods_left)
    return actions + _roll(deployment, new, old)


def split(
    deployment: views.Deployment, replica_sets: Iterable[views.ReplicaSet]
) -> tuple[views.ReplicaSet | None, list[views.ReplicaSet]]:
    """The ReplicaSet of the current template (the oldest if several), and the others, by age."""
    ordered = sorted(replica_sets, key=_age)
    new = next((each for each in ordered if _is_current(deployment, each)), None)
    return new, [each for each in ordered if each is not new]


def _is_current(deployment: views.Deployment, replica_set: views.ReplicaSet) -> bool:
    return template_hash.same(replica_set.spec.template, deployment.spec.template)


def _age(replica_set: views.ReplicaSet) -> tuple[str, str]:
    meta = replica_set.metadata
    return meta.creation_timestamp or "", meta.name


# --- bounds -------------------------------------------------------------------------------------


def max_surge(deployment: views.Deployment) -> int:
    return _fenceposts(deployment)[0]


def max_unavailable(deployment: views.Deployment) -> int:
    return min(_fenceposts(deployment)[1], deployment.spec.replicas)


def _fenceposts(deployment: views.Deployment) -> tuple[int, int]:
    """maxSurge rounded up and maxUnavailable rounded down, never both zero."""
    if deployment.spec.strategy.type != "RollingUpdate":
        return 0, 0
    rolling = deployment.spec.strategy.rolling_update or views.RollingUpdate()
    replicas = deployment.spec.replicas
    surge = resolve(rolling.max_surge, replicas, round_up=True)
    unavailable = resolve(rolling.max_unavailable, replicas, round_up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def resolve(value: views.IntOrString, total: int, *, round_up: bool) -> int:
    """An int-or-percentage as a number; validation has seen to its form."""
    if isinstance(value, int):
        return max(0, value)
    scaled = int(value.removesuffix("%")) * total
    return -(-scaled // 100) if round_up else scaled // 100


def _total(replica_sets: Iterable[views.ReplicaSet]) -> int:
    return sum(each.spec.replicas for each in replica_sets)


def available(replica_set: views.ReplicaSet) -> int:
    return min(replica_set.spec.replicas, replica_set.status.available_replicas)


# --- steps --------------------------------------------------------------------------------------


def _refresh(
    deployment: views.Deployment, new: views.ReplicaSet, old: list[views.ReplicaSet]
) -> list[Action]:
    """Annotations, revision and minReadySeconds of the current one, and the Deployment's."""
    wanted = revisions.wanted_annotations(deployment, new, old)
    actions: list[Action] = []
    seconds = deployment.spec.min_ready_seconds
    if wanted != new.metadata.annotations or new.spec.min_ready_seconds != seconds:
        actions.append(AnnotateReplicaSet(new.metadata.name, wanted, seconds))
    revision = wanted[revisions.REVISION]
    if deployment.metadata.annotations.get(revisions.REVISION) != revision:
        actions.append(SetRevision(revision))
    return actions


def _create(
    deployment: views.Deployment, old: list[views.ReplicaSet], replicas: int
) -> list[Action]:
    hashed = template_hash.compute(deployment.spec.template, deployment.status.collision_count)
    wanted = revisions.wanted_annotations(deployment, None, old)
    wanted |= revisions.sizes(deployment.spec.replicas, max_surge(deployment))
    revision = wanted[revisions.REVISION]
    return [CreateReplicaSet(hashed, replicas, wanted, revision), SetRevision(revision)]


def _resize(deployment: views.Deployment, target: views.ReplicaSet, replicas: int) -> list[Action]:
    """To `replicas`, and note the Deployment's size on it, for proportional scaling later."""
    meta = target.metadata
    wanted = revisions.sizes(deployment.spec.replicas, max_surge(deployment))
    noted = all(meta.annotations.get(name) == value for name, value in wanted.items())
    if replicas == target.spec.replicas and noted:
        return []
    return [ScaleReplicaSet(meta.name, target.spec.replicas, replicas, wanted)]


def _roll(
    deployment: views.Deployment, new: views.ReplicaSet | None, old: list[views.ReplicaSet]
) -> list[Action]:
    if new is None:
        return _create(deployment, old, _room(deployment, old, 0))
    sets = [new, *old]
    wanted = deployment.spec.replicas
    if new.spec.replicas < wanted:
        wanted = new.spec.replicas + _room(deployment, sets, new.spec.replicas)
    if new.spec.replicas != wanted:
        return _resize(deployment, new, wanted)
    down = _scale_down_old(deployment, new, old)
    if down:
        return down
    return _clean_up(deployment, old) if is_complete(deployment) else []


def _room(deployment: views.Deployment, sets: Iterable[views.ReplicaSet], current: int) -> int:
    """How many pods the current ReplicaSet may get on top, within the surge."""
    held = sum(max(each.spec.replicas, each.status.replicas) for each in sets)
    most = deployment.spec.replicas + max_surge(deployment) - held
    return max(0, min(most, deployment.spec.replicas - current))


def _scale_down_old(
    deployment: views.Deployment, new: views.ReplicaSet, old: list[views.ReplicaSet]
) -> list[Action]:
    """Unavailable old pods first, then available ones as far as enough others are available."""
    sets = [new, *old]
    least = deployment.spec.replicas - max_unavailable(deployment)
    pending = new.spec.replicas - available(new)
    budget = _total(sets) - least - pending
    if budget <= 0 or not _total(old):
        return []
    size = {each.metadata.name: each.spec.replicas for each in old}
    for each in old:
        broken = min(budget, each.spec.replicas - available(each))
        size[each.metadata.name] -= broken
        budget -= broken
    spare = sum(available(each) for each in sets) - least
    for each in old:
        give = max(0, min(spare, size[each.metadata.name]))
        size[each.metadata.name] -= give
        spare -= give
    actions: list[Action] = []
    for each in old:
        if size[each.metadata.name] != each.spec.replicas:
            actions += _resize(deployment, each, size[each.metadata.name])
    return actions


def _recreate(
    deployment: views.Deployment,
    new: views.ReplicaSet | None,
    old: list[views.ReplicaSet],
    old_pods_left: bool,
) -> list[Action]:
    down: list[Action] = []
    for each in old:
        if each.spec.replicas:
            down += _resize(deployment, each, 0)
    if down or old_pods_left or any(each.status.replicas for each in old):
        return down
    if new is None:
        return _create(deployment, old, deployment.spec.replicas)
    if new.spec.replicas != deployment.spec.replicas:
        return _resize(deployment, new, deployment.spec.replicas)
    return _clean_up(deployment, old) if is_complete(deployment) else []


def _was_resized(deployment: views.Deployment, sets: Iterable[views.ReplicaSet]) -> bool:
    """The size that an active ReplicaSet was made for is no longer the Deployment's."""
    for each in sets:
        noted = revisions.number(each.metadata.annotations, revisions.DESIRED)
        if each.spec.replicas and noted is not None and noted != deployment.spec.replicas:
            return True
    return False


def _scale(
    deployment: views.Deployment, new: views.ReplicaSet | None, old: list[views.ReplicaSet]
) -> list[Action]:
    """Bring the ReplicaSets to the Deployment's size without rolling."""
    active = [each for each in (new, *old) if each is not None and each.spec.replicas]
    only = _only(active, new, old)
    if only is not None:
        # Also when only the noted size is old: Kubernetes would take it for a resize for ever.
        return _resize(deployment, only, deployment.spec.replicas)
    actions: list[Action] = []
    if new is not None and _is_saturated(deployment, new):
        for each in old:
            if each.spec.replicas:
                actions += _resize(deployment, each, 0)
        return actions
    shares = [(each, each.spec.replicas) for each in active]
    if deployment.spec.strategy.type == "RollingUpdate":
        shares = _shares(deployment, active)
    for each, size in shares:
        actions += _resize(deployment, each, size)
    return actions


def _only(
    active: list[views.ReplicaSet], new: views.ReplicaSet | None, old: list[views.ReplicaSet]
) -> views.ReplicaSet | None:
    """The one to scale when at most one is active: that one, else the latest."""
    if len(active) > 1:
        return None
    if active:
        return active[0]
    return new if new is not None else (old[-1] if old else None)


def _is_saturated(deployment: views.Deployment, new: views.ReplicaSet) -> bool:
    size = deployment.spec.replicas
    noted = revisions.number(new.metadata.annotations, revisions.DESIRED)
    return noted == new.spec.replicas == new.status.available_replicas == size


def _shares(
    deployment: views.Deployment, active: list[views.ReplicaSet]
) -> list[tuple[views.ReplicaSet, int]]:
    """New sizes in proportion to the old ones; what rounding leaves goes to the largest."""
    replicas = deployment.spec.replicas
    allowed = replicas + max_surge(deployment) if replicas else 0
    to_add = allowed - _total(active)
    # Largest first; of equals the newest when growing, the oldest when shrinking.
    ordered = sorted(active, key=_age, reverse=to_add > 0)
    ordered.sort(key=lambda each: each.spec.replicas, reverse=True)
    sizes, added = [], 0
    for each in ordered:
        share = _share(deployment, each, allowed, to_add - added) if to_add else 0
        sizes.append(each.spec.replicas + share)
        added += share
    sizes[0] = max(0, sizes[0] + to_add - added)
    return list(zip(ordered, sizes, strict=True))


def _share(deployment: views.Deployment, each: views.ReplicaSet, allowed: int, left: int) -> int:
    """How many pods (negative: fewer) of the `left` ones fall to this ReplicaSet."""
    if not deployment.spec.replicas:
        return -each.spec.replicas
    noted = revisions.number(each.metadata.annotations, revisions.MAX)
    before = noted or deployment.status.replicas
    if not before:
        return 0
    # Half away from zero, as Kubernetes rounds; sizes are never negative.
    share = (2 * each.spec.replicas * allowed + before) // (2 * before) - each.spec.replicas
    return min(share, left) if left > 0 else max(share, left)


def is_complete(deployment: views.Deployment) -> bool:
    """By its own status: everything is updated and available, and nothing else is left."""
    status, size = deployment.status, deployment.spec.replicas
    return (
        status.updated_replicas == size
        and status.replicas == size
        and status.available_replicas == size
        and status.observed_generation >= deployment.metadata.generation
    )


def _clean_up(deployment: views.Deployment, old: list[views.ReplicaSet]) -> list[Action]:
    """Delete the lowest revisions beyond the history limit that are empty and settled."""
    alive = [each for each in old if not each.metadata.deletion_timestamp]
    excess = len(alive) - deployment.spec.revision_history_limit
    if excess <= 0:
        return []
    alive.sort(key=lambda each: revisions.of(each.metadata.annotations))
    return [DeleteReplicaSet(e.metadata.name) for e in alive[:excess] if _is_idle(e)]


def _is_idle(replica_set: views.ReplicaSet) -> bool:
    status = replica_set.status
    settled = replica_set.metadata.generation <= status.observed_generation
    return settled and not status.replicas and not replica_set.spec.replicas


def new_replica_set(deployment: Object, action: CreateReplicaSet, reference: Object) -> Object:
    """The ReplicaSet of the Deployment's template, whose pods carry the hash."""
    meta, spec = deployment["metadata"], deployment["spec"]
    hashed = {template_hash.LABEL: action.hash}
    template = spec["template"]
    labels = {**(template.get("metadata", {}).get("labels") or {}), **hashed}
    selector = spec["selector"]
    selector = {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **hashed}}
    made: Object = {
        "replicas": action.replicas,
        "selector": selector,
        "template": {**template, "metadata": {**template.get("metadata", {}), "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        made["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{action.hash}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": action.annotations,
            "ownerReferences": [reference],
        },
        "spec": made,
    }
