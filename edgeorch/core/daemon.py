"""What a DaemonSet does next on the one node there is, and what its status says.

As pkg/controller/daemon (daemon_controller.go, update.go): `plan` first keeps one pod on a node
that should have one, and none elsewhere; when that is so, it rolls: with maxUnavailable the old pod
goes before the new one comes, with maxSurge the new one is available first. A pod that is over is
replaced; how soon is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from edgeorch.core import claims, history, node_affinity, pod_facts, rollout, scheduling
from edgeorch.lib import json
from edgeorch.model import views, workloads
from edgeorch.model.kinds import Object

_NO_EXECUTE, _NO_SCHEDULE = "NoExecute", "NoSchedule"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", _NO_EXECUTE),
    ("node.kubernetes.io/unreachable", _NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", _NO_SCHEDULE),
)
_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", _NO_SCHEDULE)


class Place(Struct, frozen=True):
    """Whether a pod should be made on the node, and whether one that is there may stay."""

    should_run: bool
    may_stay: bool


class Plan(Struct, frozen=True):
    create: bool = False
    delete: list[pod_facts.PodFacts] = field(default_factory=list)
    over: list[pod_facts.PodFacts] = field(default_factory=list)
    """Failed or succeeded: to be deleted too, but not in a hurry."""


def place(template: Object, node: views.Node | None) -> Place:
    """What the node makes of the template. Cordons and pressure do not keep a daemon away."""
    if node is None:
        return Place(should_run=False, may_stay=False)
    wanted = template.get("spec") or {}
    named = wanted.get("nodeName")
    if named and named != node.metadata.name:
        return Place(should_run=False, may_stay=False)
    spec = {**pod_spec(template, node.metadata.name), "affinity": wanted.get("affinity")}
    pod = json.convert({"metadata": {}, "spec": spec}, pod_facts.PodFacts)
    if not node_affinity.matches(pod.spec.node_selector, pod.spec.affinity, node):
        return Place(should_run=False, may_stay=False)
    refused = [
        taint.effect
        for taint in node.spec.taints
        if taint.effect in (_NO_SCHEDULE, _NO_EXECUTE) and not scheduling.tolerates(pod, taint)
    ]
    return Place(should_run=not refused, may_stay=_NO_EXECUTE not in refused)


def plan(
    daemon_set: workloads.DaemonSet,
    pods: Sequence[pod_facts.PodFacts],
    found: Place,
    hashed: str,
    *,
    now: float,
) -> Plan:
    """`pods`: all that it owns. `hashed`: of the current template."""
    if daemon_set.metadata.deletion_timestamp:
        return Plan()
    if not found.may_stay:
        return Plan(delete=[pod for pod in pods if not pod.terminating])
    if not pods:
        return Plan(create=found.should_run)
    over = [pod for pod in pods if pod.terminal and not pod.terminating]
    running = [pod for pod in pods if pod.active]
    look = _Look(daemon_set, running, hashed, now)
    extra = look.extra()
    if extra or over:
        return Plan(delete=extra, over=over)
    if daemon_set.spec.update_strategy.type != "RollingUpdate":
        return Plan()
    return look.roll(found)


class _Look(Struct):
    set: workloads.DaemonSet
    running: list[pod_facts.PodFacts]
    hashed: str
    now: float

    def available(self, pod: pod_facts.PodFacts) -> bool:
        return pod.available(self.now, self.set.spec.min_ready_seconds)

    def extra(self) -> list[pod_facts.PodFacts]:
        """More than one: the oldest stays, while surging one of both revisions."""
        if max_surge(self.set):
            new, old = self._both()
            keep = [pod for pod in (new, old) if pod is not None]
        else:
            keep = sorted(self.running, key=_age)[:1]
        return [pod for pod in self.running if pod not in keep]

    def _both(self) -> tuple[pod_facts.PodFacts | None, pod_facts.PodFacts | None]:
        """Of either revision the one that is kept while surging. Kubernetes keeps the oldest; here
        one that serves comes before that, so that a surge never gives up the last that does."""
        ordered = sorted(self.running, key=self._worth)
        new = next((pod for pod in ordered if self._is_new(pod)), None)
        old = next((pod for pod in ordered if not self._is_new(pod)), None)
        return new, old

    def _worth(self, pod: pod_facts.PodFacts) -> tuple[bool, bool, tuple[str, str]]:
        return not self.available(pod), not pod.ready, _age(pod)

    def _is_new(self, pod: pod_facts.PodFacts) -> bool:
        return pod.metadata.labels.get(history.LABEL) == self.hashed

    def roll(self, found: Place) -> Plan:
        new, old = self._both()
        if old is None:
            return Plan()
        if not max_surge(self.set):
            # One node: its own unavailability is the only one there is.
            return Plan(delete=[old])
        if new is None:
            return Plan(create=found.should_run)
        # An old one that serves no more is not waited with.
        return Plan(delete=[old]) if self.available(new) or not old.ready else Plan()


def max_surge(daemon_set: workloads.DaemonSet) -> int:
    """Of one node, rounded up."""
    strategy = daemon_set.spec.update_strategy
    if strategy.type != "RollingUpdate":
        return 0
    rolling = strategy.rolling_update or workloads.DaemonRollingUpdate()
    return rollout.resolve(rolling.max_surge, 1, round_up=True)


def _age(pod: pod_facts.PodFacts) -> tuple[str, str]:
    return pod.metadata.creation_timestamp, pod.metadata.name


def _seniority(pod: pod_facts.PodFacts) -> tuple[str, bool, str]:
    created, name = _age(pod)
    return created, not pod.ready, name


# --- objects ------------------------------------------------------------------------------------


def new_pod(daemon_set: Object, template: Object, hashed: str, node_name: str) -> Object:
    meta = template.get("metadata") or {}
    owner = daemon_set["metadata"]
    made: Object = {"generateName": f"{owner['name']}-", "namespace": owner["namespace"]}
    made["labels"] = {**(meta.get("labels") or {}), history.LABEL: hashed}
    for name in ("annotations", "finalizers"):
        if meta.get(name):
            made[name] = meta[name]
    made["ownerReferences"] = [claims.reference(daemon_set)]
    spec = pod_spec(template, node_name)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def pod_spec(template: Object, node_name: str) -> Object:
    """The template's, tolerant of what befalls a node, and bound to this one."""
    spec = dict(template.get("spec") or {})
    wanted = [*_TOLERATED, _HOST_NETWORK] if spec.get("hostNetwork") else list(_TOLERATED)
    tolerations = list(spec.get("tolerations") or [])
    for key, effect in wanted:
        made = {"key": key, "operator": "Exists", "effect": effect}
        if made not in tolerations:
            tolerations.append(made)
    spec["tolerations"] = tolerations
    spec["affinity"] = _bound(spec.get("affinity") or {}, node_name)
    return spec


