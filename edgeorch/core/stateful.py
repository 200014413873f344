"""What a StatefulSet does next: pods with a name, a place in line and claims of their own.

`plan` follows pkg/controller/statefulset/stateful_set_control.go: each ordinal in order, then what
is beyond the size, last first, then the rolling update, last first. OrderedReady takes one step and
waits until that pod is available; Parallel does not wait. One plan is meant for one observation;
pods that were created or deleted are in the next.

With maxUnavailable above 1 this is stricter than Kubernetes: pods that are unavailable anyway, for
whatever reason, count, so the bound holds; and one of an old revision that is not available is
replaced in any case, so that a broken revision is never stuck.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct, field

from edgeorch.core import claims, history, pod_facts, rollout
from edgeorch.model import workloads
from edgeorch.model.kinds import Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_MEMBER = re.compile(r"(.*)-(0|[1-9][0-9]*)", re.ASCII | re.DOTALL)
_MAX_ORDINAL = 2**31 - 1


class CreatePod(Struct, frozen=True):
    ordinal: int
    revision: str


class DeletePod(Struct, frozen=True):
    """`recreated` when it is over and makes room for its successor."""

    pod: pod_facts.PodFacts
    recreated: bool = False


class LabelPod(Struct, frozen=True):
    """It has lost the labels that say who it is."""

    pod: pod_facts.PodFacts


Action = CreatePod | DeletePod | LabelPod


class Revisions(Struct, frozen=True):
    """Names of the revision that pods have, and of the one that they are to get."""

    current: str
    update: str


def ordinal_of(set_name: str, pod_name: str) -> int | None:
    """None when the name is not one of the set's."""
    found = _MEMBER.fullmatch(pod_name)
    if found is None or found[1] != set_name or int(found[2]) > _MAX_ORDINAL:
        return None
    return int(found[2])


def pod_name(set_name: str, ordinal: int) -> str:
    return f"{set_name}-{ordinal}"


def revisions(
    stateful_set: workloads.StatefulSet,
    update: str,
    known: Sequence[str],
    pods: Sequence[pod_facts.PodFacts],
) -> Revisions:
    """The current revision is the status', or, should that be lost, that of the first pod."""
    said = stateful_set.status.current_revision
    if said in known:
        return Revisions(said, update)
    held = [_revision(pod) for pod in sorted(pods, key=lambda pod: _ordinal(stateful_set, pod))]
    return Revisions(next((name for name in held if name in known), update), update)


def plan(
    stateful_set: workloads.StatefulSet,
    pods: Sequence[pod_facts.PodFacts],
    revisions: Revisions,
    *,
    now: float,
) -> list[Action]:
    """`pods`: all that it owns."""
    if stateful_set.metadata.deletion_timestamp:
        return []
    turn = _Turn(stateful_set, revisions, now)
    replicas, condemned = split(stateful_set, pods)
    _ = (
        turn.fill(replicas)
        and turn.shrink(condemned, _first_unhealthy(turn, replicas, condemned))
        and turn.update(replicas)
    )
    return turn.actions


def split(
    stateful_set: workloads.StatefulSet, pods: Sequence[pod_facts.PodFacts]
) -> tuple[dict[int, pod_facts.PodFacts | None], list[pod_facts.PodFacts]]:
    """Who is where among the wanted ordinals, and those beyond, last first."""
    start = stateful_set.spec.ordinals.start
    wanted = range(start, start + stateful_set.spec.replicas)
    replicas: dict[int, pod_facts.PodFacts | None] = dict.fromkeys(wanted)
    condemned: list[pod_facts.PodFacts] = []
    for pod in pods:
        ordinal = _ordinal(stateful_set, pod)
        if ordinal in replicas:
            replicas[ordinal] = pod
        elif ordinal >= 0:
            condemned.append(pod)
    condemned.sort(key=lambda pod: _ordinal(stateful_set, pod), reverse=True)
    return replicas, condemned


