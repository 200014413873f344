"""Metrics of resources are made of the Summary, in the kubelet's names."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.api import node_proxy, paths
from edgeorch.model import errors, kinds


def used(cpu: int, memory: int, **more: Any) -> dict[str, Any]:
    return {
        "cpu": {"usageCoreNanoSeconds": cpu},
        "memory": {"workingSetBytes": memory},
        "swap": {"swapUsageBytes": 0},
        **more,
    }


def test_each_level_has_its_names_and_labels() -> None:
    started = "1970-01-01T00:01:00Z"
    pod = {
        "podRef": {"namespace": "ns", "name": "p"},
        "startTime": started,
        "containers": [{"name": "c", "startTime": started, **used(1_500_000_000, 7)}],
        **used(2_000_000_000, 9),
    }
    text = node_proxy.render({"node": {"startTime": started, **used(3, 8)}, "pods": [pod]})

    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert sorted(lines) == [
        'container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} 1.5',
        'container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} 7',
        'container_start_time_seconds{container="c",namespace="ns",pod="p"} 60',
        'container_swap_usage_bytes{container="c",namespace="ns",pod="p"} 0',
        "node_cpu_usage_seconds_total 3e-09",
        "node_memory_working_set_bytes 8",
        "node_swap_usage_bytes 0",
        'pod_cpu_usage_seconds_total{namespace="ns",pod="p"} 2',
        'pod_memory_working_set_bytes{namespace="ns",pod="p"} 9',
        'pod_swap_usage_bytes{namespace="ns",pod="p"} 0',
        "scrape_error 0",
    ]
    assert "# TYPE pod_cpu_usage_seconds_total counter" in text
    assert "# TYPE container_start_time_seconds gauge" in text


def test_what_follows_proxy_is_the_nodes_own_path() -> None:
    registry = kinds.Registry()
    found = paths.target(registry, ["api", "v1", "nodes", "edge", "proxy", "stats", "summary"])

    assert (found.kind, found.name, found.subresource) == (kinds.NODE, "edge", "proxy")
    for wrong in ("api/v1/nodes/edge/status/x", "api/v1/configmaps/a/proxy/x"):
        with pytest.raises(errors.StatusError):
            paths.target(registry, wrong.split("/"))