def _bound(affinity: Object, node_name: str) -> Object:
    """To the node by name: that its labels fit has been seen to."""
    name = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    required = {"nodeSelectorTerms": [{"matchFields": [name]}]}
    by_node = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": required,
    }
    return {**affinity, "nodeAffinity": by_node}


# --- status -------------------------------------------------------------------------------------


def status(
    daemon_set: workloads.DaemonSet,
    pods: Sequence[pod_facts.PodFacts],
    found: Place,
    hashed: str,
    *,
    now: float,
) -> Object:
    """The status it should have. `now`: since boot. The node's oldest pod speaks for it; of those
    of one second, one that serves."""
    desired = int(found.should_run)
    first = min(pods, key=_seniority, default=None)
    counted = first if desired else None
    ready = int(counted is not None and counted.ready)
    seconds = daemon_set.spec.min_ready_seconds
    available = int(counted is not None and counted.available(now, seconds))
    updated = counted is not None and counted.metadata.labels.get(history.LABEL) == hashed
    made: Object = {
        "currentNumberScheduled": int(counted is not None),
        "numberMisscheduled": int(first is not None and not desired),
        "desiredNumberScheduled": desired,
        "numberReady": ready,
        "observedGeneration": daemon_set.metadata.generation,
    }
    optional = {
        "updatedNumberScheduled": int(updated),
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "collisionCount": daemon_set.status.collision_count,
    }
    made |= {name: value for name, value in optional.items() if value}
    if daemon_set.status.conditions:
        made["conditions"] = daemon_set.status.conditions
    return made
