"""What a HorizontalPodAutoscaler does next, and what its status says.

After pkg/controller/podautoscaler/horizontal.go: the metric that asks for most replicas counts, a
metric that cannot be had forbids to scale down, and what comes of it is held between the bounds by
core.scaling_rules. Reasons, messages and events are Kubernetes' own.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from edgeorch.core import replica_calculator, scaling_rules
from edgeorch.lib import json, quantity
from edgeorch.model import autoscaling
from edgeorch.model.kinds import Object

PERIOD = 15.0
"""Seconds between two looks (--horizontal-pod-autoscaler-sync-period)."""
ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
_NO_API = "the server could not find the requested resource"
_CUSTOM = {
    "Pods": ("FailedGetPodsMetric", "pods metric value", "custom"),
    "Object": ("FailedGetObjectMetric", "object metric value", "custom"),
    "External": ("FailedGetExternalMetric", "external metric", "external"),
}


class Said(Struct, frozen=True):
    """One condition."""

    type: str
    status: str
    reason: str
    message: str


class Told(Struct, frozen=True):
    """One event."""

    reason: str
    message: str
    warning: bool = True


class Target(Struct, frozen=True):
    """What is scaled: how many replicas it wants, and what selects its pods, as text."""

    replicas: int
    selector: str
    rivals: Sequence[tuple[str, str]] = ()
    """Name and namespace of every autoscaler whose target has some of these pods, when more than
    one has."""


class Decision(Struct, frozen=True):
    """`scale_to` None: nothing is to be done. `failed`: the metrics were of no use."""

    current: int
    history: scaling_rules.History
    scale_to: int | None = None
    why: str = ""
    said: list[Said] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    metrics: list[Object] | None = None
    failed: bool = False
    rescaled: bool = False


def decide(
    spec: autoscaling.AutoscalerSpec,
    target: Target,
    look: replica_calculator.Look,
    history: scaling_rules.History | None,
) -> Decision:
    """`history` None: it was not seen before, by this process."""
    current, now = target.replicas, look.now
    history = history or scaling_rules.begin(current, now)
    message = "the HPA controller was able to get the target's current scale"
    got = Said(ABLE, "True", "SucceededGetScale", message)
    if current == 0 and spec.min_replicas != 0:
        message = "scaling is disabled since the replica count of the target is zero"
        off = Said(ACTIVE, "False", "ScalingDisabled", message)
        return Decision(current, history, said=[got, off])
    if current > spec.max_replicas:
        why = "Current number of replicas above Spec.MaxReplicas"
        return Decision(current, history, spec.max_replicas, why, [got])
    if current < spec.min_replicas:
        why = "Current number of replicas below Spec.MinReplicas"
        return Decision(current, history, spec.min_replicas, why, [got])
    return _by_metrics(spec, target, look, history, got)


def unscalable(history: scaling_rules.History | None, status: Object, why: str) -> Decision:
    """The target is not there, or has no size. `status`: as it stands."""
    message = f"the HPA controller was unable to get the target's current scale: {why}"
    return Decision(
        status.get("currentReplicas", 0),
        history or scaling_rules.History(()),
        said=[Said(ABLE, "False", "FailedGetScale", message)],
        told=[Told("FailedGetScale", why)],
        metrics=status.get("currentMetrics"),
        failed=True,
    )


def done(decision: Decision, spec: autoscaling.AutoscalerSpec, now: float) -> Decision:
    """After the target was scaled."""
    size = decision.scale_to or 0
    message = f"the HPA controller was able to update the target scale to {size}"
    told = Told("SuccessfulRescale", f"New size: {size}; reason: {decision.why}", warning=False)
    return replace(
        decision,
        history=scaling_rules.noted(decision.history, spec.behavior, decision.current, size, now),
        said=[*decision.said, Said(ABLE, "True", "SucceededRescale", message)],
        told=[*decision.told, told],
        rescaled=True,
    )


def refused(decision: Decision, error: str) -> Decision:
    """After the target could not be scaled."""
    message = f"the HPA controller was unable to update the target scale: {error}"
    event = f"New size: {decision.scale_to}; reason: {decision.why}; error: {error}"
    return replace(
        decision,
        said=[*decision.said, Said(ABLE, "False", "FailedUpdateScale", message)],
        told=[*decision.told, Told("FailedRescale", event)],
        failed=True,
    )


def status(hpa: autoscaling.Autoscaler, decision: Decision, stamp: str) -> Object:
    """`stamp`: wall time, for display."""
    before = hpa.status
    if decision.failed:
        desired = before.desired_replicas
    elif decision.scale_to is None:
        desired = decision.current
    else:
        desired = decision.scale_to
    made: Object = {"currentMetrics": decision.metrics, "desiredReplicas": desired}
    if decision.current:
        made["currentReplicas"] = decision.current
    last = stamp if decision.rescaled else before.last_scale_time
    if last:
        made["lastScaleTime"] = last
    conditions = [
        {name: value for name, value in json.to_builtins(each).items() if value is not None}
        for each in before.conditions
    ]
    for said in decision.said:
        conditions = _with(conditions, said, stamp)
    made["conditions"] = conditions
    return made


def _with(conditions: list[Object], said: Said, stamp: str) -> list[Object]:
    known = next((each for each in conditions if each["type"] == said.type), None)
    since = known.get("lastTransitionTime") if known and known["status"] == said.status else None
    made = {
        "type": said.type,
        "status": said.status,
        "lastTransitionTime": since or stamp,
        "reason": said.reason,
        "message": said.message,
    }
    if known is None:
        return [*conditions, made]
    return [made if each is known else each for each in conditions]


# --- by metrics ---------------------------------------------------------------------------------


class _Best(Struct):
    """The metric that asks for most, and what became of all of them."""

    replicas: int = 0
    name: str = ""
    current: list[Object] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    broken: int = 0
    first: Said | None = None
    error: str = ""


def _by_metrics(
    spec: autoscaling.AutoscalerSpec,
    target: Target,
    look: replica_calculator.Look,
    history: scaling_rules.History,
    got: Said,
) -> Decision:
    current = target.replicas
    wrong = _selector(target)
    if wrong is not None:
        useless = Told("FailedComputeMetricsReplicas", wrong[1].message)
        said, told = [got, wrong[0]], [wrong[1], useless]
        return Decision(current, history, said=said, told=told, failed=True)
    best = _best(spec, current, look)
    total = len(spec.metrics)
    if best.first is not None and (best.broken >= total or best.replicas < current):
        error = f"invalid metrics ({best.broken} invalid out of {total}), first error is: "
        told = [*best.told, Told("FailedComputeMetricsReplicas", f"{error}{best.error}")]
        said = [got, best.first]
        return Decision(current, history, said=said, told=told, metrics=best.current, failed=True)
    message = f"the HPA was able to successfully calculate a replica count from {best.name}"
    active = Said(ACTIVE, "True", "ValidMetricFound", message)
    why = f"{best.name} above target" if best.replicas > current else "All metrics below target"
    found = scaling_rules.bound(spec, current, best.replicas, history, look.now)
    said = [
        got,
        active,
        Said(ABLE, "True", *found.able),
        Said(LIMITED, str(found.is_limited), *found.limited),
    ]
    scale_to = found.replicas if found.replicas != current else None
    return Decision(current, found.history, scale_to, why, said, best.told, metrics=best.current)


def _selector(target: Target) -> tuple[Said, Told] | None:
    if not target.selector:
        message = "the HPA target's scale is missing a selector"
        said = Said(ACTIVE, "False", "InvalidSelector", message)
        return said, Told("SelectorRequired", "selector is required")
    if len(target.rivals) > 1:
        named = " ".join(f"{{{name} {namespace}}}" for name, namespace in sorted(target.rivals))
        why = f"pods by selector {target.selector} are controlled by multiple HPAs: [{named}]"
        return Said(ACTIVE, "False", "AmbiguousSelector", why), Told("AmbiguousSelector", why)
    return None


def _best(spec: autoscaling.AutoscalerSpec, current: int, look: replica_calculator.Look) -> _Best:
    best = _Best()
    allowed = replica_calculator.tolerances(spec.behavior)
    for metric in spec.metrics:
        reason, what = _named(metric)
        try:
            proposal, name, shown = _measure(metric, current, look, allowed)
        except replica_calculator.MetricError as error:
            best.current.append({"type": ""})
            best.told.append(Told(reason, str(error)))
            message = f"the HPA was unable to compute the replica count: {error}"
            best.broken += 1
            if best.first is None:
                best.first = Said(ACTIVE, "False", reason, message)
                best.error = f"failed to get {what}: {error}"
            continue
        best.current.append(shown)
        if not best.replicas or proposal.replicas > best.replicas:
            best.replicas, best.name = proposal.replicas, name
    return best


def _named(metric: autoscaling.Metric) -> tuple[str, str]:
    """The reason when it fails, and what is then said to be missing."""
    if metric.type == "Resource" and metric.resource is not None:
        return "FailedGetResourceMetric", f"{metric.resource.name} resource metric value"
    if metric.type == "ContainerResource" and metric.container_resource is not None:
        container = metric.container_resource.container
        return "FailedGetContainerResourceMetric", f"{container} container metric value"
    reason, what, _ = _CUSTOM.get(metric.type, _CUSTOM["Object"])
    return reason, what


def _measure(
    metric: autoscaling.Metric,
    current: int,
    look: replica_calculator.Look,
    allowed: replica_calculator.Tolerances,
) -> tuple[replica_calculator.Proposal, str, Object]:
    """What it asks for, its name, and its value for the status. Raises MetricError."""
    source = metric.resource if metric.type == "Resource" else metric.container_resource
    if source is None:
        api = _CUSTOM.get(metric.type, _CUSTOM["Object"])[2]
        raise replica_calculator.MetricError(
            f"unable to get metric: unable to fetch metrics from {api} metrics API: {_NO_API}"
        )
    container = getattr(source, "container", "")
    resource, target = source.name, source.target
    shown: Object = {"name": resource}
    kind = "resource"
    if container:
        shown["container"], kind = container, "container resource"
    if target.average_value is not None:
        wanted = replica_calculator.milli(target.average_value)
        ask, name, failed = replica_calculator.by_average, f"{resource} resource", "usage"
    else:
        wanted = target.average_utilization or 1
        ask, failed = replica_calculator.by_utilization, "utilization"
        name = f"{resource} {kind} utilization (percentage of request)"
    try:
        found = ask(current, wanted, resource, container, look, allowed)
    except replica_calculator.MetricError as error:
        message = f"failed to get {resource} {failed}: {error}"
        raise replica_calculator.MetricError(message) from None
    shown["current"] = _amounts(found)
    member = "containerResource" if container else "resource"
    return found, name, {"type": metric.type, member: shown}


def _amounts(found: replica_calculator.Proposal) -> Object:
    amount: Object = {"averageValue": str(quantity.of_nano(found.average * 10**6, "DecimalSI"))}
    if found.utilization is not None:
        amount["averageUtilization"] = found.utilization
    return amount
