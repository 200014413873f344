"""What a Pod gets from its RuntimeClass, as Kubernetes' admission plugin gives it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import runtime_classes
from edgeorch.lib import json
from edgeorch.model import errors, views
from edgeorch.model.runtime_classes import RuntimeClass

TOLERATION = {"key": "k", "operator": "Exists"}


def named(**fields: Any) -> RuntimeClass:
    obj = {"metadata": {"name": "fast"}, "handler": "runc", **fields}
    return views.decode(json.encode(obj), RuntimeClass)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"runtimeClassName": "fast", **spec}}


def test_overhead_and_scheduling_become_the_pods() -> None:
    made = pod(nodeSelector={"a": "1"}, tolerations=[{"key": "own"}])
    found = named(
        overhead={"podFixed": {"memory": "10Mi"}},
        scheduling={"nodeSelector": {"a": "1", "b": "2"}, "tolerations": [TOLERATION]},
    )
    for _ in range(2):
        runtime_classes.complete(made, found)

    assert made["spec"] == {
        "runtimeClassName": "fast",
        "overhead": {"memory": "10Mi"},
        "nodeSelector": {"a": "1", "b": "2"},
        "tolerations": [{"key": "own"}, TOLERATION],
    }


def test_one_without_a_class_stays_as_it_is() -> None:
    made = {"metadata": {"name": "p"}, "spec": {"nodeSelector": {"a": "1"}}}
    runtime_classes.complete(made, None)

    assert made["spec"] == {"nodeSelector": {"a": "1"}}


@pytest.mark.parametrize(
    ("spec", "found", "told"),
    [
        pytest.param({}, None, 'pod rejected: RuntimeClass "fast" not found', id="missing"),
        pytest.param(
            {"overhead": {"cpu": "1"}},
            named(),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            id="overhead of its own",
        ),
        pytest.param(
            {"overhead": {"cpu": "1"}, "runtimeClassName": None},
            None,
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            id="overhead without a class",
        ),
        pytest.param(
            {"overhead": {"cpu": "1"}},
            named(overhead={"podFixed": {"cpu": "2"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            id="another overhead",
        ),
        pytest.param(
            {"nodeSelector": {"a": "1"}},
            named(scheduling={"nodeSelector": {"a": "2"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = 2; pod.spec.nodeSelector[a] = 1",
            id="two selectors",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    spec: dict[str, Any], found: RuntimeClass | None, told: str
) -> None:
    with pytest.raises(errors.StatusError) as caught:
        runtime_classes.complete(pod(**spec), found)

    assert caught.value.code == 403
    assert str(caught.value) == f'pods "p" is forbidden: {told}'


def test_the_same_overhead_in_other_words() -> None:
    runtime_classes.complete(
        pod(overhead={"cpu": "1000m"}), named(overhead={"podFixed": {"cpu": "1"}})
    )


@pytest.mark.parametrize(
    ("name", "found", "told"),
    [
        ("", None, ""),
        ("fast", named(), ""),
        ("fast", None, 'runtimeclass.node.k8s.io "fast" not found'),
        (
            "fast",
            named(handler="kata"),
            'failed to get sandbox runtime: no runtime for "kata" is configured',
        ),
    ],
)
def test_a_sandbox_needs_a_handler_that_is_there(
    name: str, found: RuntimeClass | None, told: str
) -> None:
    assert runtime_classes.refusal(name, found) == told
