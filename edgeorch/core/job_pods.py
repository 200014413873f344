"""What a Job looks at in its pods, and what a failed one means to it.

A pod that ends is counted while it carries the tracking finalizer, and only then: the finalizer
goes after the count is on the medium, so that no pod is counted twice or forgotten (KEP-2307).
"""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from msgspec import Struct, field

from edgeorch.model import batch, views
from edgeorch.model.kinds import Object
from edgeorch.model.views import View

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


class Terminated(View, frozen=True, kw_only=True):
    exit_code: int = 0
    finished_at: str | None = None


class State(View, frozen=True, kw_only=True):
    terminated: Terminated | None = None


class ContainerStatus(View, frozen=True, kw_only=True):
    name: str = ""
    restart_count: int = 0
    state: State = State()


class Status(View, frozen=True, kw_only=True):
    phase: str = ""
    conditions: list[views.Condition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class Annotations(View, frozen=True, kw_only=True):
    index: str = field(name=INDEX, default="")
    failures: str = field(name=FAILURES, default="0")
    ignored: str = field(name=IGNORED, default="0")


class Meta(View, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    annotations: Annotations = Annotations()
    finalizers: list[str] = []


class Spec(View, frozen=True, kw_only=True):
    node_name: str = ""


class JobPod(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def tracked(self) -> bool:
        """Not counted yet, or counted and about to be let go."""
        return FINALIZER in self.metadata.finalizers

    @property
    def terminal(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def leaving(self) -> bool:
        return bool(self.metadata.deletion_timestamp)

    @property
    def terminating(self) -> bool:
        return self.leaving and not self.terminal

    @property
    def active(self) -> bool:
        return not self.terminal and not self.leaving

    @property
    def succeeded(self) -> bool:
        return self.status.phase == "Succeeded"

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def index(self) -> int | None:
        return _count(self.metadata.annotations.index)

    @property
    def failures(self) -> int:
        """How often its index had failed before it was made."""
        return _count(self.metadata.annotations.failures) or 0

    @property
    def ignored_failures(self) -> int:
        return _count(self.metadata.annotations.ignored) or 0

    @property
    def attempts(self) -> int:
        return self.failures + self.ignored_failures

    @property
    def restarts(self) -> int:
        statuses = (*self.status.container_statuses, *self.status.init_container_statuses)
        return sum(status.restart_count for status in statuses)

    @property
    def ended_at(self) -> str:
        """Wall time at which it was over, or was told to go; "" when neither is known."""
        ended = (each.state.terminated for each in self.status.container_statuses)
        times = [each.finished_at for each in ended if each is not None and each.finished_at]
        return max(times, default="") or self.metadata.deletion_timestamp


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def failed(spec: batch.JobSpec, pod: JobPod) -> bool:
    """Whether it will do no more, in vain. Pods that were never on a node have no phase to come."""
    if pod.terminal:
        return not pod.succeeded
    if not pod.leaving:
        return False
    return not spec.replaces_failed_only or not pod.spec.node_name


class Match(Struct, frozen=True):
    """What the failure policy says of a failed pod. `action` "": nothing, it counts."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


def match(spec: batch.JobSpec, pod: JobPod) -> Match:
    """The first rule that fits decides."""
    rules = spec.pod_failure_policy.rules if spec.pod_failure_policy else []
    for number, rule in enumerate(rules):
        why = _why(rule, pod)
        if why:
            return Match(rule.action, f"{why} matching {rule.action} rule at index {number}")
    return Match()


def _why(rule: batch.FailureRule, pod: JobPod) -> str:
    where = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if rule.on_exit_codes is not None:
        found = _exited(rule.on_exit_codes, pod)
        if found is None:
            return ""
        name, code = found
        return f"Container {name} for pod {where} failed with exit code {code}"
    for condition in pod.status.conditions:
        for pattern in rule.on_pod_conditions:
            if (pattern.type, pattern.status) == (condition.type, condition.status):
                return f"Pod {where} has condition {condition.type}"
    return ""


def _exited(rule: batch.OnExitCodes, pod: JobPod) -> tuple[str, int] | None:
    """The first container with an exit code that fits; 0 never does."""
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        ended = status.state.terminated
        if ended is None or not ended.exit_code:
            continue
        if rule.container_name not in (None, status.name):
            continue
        if (ended.exit_code in rule.values) == (rule.operator == "In"):
            return status.name, ended.exit_code
    return None


def without_finalizer(obj: Object) -> Object:
    meta = dict(obj["metadata"])
    left = [each for each in meta.get("finalizers") or [] if each != FINALIZER]
    meta.pop("finalizers", None)
    if left:
        meta["finalizers"] = left
    return {**obj, "metadata": meta}


def given_up(obj: Object) -> Object:
    """Without the finalizer, unless it has ended meanwhile: then it must be counted."""
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return obj
    return without_finalizer(obj)


def with_finalizer(obj: Object) -> Object:
    meta = obj["metadata"]
    held = meta.get("finalizers") or []
    if FINALIZER in held or meta.get("deletionTimestamp"):
        return obj
    return {**obj, "metadata": {**meta, "finalizers": [*held, FINALIZER]}}


def new_pod(job: Object, template: Object, ref: Object, made: NewPod) -> Object:
    """A pod of a Job from its template, which is taken over."""
    name, base = job["metadata"]["name"], template.get("metadata") or {}
    labels, annotations = dict(base.get("labels") or {}), dict(base.get("annotations") or {})
    spec = template["spec"]
    prefix = f"{name}-"
    if made.index is not None:
        # Room for the suffix within a name of 63 characters.
        prefix = f"{name[: 58 - len(f'-{made.index}-')]}-{made.index}-"
        labels[INDEX] = annotations[INDEX] = str(made.index)
        spec["hostname"] = f"{name}-{made.index}"
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            _give_index(container)
        if made.failures is not None:
            annotations[FAILURES] = str(made.failures)
        if made.ignored:
            annotations[IGNORED] = str(made.ignored)
    meta: Object = {
        "generateName": prefix,
        "namespace": job["metadata"]["namespace"],
        "labels": labels,
        "finalizers": [*(base.get("finalizers") or ()), FINALIZER],
        "ownerReferences": [ref],
    }
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _give_index(container: Object) -> None:
    env = container.get("env") or []
    if any(each.get("name") == "JOB_COMPLETION_INDEX" for each in env):
        return
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    container["env"] = [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]


class NewPod(Struct, frozen=True):
    """A pod to make. `failures` None: they are not counted by index."""

    index: int | None = None
    failures: int | None = None
    ignored: int = 0
