"""Allocatable is capacity less what is reserved, and the cgroup of all pods holds at it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import cgroups, node_resources
from edgeorch.lib import quantity
from edgeorch.model import views

WHOLE = {"cpu": "4", "memory": "1048576Ki", "ephemeral-storage": "1000Ki", "pods": "110"}


@pytest.mark.parametrize(
    ("reserved", "left"),
    [
        ({}, {}),
        ({"cpu": "100m", "memory": "128Mi"}, {"cpu": "3900m", "memory": "917504Ki"}),
        ({"cpu": "1", "ephemeral-storage": "10%"}, {"cpu": "3", "ephemeral-storage": "900Ki"}),
        ({"memory": "1500Ki", "cpu": "0.5"}, {"memory": "1047076Ki", "cpu": "3500m"}),
        ({"memory": "2Gi", "cpu": "8"}, {"memory": "0Ki", "cpu": "0"}),
    ],
)
def test_what_is_reserved_is_not_for_pods(reserved: dict[str, str], left: dict[str, str]) -> None:
    assert node_resources.allocatable(WHOLE, reserved) == {**WHOLE, **left}


def test_huge_pages_are_memory_that_nobody_else_can_use() -> None:
    pools = node_resources.huge_pages({2 << 20: 16, 1 << 30: 0})

    assert pools == {"hugepages-2Mi": "32Mi", "hugepages-1Gi": "0"}
    found = node_resources.allocatable({**WHOLE, **pools}, {"memory": "32Mi"})
    assert found["memory"] == "983040Ki"
    assert found["hugepages-2Mi"] == "32Mi"


@given(st.integers(0, 1 << 45), st.integers(0, 1 << 45))
def test_never_more_than_there_is(whole: int, kept: int) -> None:
    found = node_resources.allocatable({"memory": f"{whole // 1024}Ki"}, {"memory": str(kept)})
    left = quantity.parse(found["memory"]).value()

    assert 0 <= left <= whole
    assert left + kept <= whole or left == 0


def test_all_pods_together() -> None:
    limits = node_resources.pods_limits({"cpu": "3900m", "memory": "917504Ki"})

    assert limits == cgroups.Limits(3993, None, 917504 * 1024)
    assert cgroups.pods_path("/e/") == "/e/kubepods"
    assert cgroups.tier_path("/e", "BestEffort") == "/e/kubepods/besteffort"


def test_huge_pages_of_a_container_as_the_kernel_names_them() -> None:
    limits = {"hugepages-2Mi": "6Mi", "hugepages-1Gi": "1Gi", "hugepages-64Ki": "1Mi", "cpu": "1"}

    assert cgroups.huge_pages(views.Resources(limits=limits)) == [
        ("1GB", 1 << 30), ("2MB", 6 << 20), ("64KB", 1 << 20)
    ]  # fmt: skip
