"""Limits of the disk, in the kubelet's order and words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import local_storage
from edgeorch.core.local_storage import Usage
from tests.unit.core import pods

MI = 1 << 20


def made(*limits: str | None, **spec: Any) -> Any:
    """A pod of containers `c0`, `c1`… with these limits."""
    containers = [
        {
            "name": f"c{index}",
            "resources": {"limits": {"ephemeral-storage": limit}} if limit else {},
        }
        for index, limit in enumerate(limits)
    ]
    return pods.pod(containers=containers, **spec)


def scratch(limit: str | None = "10Mi", **more: Any) -> list[dict[str, Any]]:
    empty_dir = {**({"sizeLimit": limit} if limit else {}), **more}
    return [{"name": "x", "emptyDir": empty_dir}]


VOLUME = 'Usage of EmptyDir volume "x" exceeds the limit "10Mi". '
POD = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi. "
CONTAINER = 'Container c0 exceeded its local ephemeral storage limit "20Mi". '


@pytest.mark.parametrize(
    ("pod", "usage", "told"),
    [
        pytest.param(made(None, volumes=scratch()), Usage(volumes={"x": 10 * MI}), None, id="full"),
        pytest.param(
            made(None, volumes=scratch()), Usage(volumes={"x": 10 * MI + 1}), VOLUME, id="beyond"
        ),
        pytest.param(made("50Mi"), Usage({"c0": 50 * MI}), None, id="as much as it may"),
        pytest.param(made("50Mi"), Usage({"c0": 50 * MI + 1}), POD, id="the pod before it"),
        pytest.param(
            made("20Mi", "30Mi"),
            Usage({"c0": 9 * MI}, {"c0": 12 * MI}),
            CONTAINER,
            id="with its log",
        ),
        pytest.param(
            made("20Mi", "30Mi"),
            Usage({"c0": MI}, {"c1": MI}, {"x": 49 * MI}),
            POD,
            id="volumes are the pod's",
        ),
        pytest.param(
            made("50Mi", None),
            Usage({"c1": 51 * MI}),
            POD,
            id="one without a limit has a share in those of others",
        ),
        pytest.param(
            made("50Mi", volumes=scratch()),
            Usage({"c0": 60 * MI}, volumes={"x": 11 * MI}),
            VOLUME,
            id="the volume speaks first",
        ),
        pytest.param(made(None), Usage({"c0": 1 << 40}), None, id="no limit at all"),
    ],
)
def test_who_has_outgrown_its_share(pod: Any, usage: Usage, told: str | None) -> None:
    said = local_storage.judge(pod, usage)

    assert (said.message if said else None) == told
    if said is not None:
        assert (said.reason, said.grace, said.disruption) == ("Evicted", 1.0, True)


@pytest.mark.parametrize(
    ("pod", "bounded"),
    [
        (made(None), False),
        (made("1Gi"), True),
        (made(None, volumes=scratch()), True),
        (made(None, volumes=scratch(None)), False),
        # tmpfs refuses what is too much.
        (made(None, volumes=scratch(medium="Memory")), False),
        (made(None, volumes=[{"name": "x", "configMap": {"name": "x"}}]), False),
    ],
)
def test_only_pods_with_limits_are_measured(pod: Any, bounded: bool) -> None:
    assert local_storage.bounded(pod) is bounded


def test_volumes_in_memory_and_of_others_are_not_on_its_account() -> None:
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "ram", "emptyDir": {"medium": "Memory"}},
        {"name": "text", "configMap": {"name": "x"}},
        {"name": "key", "secret": {"secretName": "x"}},
        {"name": "host", "hostPath": {"path": "/"}},
    ]

    assert local_storage.on_disk(made(None, volumes=volumes)) == ["disk", "text"]