class _Turn(Struct):
    """One pass; each step says whether the next may follow."""

    set: workloads.StatefulSet
    revisions: Revisions
    now: float
    actions: list[Action] = field(default_factory=list)

    @property
    def ordered(self) -> bool:
        return self.set.spec.pod_management_policy != "Parallel"

    def available(self, pod: pod_facts.PodFacts | None) -> bool:
        return (
            pod is not None
            and not pod.terminating
            and pod.status.phase == "Running"
            and pod.available(self.now, self.set.spec.min_ready_seconds)
        )

    def fill(self, replicas: dict[int, pod_facts.PodFacts | None]) -> bool:
        for ordinal, pod in replicas.items():
            settled = self._settle(ordinal, pod)
            if not settled and self.ordered:
                return False
        # A pod that was made or replaced just now is seen first, before others are given up.
        return not any(not isinstance(action, LabelPod) for action in self.actions)

    def _settle(self, ordinal: int, pod: pod_facts.PodFacts | None) -> bool:
        """Whether this one is as it should be and available."""
        if pod is None:
            self.actions.append(CreatePod(ordinal, self._revision_for(ordinal)))
            return False
        if pod.terminal and not pod.terminating:
            self.actions.append(DeletePod(pod, recreated=True))
            return False
        if not pod.terminating and not _is_labelled(self.set.metadata.name, pod):
            self.actions.append(LabelPod(pod))
        return self.available(pod)

    def _revision_for(self, ordinal: int) -> str:
        strategy = self.set.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return self.revisions.update
        rolling = strategy.rolling_update
        start = self.set.spec.ordinals.start
        bound = rolling.partition if rolling else self.set.status.current_replicas
        return self.revisions.current if ordinal < start + bound else self.revisions.update

    def shrink(
        self, condemned: list[pod_facts.PodFacts], unhealthy: pod_facts.PodFacts | None
    ) -> bool:
        for pod in condemned:
            if pod.terminating:
                if self.ordered:
                    return False
                continue
            # What is over comes back to nobody: waiting for its health would be for ever.
            may_go = pod.terminal or pod is unhealthy or self.available(pod)
            if self.ordered and not may_go:
                return False
            self.actions.append(DeletePod(pod))
            if self.ordered:
                return False
        return not condemned

    def update(self, replicas: dict[int, pod_facts.PodFacts | None]) -> bool:
        strategy = self.set.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return True
        rolling = strategy.rolling_update or workloads.StatefulRollingUpdate()
        found = list(replicas.values())
        eligible = [pod for pod in found[rolling.partition :] if pod is not None]
        eligible.reverse()
        most = max_unavailable(self.set)
        if most > 1:
            lost = sum(not self.available(pod) for pod in found)
            self._update_several(eligible, most - lost)
        else:
            self._update_one(eligible)
        return True

    def _update_one(self, eligible: list[pod_facts.PodFacts]) -> None:
        for pod in eligible:
            if self._is_old(pod):
                self.actions.append(DeletePod(pod))
                return
            if not self.available(pod):
                return

    def _update_several(self, eligible: list[pod_facts.PodFacts], budget: int) -> None:
        for pod in eligible:
            if not self._is_old(pod):
                continue
            if self.available(pod):
                if budget <= 0:
                    continue
                budget -= 1
            self.actions.append(DeletePod(pod))

    def _is_old(self, pod: pod_facts.PodFacts) -> bool:
        return _revision(pod) != self.revisions.update and not pod.terminating


def max_unavailable(stateful_set: workloads.StatefulSet) -> int:
    """At least one: percentages are rounded down."""
    rolling = stateful_set.spec.update_strategy.rolling_update
    if rolling is None or rolling.max_unavailable is None:
        return 1
    total = stateful_set.spec.replicas
    return max(1, rollout.resolve(rolling.max_unavailable, total, round_up=False))


def _first_unhealthy(
    turn: _Turn,
    replicas: dict[int, pod_facts.PodFacts | None],
    condemned: list[pod_facts.PodFacts],
) -> pod_facts.PodFacts | None:
    """Of lowest ordinal. Only that one may be given up while it is broken."""
    several = [*replicas.values(), *reversed(condemned)]
    return next((pod for pod in several if pod is not None and not turn.available(pod)), None)


def _ordinal(stateful_set: workloads.StatefulSet, pod: pod_facts.PodFacts) -> int:
    found = ordinal_of(stateful_set.metadata.name, pod.metadata.name)
    return -1 if found is None else found


def _revision(pod: pod_facts.PodFacts) -> str:
    return pod.metadata.labels.get(history.LABEL, "")


def _is_labelled(set_name: str, pod: pod_facts.PodFacts) -> bool:
    return identity(set_name, pod.metadata.name).items() <= pod.metadata.labels.items()


def identity(set_name: str, name: str) -> dict[str, str]:
    """The labels that say which pod of the set it is."""
    return {POD_NAME: name, POD_INDEX: str(ordinal_of(set_name, name))}


# --- objects ------------------------------------------------------------------------------------


def new_pod(stateful_set: Object, template: Object, action: CreatePod) -> Object:
    """`template`: that of the revision."""
    meta, spec = stateful_set["metadata"], stateful_set["spec"]
    name = pod_name(meta["name"], action.ordinal)
    from_template = template.get("metadata") or {}
    made: Object = {"name": name, "namespace": meta["namespace"]}
    made["labels"] = {
        **(from_template.get("labels") or {}),
        history.LABEL: action.revision,
        **identity(meta["name"], name),
    }
    for part in ("annotations", "finalizers"):
        if from_template.get(part):
            made[part] = from_template[part]
    made["ownerReferences"] = [claims.reference(stateful_set)]
    body = {**template["spec"], "hostname": name}
    if spec.get("serviceName"):
        body["subdomain"] = spec["serviceName"]
    volumes = _claim_volumes(spec, name)
    taken = {volume["name"] for volume in volumes}
    others = [each for each in body.get("volumes") or [] if each["name"] not in taken]
    if volumes or others:
        body["volumes"] = [*volumes, *others]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": body}


