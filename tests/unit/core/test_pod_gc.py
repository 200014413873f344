"""Which pods that are over go, and which are orphans."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeorch.core import pod_facts, pod_gc


def pod(name: str, phase: str, second: int, **meta: Any) -> pod_facts.PodFacts:
    made = f"2026-01-01T00:00:{second:02}Z"
    found = {
        "metadata": {"name": name, "creationTimestamp": made, **meta},
        "status": {"phase": phase},
        "spec": {"nodeName": "edge"},
    }
    return msgspec.convert(found, pod_facts.PodFacts)


PODS = [
    pod("c", "Failed", 3),
    pod("a", "Succeeded", 1),
    pod("runs", "Running", 0),
    pod("b", "Succeeded", 1),
    pod("goes", "Succeeded", 0, deletionTimestamp="2026-01-01T00:00:09Z"),
]


@pytest.mark.parametrize(
    ("threshold", "names"), [(0, []), (3, []), (2, ["a"]), (1, ["a", "b"]), (100, [])]
)
def test_the_oldest_above_the_threshold_go(threshold: int, names: list[str]) -> None:
    assert [each.metadata.name for each in pod_gc.surplus(PODS, threshold)] == names


def test_orphans_are_bound_to_what_is_not_there() -> None:
    assert pod_gc.orphaned(PODS[0], {"other"})
    assert not pod_gc.orphaned(PODS[0], {"edge"})
    assert not pod_gc.orphaned(msgspec.convert({"metadata": {}}, pod_facts.PodFacts), set())


@pytest.mark.parametrize(("before", "after"), [("Running", "Failed"), ("Succeeded", "Succeeded")])
def test_an_orphan_says_why_it_went(before: str, after: str) -> None:
    old = {"status": {"phase": before, "conditions": [{"type": "Ready", "status": "True"}]}}
    status = pod_gc.failed(old, "2026-01-01T00:00:00Z")["status"]

    assert status["phase"] == after
    assert [c["type"] for c in status["conditions"]] == ["Ready", "DisruptionTarget"]
    assert status["conditions"][1]["reason"] == "DeletionByPodGC"
