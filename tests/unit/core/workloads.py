"""Deployments, ReplicaSets and pods in memory, moved by nothing but the plans."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from edgeorch.core import deployment_status, pod_facts, replicas, rollout
from edgeorch.model import views

Object = dict[str, Any]
STAMP = "2026-01-01T00:00:00Z"


def template(image: str) -> Object:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }


def deployment(size: int = 3, image: str = "web:1", **spec: Any) -> views.Deployment:
    body = {
        "replicas": size,
        "selector": {"matchLabels": {"app": "web"}},
        "revisionHistoryLimit": 2,
    }
    found = {
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {**body, "template": template(image), **spec},
    }
    return msgspec.convert(found, views.Deployment)


def rolling(surge: int | str, unavailable: int | str) -> Object:
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


def replica_set(
    image: str, size: int, *, available: int = 0, age: int = 0, **annotations: str
) -> views.ReplicaSet:
    noted = {f"deployment.kubernetes.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    name = "web-" + image.replace(":", "-")
    found = {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "generation": 1,
            "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
            "annotations": noted,
        },
        "spec": {"replicas": size, "template": template(image)},
        "status": {
            "replicas": size,
            "readyReplicas": available,
            "availableReplicas": available,
            "observedGeneration": 1,
        },
    }
    return msgspec.convert(found, views.ReplicaSet)


def pod(
    name: str,
    *,
    phase: str = "Running",
    ready: bool = True,
    since: float = 0.0,
    owner: str = "",
    node: str = "edge",
    **meta: Any,
) -> pod_facts.PodFacts:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    refs = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner}]
    refs[0]["controller"] = True  # type: ignore[assignment]
    restarts = meta.pop("restarts", 0)
    found = {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": {"app": "web"},
            "ownerReferences": refs if owner else [],
            **meta,
        },
        "spec": {"nodeName": node},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"restartCount": restarts}],
        },
    }
    facts = msgspec.convert(found, pod_facts.PodFacts)
    return structs.replace(facts, ready_since=since)


def sized(
    found: views.ReplicaSet, size: int, annotations: dict[str, str] | None = None
) -> views.ReplicaSet:
    meta = structs.replace(
        found.metadata, annotations={**found.metadata.annotations, **(annotations or {})}
    )
    spec = structs.replace(found.spec, replicas=size)
    return structs.replace(found, metadata=meta, spec=spec)


class World:
    """A Deployment with everything that follows from it, one step at a time."""

    def __init__(self, wanted: views.Deployment) -> None:
        self.deployment = wanted
        self.sets: dict[str, views.ReplicaSet] = {}
        self.pods: dict[str, pod_facts.PodFacts] = {}
        self._made = 0
        self.now = 100.0

    # --- the controllers ------------------------------------------------------------------------

    def plan(self) -> list[rollout.Action]:
        _, old = rollout.split(self.deployment, self.sets.values())
        owners = {each.metadata.uid for each in old}
        left = any(pod.controller_uid in owners for pod in self.pods.values())
        return rollout.plan(self.deployment, list(self.sets.values()), old_pods_left=left)

    def move_deployment(self) -> bool:
        actions = self.plan()
        for action in actions:
            self.carry_out(action)
        status = deployment_status.compute(
            self.deployment, list(self.sets.values()), stalled=0.0, stamp=STAMP
        )
        self.deployment = structs.replace(
            self.deployment, status=msgspec.convert(status, views.DeploymentStatus)
        )
        return bool(actions)

    def carry_out(self, action: rollout.Action) -> None:
        match action:
            case rollout.CreateReplicaSet():
                image = self.deployment.spec.template["spec"]["containers"][0]["image"]
                made = replica_set(image, action.replicas, age=len(self.sets) + 1)
                made = sized(made, action.replicas, action.annotations)
                status = views.ReplicaSetStatus()
                made = structs.replace(made, status=status)
                assert made.metadata.name not in self.sets
                self.sets[made.metadata.name] = made
            case rollout.ScaleReplicaSet():
                held = self.sets[action.name]
                assert held.spec.replicas == action.old
                self.sets[action.name] = sized(held, action.new, action.annotations)
            case rollout.AnnotateReplicaSet():
                held = self.sets[action.name]
                self.sets[action.name] = sized(held, held.spec.replicas, action.annotations)
            case rollout.DeleteReplicaSet():
                del self.sets[action.name]
            case rollout.SetRevision():
                key = "deployment.kubernetes.io/revision"
                meta = self.deployment.metadata
                noted = {**meta.annotations, key: action.revision}
                meta = structs.replace(meta, annotations=noted)
                self.deployment = structs.replace(self.deployment, metadata=meta)

    def move_pods(self, name: str) -> bool:
        plan = replicas.plan(self.sets[name].spec.replicas, self._owned(name))
        for _ in range(plan.create):
            self._made += 1
            made = pod(f"{name}-{self._made:03}", phase="Pending", ready=False, owner=name)
            self.pods[made.metadata.name] = made
        for each in plan.delete:
            meta = structs.replace(each.metadata, deletion_timestamp=STAMP)
            self.pods[each.metadata.name] = structs.replace(each, metadata=meta)
        return bool(plan.create or plan.delete)

    def report(self, name: str) -> None:
        held = self.sets[name]
        found = replicas.status(held, self._owned(name), None, now=self.now, stamp=STAMP)
        status = msgspec.convert(found, views.ReplicaSetStatus)
        self.sets[name] = structs.replace(held, status=status)

    # --- the node -------------------------------------------------------------------------------

    def make_ready(self, name: str) -> None:
        held = self.pods[name]
        if held.active and not held.ready:
            self.pods[name] = pod(name, owner=held.controller_uid, since=self.now)

    def remove(self, name: str) -> None:
        if self.pods[name].terminating:
            del self.pods[name]

    # --- what is seen ---------------------------------------------------------------------------

    def _owned(self, name: str) -> list[pod_facts.PodFacts]:
        return [pod for pod in self.pods.values() if pod.controller_uid == name]

    @property
    def active(self) -> int:
        return sum(pod.active for pod in self.pods.values())

    @property
    def available(self) -> int:
        return sum(pod.active and pod.ready for pod in self.pods.values())

    def settle(self) -> None:
        """Let everybody act until nothing moves."""
        for _ in range(200):
            moved = self.move_deployment()
            for name in sorted(self.sets):
                moved |= self.move_pods(name)
                self.report(name)
            for name in sorted(self.pods):
                self.make_ready(name)
                self.remove(name)
            for name in sorted(self.sets):
                self.report(name)
            if not moved and not self.plan():
                self.move_deployment()
                return
        raise AssertionError(f"does not settle: {self.sets}")
