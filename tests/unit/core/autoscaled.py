"""Autoscalers, their pods and what these use, in memory."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from msgspec import structs

from edgeorch.core import pod_facts, replica_calculator
from edgeorch.model import autoscaling, kinds
from tests.unit.model import made

Object = dict[str, Any]
NOW = 10_000.0
MIB = 2**20


def metric(percent: int | None = None, *, resource: str = "cpu", **target: Any) -> Object:
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": resource, "target": target}}


def of_container(percent: int, container: str = "app") -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    source = {"name": "cpu", "container": container, "target": target}
    return {"type": "ContainerResource", "containerResource": source}


def hpa(least: int = 1, most: int = 10, *metrics: Object, **fields: Any) -> autoscaling.Autoscaler:
    """With what defaults make of it."""
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": ref, "minReplicas": least, "maxReplicas": most, **fields}
    spec["metrics"] = list(metrics) or [metric(50)]
    meta = {"name": "web", "namespace": "default"}
    obj = made.prepared(kinds.AUTOSCALER, {"metadata": meta, "spec": spec})
    return msgspec.convert(obj, autoscaling.Autoscaler)


def pod(
    name: str,
    *,
    cpu: str | None = "100m",
    memory: str = "100Mi",
    phase: str = "Running",
    ready: bool = True,
    was_ready: bool = True,
    since: float = 1000.0,
    age: float = 1000.0,
    leaving: bool = False,
) -> pod_facts.PodFacts:
    """`since`: seconds it has been ready; `age`: since it was started."""
    requests = {"memory": memory} | ({"cpu": cpu} if cpu else {})
    state = {"type": "Ready", "status": "True" if ready else "False"}
    state["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    meta = {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}}
    if leaving:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = {
        "metadata": meta,
        "spec": {"containers": [{"name": "app", "resources": {"requests": requests}}]},
        "status": {
            "phase": phase, "startTime": "2026-01-01T00:00:00Z", "conditions": [state],
        },
    }  # fmt: skip
    return structs.replace(
        msgspec.convert(found, pod_facts.PodFacts),
        ready_since=NOW - since,
        started_since=NOW - age,
        was_ready=was_ready,
    )


def used(
    cpu: int, memory: int = 50, window: float = 15.0, **others: int
) -> replica_calculator.Usage:
    """`cpu` in thousandths of a core, `memory` in MiB."""
    containers = {"app": (cpu * 10**6, memory * MIB)}
    containers |= {name: (each * 10**6, 0) for name, each in others.items()}
    return replica_calculator.Usage(containers, window)


def look(
    pods: list[pod_facts.PodFacts], usages: dict[str, replica_calculator.Usage], now: float = NOW
) -> replica_calculator.Look:
    return replica_calculator.Look("default", pods, usages, now)


def even(count: int, cpu: int, memory: int = 50, now: float = NOW) -> replica_calculator.Look:
    """Pods that all use the same."""
    pods = [replica(number) for number in range(count)]
    return look(pods, {each.metadata.name: used(cpu, memory) for each in pods}, now)


@functools.cache
def replica(number: int) -> pod_facts.PodFacts:
    return pod(f"p{number}")