def _claim_volumes(spec: Object, name: str) -> list[Object]:
    names = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or []]
    return [
        {"name": each, "persistentVolumeClaim": {"claimName": f"{each}-{name}"}} for each in names
    ]


def claim_names(stateful_set: workloads.StatefulSet, name: str) -> list[str]:
    """The claims of the pod of that name."""
    templates = stateful_set.spec.volume_claim_templates
    return [f"{(each.get('metadata') or {}).get('name', '')}-{name}" for each in templates]


def new_claims(stateful_set: Object, name: str) -> list[Object]:
    """The claims of the pod of that name, labelled as the set selects."""
    spec = stateful_set["spec"]
    selected = spec["selector"].get("matchLabels") or {}
    found = []
    for template in spec.get("volumeClaimTemplates") or []:
        meta = template["metadata"]
        made = {
            "name": f"{meta['name']}-{name}",
            "namespace": stateful_set["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **selected},
        }
        if meta.get("annotations"):
            made["annotations"] = meta["annotations"]
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        found.append({**kind, "metadata": made, "spec": template["spec"]})
    return found


def claim_owned(
    obj: Object, stateful_set: Object, pod: Object | None, *, condemned: bool
) -> Object:
    """The claim with the owners that the retention policy wants; others are left alone.

    `pod`: kind, name and uid of the claim's pod, None when there is none.
    """
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    deletes = policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"
    by_pod = deletes[1] and condemned
    by_set = deletes[0] and not by_pod
    refs = obj["metadata"].get("ownerReferences") or []
    if any(ref.get("controller") and not _is_ours(ref, stateful_set) for ref in refs):
        return obj
    kept = [ref for ref in refs if not _is_ours(ref, stateful_set)]
    if by_set:
        kept.append(_owner(stateful_set))
    elif by_pod and pod is not None:
        kept.append(_owner(pod))
    if kept == refs:
        return obj
    meta = {key: value for key, value in obj["metadata"].items() if key != "ownerReferences"}
    if kept:
        meta["ownerReferences"] = kept
    return {**obj, "metadata": meta}


def _owner(owner: Object) -> Object:
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _is_ours(ref: Object, stateful_set: Object) -> bool:
    """The set, or a pod of its name."""
    name = stateful_set["metadata"]["name"]
    if ref["kind"] == "Pod":
        return ordinal_of(name, ref["name"]) is not None
    return bool(ref["kind"] == "StatefulSet" and ref["name"] == name)


def is_stale(claim: Object, pod_uid: str) -> bool:
    """It goes with a pod that is no more: its successor waits for a claim of its own."""
    meta = claim["metadata"]
    refs = meta.get("ownerReferences") or []
    return bool(meta.get("deletionTimestamp")) or any(
        ref["kind"] == "Pod" and ref["uid"] != pod_uid for ref in refs
    )


# --- status -------------------------------------------------------------------------------------


def status(
    stateful_set: workloads.StatefulSet,
    pods: Sequence[pod_facts.PodFacts],
    revisions: Revisions,
    *,
    now: float,
) -> Object:
    """The status it should have. `now`: since boot."""
    spec = stateful_set.spec
    ready = [pod for pod in pods if pod.status.phase == "Running" and pod.ready]
    staying = [_revision(pod) for pod in pods if not pod.terminating]
    updated = staying.count(revisions.update)
    current = staying.count(revisions.current)
    is_rolling = spec.update_strategy.type == "RollingUpdate"
    if is_rolling and updated == len(pods) == len(ready) == spec.replicas:
        revisions, current = Revisions(revisions.update, revisions.update), updated
    found: Object = {
        "observedGeneration": stateful_set.metadata.generation,
        "replicas": len(pods),
        "readyReplicas": len(ready),
        "currentReplicas": current,
        "updatedReplicas": updated,
        "availableReplicas": sum(pod.available(now, spec.min_ready_seconds) for pod in ready),
        "currentRevision": revisions.current,
        "updateRevision": revisions.update,
        "collisionCount": stateful_set.status.collision_count or 0,
    }
    for name in ("readyReplicas", "currentReplicas", "updatedReplicas"):
        if not found[name]:
            del found[name]
    if stateful_set.status.conditions:
        found["conditions"] = stateful_set.status.conditions
    return found
