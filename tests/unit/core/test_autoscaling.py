"""What autoscalers decide, how fast they may go, and what they say."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import structs

from edgeorch.core import autoscaling, replica_calculator, scaling_rules
from edgeorch.model import autoscaling as views
from tests.unit.core.autoscaled import NOW, even, hpa, look, metric, of_container, pod

CPU = "cpu resource utilization (percentage of request)"
STAMP = "2026-01-01T00:00:00Z"
OLD = scaling_rules.History(())
"""Nothing recommended lately: free to go down at once."""


def decided(
    scaler: views.Autoscaler,
    seen: replica_calculator.Look,
    history: scaling_rules.History | None = OLD,
    current: int | None = None,
) -> autoscaling.Decision:
    size = len(seen.pods) if current is None else current
    return autoscaling.decide(scaler.spec, autoscaling.Target(size, "app=web"), seen, history)


def reasons(decision: autoscaling.Decision) -> dict[str, str]:
    return {said.type: said.reason for said in decision.said}


@pytest.mark.parametrize(
    ("scaler", "seen", "current", "scale_to", "why"),
    [
        pytest.param(hpa(), even(2, 50), 2, None, "All metrics below target", id="at rest"),
        pytest.param(
            hpa(), even(2, 100), 2, 4, "cpu resource utilization (percentage of request) above "
            "target", id="up",
        ),
        pytest.param(hpa(), even(4, 10), 4, 1, "All metrics below target", id="down"),
        pytest.param(hpa(2), even(4, 0), 4, 2, "All metrics below target", id="not below min"),
        pytest.param(
            hpa(1, 3), even(2, 200), 2, 3, "cpu resource utilization (percentage of request) "
            "above target", id="not above max",
        ),
        pytest.param(
            hpa(1, 3), even(5, 50), 5, 3, "Current number of replicas above Spec.MaxReplicas",
            id="above max",
        ),
        pytest.param(
            hpa(3), look([], {}), 1, 3, "Current number of replicas below Spec.MinReplicas",
            id="below min",
        ),
        pytest.param(hpa(), look([], {}), 0, None, "", id="off"),
        pytest.param(
            hpa(1, 10, metric(50), metric(50, resource="memory")), even(2, 10, memory=100), 2, 4,
            "memory resource utilization (percentage of request) above target",
            id="the metric that asks for most",
        ),
        pytest.param(
            hpa(1, 10, metric(type="AverageValue", averageValue="25m")), even(2, 50), 2, 4,
            "cpu resource above target", id="average",
        ),
        pytest.param(
            hpa(1, 10, of_container(25)), even(2, 50), 2, 4,
            "cpu container resource utilization (percentage of request) above target",
            id="container",
        ),
    ],
)  # fmt: skip
def test_decisions(
    scaler: views.Autoscaler,
    seen: replica_calculator.Look,
    current: int,
    scale_to: int | None,
    why: str,
) -> None:
    found = decided(scaler, seen, current=current)
    assert (found.scale_to, found.why) == (scale_to, why)


def test_conditions_of_a_scale_up() -> None:
    scaler = hpa()
    found = autoscaling.done(decided(scaler, even(2, 100)), scaler.spec, NOW)
    assert found.told == [
        autoscaling.Told(
            "SuccessfulRescale",
            f"New size: 4; reason: {CPU} above target",
            warning=False,
        )
    ]
    status = autoscaling.status(scaler, found, STAMP)
    assert status == {
        "currentMetrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "current": {"averageUtilization": 100, "averageValue": "100m"},
                },
            }
        ],
        "currentReplicas": 2,
        "desiredReplicas": 4,
        "lastScaleTime": STAMP,
        "conditions": [
            {
                "type": kind,
                "status": value,
                "lastTransitionTime": STAMP,
                "reason": reason,
                "message": message,
            }
            for kind, value, reason, message in [
                (
                    "AbleToScale",
                    "True",
                    "SucceededRescale",
                    "the HPA controller was able to update the target scale to 4",
                ),
                (
                    "ScalingActive",
                    "True",
                    "ValidMetricFound",
                    f"the HPA was able to successfully calculate a replica count from {CPU}",
                ),
                (
                    "ScalingLimited",
                    "False",
                    "DesiredWithinRange",
                    "the desired count is within the acceptable range",
                ),
            ]
        ],
    }


def test_a_metric_that_cannot_be_had() -> None:
    scaler = hpa()
    found = decided(scaler, look([pod("a")], {}))
    failed = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics "
    failed += "returned from resource metrics API"
    first = "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource "
    assert [(each.reason, each.message) for each in found.told] == [
        ("FailedGetResourceMetric", failed),
        (
            "FailedComputeMetricsReplicas",
            f"{first}metric value: {failed}",
        ),
    ]
    assert reasons(found) == {
        "AbleToScale": "SucceededGetScale",
        "ScalingActive": "FailedGetResourceMetric",
    }
    said = found.said[-1].message
    assert said == f"the HPA was unable to compute the replica count: {failed}"
    status = autoscaling.status(scaler, found, STAMP)
    assert (status["currentMetrics"], status["desiredReplicas"]) == ([{"type": ""}], 0)


@pytest.mark.parametrize(
    ("cpu", "scale_to", "reason"),
    [(100, 4, "ValidMetricFound"), (0, None, "FailedGetResourceMetric")],
)
def test_one_broken_metric_forbids_to_scale_down(
    cpu: int, scale_to: int | None, reason: str
) -> None:
    scaler = hpa(1, 10, metric(50), metric(50, resource="ephemeral-storage"))
    found = decided(scaler, even(2, cpu))
    assert (found.scale_to, reasons(found)["ScalingActive"]) == (scale_to, reason)


def test_metrics_that_nothing_measures_here() -> None:
    target = {"type": "AverageValue", "averageValue": "1k"}
    pods = {"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": target}}
    found = decided(hpa(1, 10, pods), even(2, 100))
    assert reasons(found)["ScalingActive"] == "FailedGetPodsMetric"
    assert found.scale_to is None


def test_a_target_that_is_not_there() -> None:
    scaler, why = hpa(), 'deployments/scale.apps "web" not found'
    found = autoscaling.unscalable(None, {"currentReplicas": 2}, why)
    assert found.told == [autoscaling.Told("FailedGetScale", why)]
    status = autoscaling.status(scaler, found, STAMP)
    assert status["conditions"][0]["message"] == (
        f"the HPA controller was unable to get the target's current scale: {why}"
    )


def test_a_target_that_cannot_be_scaled() -> None:
    found = autoscaling.refused(decided(hpa(), even(2, 100)), "no")
    assert reasons(found)["AbleToScale"] == "FailedUpdateScale"
    assert found.told[-1].message.endswith("above target; error: no")


def test_two_autoscalers_of_the_same_pods() -> None:
    rivals = [("b", "default"), ("a", "default")]
    target = autoscaling.Target(2, "app=web", rivals)
    found = autoscaling.decide(hpa().spec, target, even(2, 100), OLD)
    assert found.scale_to is None
    assert found.told[0].message == (
        "pods by selector app=web are controlled by multiple HPAs: [{a default} {b default}]"
    )
    assert reasons(found)["ScalingActive"] == "AmbiguousSelector"


def test_conditions_keep_their_times() -> None:
    scaler = hpa()
    first = autoscaling.status(scaler, decided(scaler, even(2, 50)), STAMP)
    again = structs.replace(decided(scaler, even(2, 50)))
    held = structs.replace(scaler, status=msgspec.convert(first, views.AutoscalerStatus))
    assert autoscaling.status(held, again, "2027-01-01T00:00:00Z") == first


# --- how fast -----------------------------------------------------------------------------------


def bounded(
    wanted: int,
    current: int,
    *,
    history: scaling_rules.History = OLD,
    now: float = NOW,
    most: int = 100,
    **fields: Any,
) -> tuple[int, str, str]:
    found = scaling_rules.bound(hpa(1, most, **fields).spec, current, wanted, history, now)
    return found.replicas, found.able[0], found.limited[0] if found.is_limited else ""


def behavior(**rules: Any) -> dict[str, Any]:
    return {"behavior": rules}


def policy(kind: str, value: int, period: int = 60) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": period}


READY, DOWN, UP = "ReadyForNewScale", "ScaleDownStabilized", "ScaleUpStabilized"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"wanted": 50, "current": 10}, (20, READY, "ScaleUpLimit"), id="twice"),
        pytest.param({"wanted": 9, "current": 1}, (4, READY, "ScaleUpLimit"), id="to four"),
        pytest.param(
            {"wanted": 9, "current": 5, "most": 7}, (7, READY, "TooManyReplicas"), id="max"
        ),
        pytest.param({"wanted": 0, "current": 5}, (1, READY, "TooFewReplicas"), id="min"),
        pytest.param(
            {"wanted": 2, "current": 5, "history": scaling_rules.begin(5, NOW - 299)},
            (5, DOWN, ""), id="held for five minutes",
        ),
        pytest.param(
            {"wanted": 2, "current": 5, "history": scaling_rules.begin(5, NOW - 301)},
            (2, READY, ""), id="and then let go",
        ),
        pytest.param(
            {"wanted": 50, "current": 10, **behavior(scaleUp={"policies": [policy("Pods", 3)]})},
            (13, READY, "ScaleUpLimit"), id="pods up",
        ),
        pytest.param(
            {
                "wanted": 50, "current": 10,
                **behavior(scaleUp={"policies": [policy("Pods", 3), policy("Percent", 50)]}),
            },
            (15, READY, "ScaleUpLimit"), id="the most of policies",
        ),
        pytest.param(
            {
                "wanted": 50, "current": 10,
                **behavior(scaleUp={
                    "selectPolicy": "Min", "policies": [policy("Pods", 3), policy("Percent", 50)],
                }),
            },
            (13, READY, "ScaleUpLimit"), id="the least of policies",
        ),
        pytest.param(
            {
                "wanted": 50, "current": 10,
                "history": scaling_rules.History((), ups=((NOW - 30, 2),)),
                **behavior(scaleUp={"policies": [policy("Pods", 3)]}),
            },
            (11, READY, "ScaleUpLimit"), id="what was added in the period counts",
        ),
        pytest.param(
            {
                "wanted": 50, "current": 10,
                "history": scaling_rules.History((), ups=((NOW - 61, 2),)),
                **behavior(scaleUp={"policies": [policy("Pods", 3)]}),
            },
            (13, READY, "ScaleUpLimit"), id="what was added before does not",
        ),
        pytest.param(
            {"wanted": 50, "current": 10, **behavior(scaleUp={"selectPolicy": "Disabled"})},
            (10, READY, "ScaleUpLimit"), id="up is off",
        ),
        pytest.param(
            {"wanted": 1, "current": 10, **behavior(scaleDown={"selectPolicy": "Disabled"})},
            (10, READY, "ScaleDownLimit"), id="down is off",
        ),
        pytest.param(
            {"wanted": 1, "current": 10, **behavior(scaleDown={"policies": [policy("Pods", 2)]})},
            (8, READY, "ScaleDownLimit"), id="pods down",
        ),
        pytest.param(
            {
                "wanted": 1, "current": 10,
                **behavior(scaleDown={"policies": [policy("Percent", 25)]}),
            },
            (7, READY, "ScaleDownLimit"), id="percent down",
        ),
        pytest.param(
            {
                "wanted": 1, "current": 10, "history": scaling_rules.begin(10, NOW - 10),
                **behavior(scaleDown={"stabilizationWindowSeconds": 0}),
            },
            (1, READY, ""), id="down at once",
        ),
        pytest.param(
            {
                "wanted": 1, "current": 10, "history": scaling_rules.begin(10, NOW - 10),
                **behavior(scaleDown={}),
            },
            (10, DOWN, ""), id="down: five minutes unless said otherwise",
        ),
        pytest.param(
            {
                "wanted": 20, "current": 10, "history": scaling_rules.begin(10, NOW - 10),
                **behavior(scaleUp={"stabilizationWindowSeconds": 60}),
            },
            (10, UP, ""), id="up only when asked for a while",
        ),
    ],
)  # fmt: skip
def test_bounds(arguments: dict[str, Any], expected: tuple[int, str, str]) -> None:
    assert bounded(**arguments) == expected


# --- from any observed state --------------------------------------------------------------------

_RULES = st.fixed_dictionaries(
    {
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "stabilizationWindowSeconds": st.integers(0, 120),
        "policies": st.lists(
            st.builds(
                policy,
                st.sampled_from(["Pods", "Percent"]),
                st.integers(1, 100),
                st.integers(1, 120),
            ),
            min_size=1,
            max_size=3,
        ),
    }
)
_BEHAVIORS = st.one_of(
    st.just({}), st.builds(lambda up, down: behavior(scaleUp=up, scaleDown=down), _RULES, _RULES)
)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(_BEHAVIORS, st.integers(0, 2000), st.integers(1, 20), st.integers(1, 6))
def test_it_converges_within_its_bounds(
    fields: dict[str, Any], load: int, start: int, least: int
) -> None:
    scaler = hpa(least, 12, **fields)
    rules = scaler.spec.behavior
    now, size, history, rest = NOW, start, None, 0
    # A recommendation holds for five minutes, which is twenty looks.
    while rest <= 21:
        assert now < NOW + 400 * autoscaling.PERIOD, f"never came to rest: {size}"
        seen = even(size, load // size, now=now)
        found = decided(scaler, seen, history, size)
        assert found == decided(scaler, seen, history, size)
        history = found.history
        assert len(history.recommended) <= 22
        rest += 1
        if found.scale_to is not None:
            rest = 0
            assert found.scale_to != size
            assert least <= found.scale_to <= 12
            if rules is not None and least <= size <= 12:
                chosen = rules.scale_up if found.scale_to > size else rules.scale_down
                assert chosen.select_policy != "Disabled"
            history = autoscaling.done(found, scaler.spec, now).history
            size = found.scale_to
        now += autoscaling.PERIOD
    if rules is None:
        needed = min(max(math.ceil(load / 50), least), 12)
        # Within a tenth of the target, either way, and whole percents.
        slack = math.ceil(needed * 0.15) + 1
        assert needed - slack <= size <= max(needed + slack, least)


@hypothesis.given(_BEHAVIORS, st.integers(0, 40), st.integers(1, 20))
def test_never_further_than_the_policies_in_a_period(
    fields: dict[str, Any], wanted: int, start: int
) -> None:
    scaler = hpa(1, 40, **fields)
    now, size, history = NOW, start, OLD
    sizes = [(now, size)]
    for _ in range(20):
        found = scaling_rules.bound(scaler.spec, size, wanted, history, now)
        history = found.history
        if found.replicas != size:
            history = scaling_rules.noted(history, scaler.spec.behavior, size, found.replicas, now)
            size = found.replicas
        sizes.append((now, size))
        now += 7
    if scaler.spec.behavior is None:
        return
    rules = scaler.spec.behavior.scale_up
    for each in rules.policies if rules.select_policy == "Min" else []:
        for index, (at, before) in enumerate(sizes):
            within = [s for when, s in sizes[index:] if when < at + each.period_seconds]
            most = before + each.value
            if each.type == "Percent":
                most = math.ceil(before * (1 + each.value / 100))
            assert max(within) <= max(most, before)
