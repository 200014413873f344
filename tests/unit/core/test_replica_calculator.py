"""How many replicas a metric asks for, pod by pod."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from edgeorch.core import pod_facts
from edgeorch.core import replica_calculator as calculator
from tests.unit.core.autoscaled import MIB, even, look, pod, used

EXACT = calculator.Tolerances()


def percent(
    seen: calculator.Look, target: int = 50, current: int | None = None, **asked: Any
) -> calculator.Proposal:
    size = len(seen.pods) if current is None else current
    resource, container = asked.get("resource", "cpu"), asked.get("container", "")
    allowed = asked.get("tolerances", EXACT)
    return calculator.by_utilization(size, target, resource, container, seen, allowed)


@pytest.mark.parametrize(
    ("seen", "target", "expected"),
    [
        pytest.param(even(3, 50), 50, 3, id="on target"),
        pytest.param(even(3, 54), 50, 3, id="within a tenth above"),
        pytest.param(even(3, 46), 50, 3, id="within a tenth below"),
        pytest.param(even(3, 60), 50, 4, id="above"),
        pytest.param(even(3, 100), 50, 6, id="twice"),
        pytest.param(even(4, 20), 50, 2, id="below"),
        pytest.param(even(4, 0), 50, 0, id="idle"),
        pytest.param(
            look([pod("a"), pod("b", leaving=True)], {"a": used(100), "b": used(900)}), 50, 2,
            id="leaving pods do not count",
        ),
        pytest.param(
            look([pod("a"), pod("b", phase="Failed")], {"a": used(100), "b": used(900)}), 50, 2,
            id="failed pods do not count",
        ),
        pytest.param(
            look([pod("a"), pod("b", phase="Pending")], {"a": used(100)}), 50, 2,
            id="pending: as if they used nothing, scaling up",
        ),
        pytest.param(
            look([pod("a"), pod("b"), pod("c")], {"a": used(200), "b": used(200)}), 50, 8,
            id="missing: as if they used nothing, scaling up",
        ),
        pytest.param(
            look([pod("a"), pod("b"), pod("c")], {"a": used(10), "b": used(10)}), 50, 3,
            id="missing: as if they used all, scaling down",
        ),
        pytest.param(
            look([pod("a"), pod("b"), pod("c"), pod("d")], dict.fromkeys("abc", used(0))), 50, 2,
            id="missing: yet it goes down when the others leave room",
        ),
        pytest.param(
            look([pod("a"), pod("b")], {"a": used(60)}), 50, 2,
            id="missing: no turn of direction",
        ),
        pytest.param(
            look(
                [pod("a"), pod("b", ready=False, was_ready=False, age=60)],
                {"a": used(100), "b": used(900)},
            ), 50, 2, id="starting: what it burns until ready is no load",
        ),
        pytest.param(
            look([pod("a"), pod("b", since=5, age=20)], {"a": used(100), "b": used(900)}), 50, 2,
            id="ready for less than was measured",
        ),
        pytest.param(
            look([pod("a"), pod("b", since=20, age=30)], {"a": used(100), "b": used(100)}), 50, 4,
            id="ready all the while",
        ),
        pytest.param(
            look([pod("a"), pod("b", ready=False)], {"a": used(100), "b": used(100)}), 50, 4,
            id="unready after having been ready: overloaded, it counts",
        ),
        pytest.param(
            look([pod("a"), pod("b", ready=False, was_ready=False)], {"a": used(100)}), 50, 2,
            id="never ready, nothing known",
        ),
    ],
)  # fmt: skip
def test_utilization(seen: calculator.Look, target: int, expected: int) -> None:
    assert percent(seen, target).replicas == expected


def test_what_was_measured_is_told() -> None:
    found = percent(even(2, 75))
    assert (found.utilization, found.average) == (75, 75)


def test_memory_and_averages() -> None:
    seen = even(2, 10, memory=80)
    assert percent(seen, 40, resource="memory").replicas == 4
    target = 40 * MIB * 1000
    found = calculator.by_average(2, target, "memory", "", seen, EXACT)
    assert (found.replicas, found.average, found.utilization) == (4, 80 * MIB * 1000, None)


def test_one_container_only() -> None:
    seen = look([pod("a")], {"a": used(100, log=900)})
    assert percent(seen, 50, container="app").replicas == 2
    assert percent(seen, 50).replicas == 20


def test_what_the_pod_asks_for_as_a_whole_counts() -> None:
    whole = pod_facts.Resources(requests={"cpu": "400m"})
    one = pod("a", cpu=None)
    one = structs.replace(one, spec=structs.replace(one.spec, resources=whole))
    assert percent(look([one], {"a": used(200)})).utilization == 50


def test_tolerances_are_per_direction() -> None:
    wide = calculator.Tolerances(up=0.5, down=0.0)
    assert percent(even(2, 70), tolerances=wide).replicas == 2
    assert percent(even(4, 37), tolerances=wide).replicas == 3


@pytest.mark.parametrize(
    ("seen", "asked", "message"),
    [
        pytest.param(
            look([pod("a")], {}), {},
            "unable to get metrics for resource cpu: no metrics returned from resource metrics "
            "API", id="no metrics",
        ),
        pytest.param(
            look([], {"a": used(1)}), {},
            "no pods returned by selector while calculating replica count", id="no pods",
        ),
        pytest.param(
            look([pod("a", phase="Pending")], {"a": used(1)}), {},
            "did not receive metrics for targeted pods (pods might be unready)", id="unready",
        ),
        pytest.param(
            look([pod("a", cpu=None)], {"a": used(1)}), {},
            "missing request for cpu in container app of Pod a", id="no request",
        ),
        pytest.param(
            look([pod("a")], {"a": used(1)}), {"container": "other"},
            "unable to get metrics for resource cpu: failed to get container metrics: container "
            "other not present in metrics for pod default/a", id="no such container",
        ),
        pytest.param(
            look([pod("a")], {"a": used(1)}), {"resource": "ephemeral-storage"},
            "did not receive metrics for targeted pods (pods might be unready)", id="other kind",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told(seen: calculator.Look, asked: Any, message: str) -> None:
    with pytest.raises(calculator.MetricError) as error:
        percent(seen, **asked)
    assert str(error.value) == message
