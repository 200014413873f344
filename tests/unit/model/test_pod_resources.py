"""What a pod asks for as a whole: the arithmetic, and what may be said of the pod itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import cgroups, qos
from edgeorch.lib import quantity
from edgeorch.model import lifecycle, pod_resources
from edgeorch.model.defaults import pods as defaults
from edgeorch.model.validation import resources
from tests.unit.core import pods


def cpu(amount: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": amount}}, **more}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("containers", "inits", "millis"),
    [
        ([cpu("100m"), cpu("200m")], [], 300),
        ([cpu("100m")], [cpu("500m"), cpu("400m")], 500),
        ([cpu("400m")], [cpu("300m")], 400),
        # A sidecar runs beside the mains and beside the init containers after it.
        ([cpu("400m")], [cpu("300m", **SIDECAR)], 700),
        ([cpu("100m")], [cpu("300m", **SIDECAR), cpu("500m")], 800),
        ([cpu("100m")], [cpu("500m"), cpu("300m", **SIDECAR)], 500),
    ],
)
def test_side_by_side_and_one_after_another(
    containers: list[Any], inits: list[Any], millis: int
) -> None:
    spec = pods.pod(containers=containers, initContainers=inits).spec

    assert pod_resources.requests(spec)["cpu"] == millis * quantity.NANO // 1000


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6), st.integers(0, 9))
def test_never_less_than_what_runs_at_any_moment(inits: list[tuple[int, bool]], main: int) -> None:
    found = pod_resources.combine(
        [{"cpu": str(main)}], [({"cpu": str(a)}, beside) for a, beside in inits]
    )
    moments, sidecars = [], 0
    for amount, beside in inits:
        moments.append(sidecars + amount)
        sidecars += amount if beside else 0
    moments.append(sidecars + main)

    assert found["cpu"] == max(moments) * quantity.NANO


def test_what_the_pod_says_of_itself_comes_first() -> None:
    own = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    pod = pods.pod(containers=[cpu("100m")], resources=own, overhead={"cpu": "10m"})

    asked = pod_resources.requests(pod.spec)
    assert asked == {"cpu": 1010 * 10**6, "memory": (1 << 30) * quantity.NANO}
    assert cgroups.pod_limits(pod.spec) == cgroups.Limits(1034, 201_000, 2 << 30)
    assert qos.qos_class(pod.spec) == qos.BURSTABLE
    # The container asks for no memory: it has all that the pod asks for.
    assert qos.memory_share(pod.spec) == 1 << 30


def test_a_pod_is_bounded_where_each_container_is() -> None:
    limited = {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    free = {"name": "b"}

    assert cgroups.pod_limits(pods.pod(containers=[limited, limited]).spec).memory_bytes == 2 << 30
    assert cgroups.pod_limits(pods.pod(containers=[limited, free]).spec).memory_bytes is None
    assert cgroups.pod_limits(pods.pod(containers=[limited, free]).spec).cpu_quota_us is None


LIMITED = {"limits": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("spec", "tier"),
    [
        ({"containers": [{"name": "a"}], "resources": LIMITED}, "Guaranteed"),
        ({"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "1"}}}, "Burstable"),
        ({"containers": [{"name": "a", "resources": LIMITED}]}, "Guaranteed"),
        ({"containers": [{"name": "a", "resources": LIMITED}, {"name": "b"}]}, "Burstable"),
        (
            {"containers": [{"name": "a"}], "resources": {"limits": {"cpu": "0", "memory": "0"}}},
            "BestEffort",
        ),
    ],
)
def test_both_sides_agree_on_the_class(spec: dict[str, Any], tier: str) -> None:
    written: dict[str, Any] = {"metadata": {"name": "p"}, "spec": spec}
    defaults.pod(written)

    assert lifecycle.qos_class(written["spec"]) == tier
    assert qos.qos_class(pods.pod(**written["spec"]).spec) == tier


def test_a_limit_of_the_pod_is_its_request_unless_containers_say() -> None:
    written: dict[str, Any] = {
        "spec": {
            "containers": [cpu("250m")],
            "resources": {"limits": {"cpu": "1", "memory": "64Mi", "hugepages-2Mi": "2Mi"}},
        }
    }
    defaults.pod(written)

    asked = {"cpu": "250m", "memory": "64Mi", "hugepages-2Mi": "2Mi"}
    assert written["spec"]["resources"]["requests"] == asked


@pytest.mark.parametrize(
    ("own", "field", "told"),
    [
        (
            {"requests": {"cpu": "100m"}},
            "spec.resources.requests[cpu]",
            "must be greater than or equal to aggregate container requests of 250m",
        ),
        (
            {"limits": {"cpu": "100m"}, "requests": {"cpu": "250m"}},
            "spec.resources.requests",
            "must be less than or equal to cpu limit of 100m",
        ),
        ({"limits": {"ephemeral-storage": "1Gi"}}, "spec.resources.limits.ephemeral-storage", ""),
        (
            {"limits": {"memory": "1Mi"}},
            "spec.containers[0].resources.limits[memory]",
            "must be less than or equal to pod limits of 1Mi",
        ),
    ],
)
def test_the_pod_has_room_for_its_containers(own: dict[str, Any], field: str, told: str) -> None:
    container = {"resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "2Mi"}}}
    found = resources.of_pod("spec.resources", {"containers": [container], "resources": own})

    assert [cause.field for cause in found] == [field]
    assert told in found[0].message
