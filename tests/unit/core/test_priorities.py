"""What a Pod gets from its PriorityClass, as Kubernetes' admission plugin gives it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import priorities
from edgeorch.lib import json
from edgeorch.model import errors, views
from edgeorch.model.priority_classes import PriorityClass


def named(name: str, value: int = 5, **fields: Any) -> PriorityClass:
    obj = {"metadata": {"name": name}, "value": value, **fields}
    return views.decode(json.encode(obj), PriorityClass)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "found", "gets"),
    [
        pytest.param({}, None, (None, 0, "PreemptLowerPriority"), id="no-class-at-all"),
        pytest.param({}, named("usual", 7), ("usual", 7, "PreemptLowerPriority"), id="default"),
        pytest.param(
            {"priorityClassName": "gold"},
            named("gold", preemptionPolicy="Never"),
            ("gold", 5, "Never"),
            id="the-class-named",
        ),
        pytest.param(
            {"priorityClassName": "gold", "priority": 5, "preemptionPolicy": "Never"},
            named("gold", preemptionPolicy="Never"),
            ("gold", 5, "Never"),
            id="copied-from-another-pod",
        ),
    ],
)
def test_a_pod_gets_the_priority_of_its_class(
    spec: dict[str, Any], found: PriorityClass | None, gets: tuple[Any, ...]
) -> None:
    made = pod(**spec)
    priorities.complete(made, found)
    fields = ("priorityClassName", "priority", "preemptionPolicy")
    assert tuple(made["spec"].get(field) for field in fields) == gets


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"priorityClassName": "lead"}, "no PriorityClass with name lead was found"),
        ({"priority": 9}, r"the integer value of priority \(9\) must not be provided in pod spec"),
        ({"preemptionPolicy": "Never"}, r"the string value of PreemptionPolicy \(Never\) must not"),
    ],
)
def test_what_does_not_go_with_the_class_is_forbidden(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.StatusError, match=told) as caught:
        priorities.complete(pod(**spec), None)
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")


def test_there_is_one_default() -> None:
    held = [named("low", 1, globalDefault=True), named("high", 9, globalDefault=True), named("x")]
    assert priorities.default_of(held) == held[0]
    assert priorities.default_of(held[2:]) is None
    priorities.check_default({"metadata": {"name": "other"}}, held)
    priorities.check_default({"metadata": {"name": "low"}, "globalDefault": True}, held)
    with pytest.raises(errors.StatusError, match="PriorityClass low is already marked as default"):
        priorities.check_default({"metadata": {"name": "other"}, "globalDefault": True}, held)
