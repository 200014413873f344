"""StatefulSets, DaemonSets and pods in memory, moved by nothing but the plans."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeorch.core import daemon, history, pod_facts, stateful
from edgeorch.model import views, workloads

Object = dict[str, Any]
SELECTOR = {"matchLabels": {"app": "web"}}
NOW = 100.0


def pod(
    name: str,
    revision: str = "",
    *,
    phase: str = "Running",
    ready: bool = True,
    leaving: bool = False,
    age: int = 0,
    **meta: Any,
) -> pod_facts.PodFacts:
    labels = {"app": "web", history.LABEL: revision, **meta.pop("labels", {})}
    found = {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "labels": labels,
            "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
            **({"deletionTimestamp": "2026-01-01T00:01:00Z"} if leaving else {}),
            **meta,
        },
        "spec": {"nodeName": "edge"},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    return msgspec.convert(found, pod_facts.PodFacts)


def member(ordinal: int, revision: str = "new", **fields: Any) -> pod_facts.PodFacts:
    """A pod of the StatefulSet `web`."""
    name = f"web-{ordinal}"
    return pod(name, revision, labels=stateful.identity("web", name), **fields)


def stateful_set(replicas: int = 3, **fields: Any) -> workloads.StatefulSet:
    status = fields.pop("status", {})
    body = {"replicas": replicas, "selector": SELECTOR, "serviceName": "web", **fields}
    meta = {"name": "web", "namespace": "default", "uid": "s", "generation": 1}
    found = {"metadata": meta, "spec": body, "status": status}
    return msgspec.convert(found, workloads.StatefulSet)


def rolling(**fields: Any) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, **fields}}


def daemon_set(**fields: Any) -> workloads.DaemonSet:
    meta = {"name": "mon", "namespace": "default", "uid": "d", "generation": 1}
    found = {"metadata": meta, "spec": {"selector": SELECTOR, **fields}}
    return msgspec.convert(found, workloads.DaemonSet)


def node(name: str = "edge", *taints: tuple[str, str], **labels: str) -> views.Node:
    spec = {"taints": [{"key": key, "effect": effect} for key, effect in taints]}
    return msgspec.convert({"metadata": {"name": name, "labels": labels}, "spec": spec}, views.Node)


def told(actions: list[stateful.Action]) -> list[str]:
    """Actions in short: +ordinal@revision, -ordinal, ~ordinal."""
    found = []
    for action in actions:
        match action:
            case stateful.CreatePod(ordinal, revision):
                found.append(f"+{ordinal}@{revision}")
            case stateful.DeletePod(each):
                found.append(f"-{stateful.ordinal_of('web', each.metadata.name)}")
            case stateful.LabelPod(each):
                found.append(f"~{stateful.ordinal_of('web', each.metadata.name)}")
    return found


def planned(plan: daemon.Plan) -> tuple[bool, list[str], list[str]]:
    return (
        plan.create,
        [each.metadata.name for each in plan.delete],
        [each.metadata.name for each in plan.over],
    )
