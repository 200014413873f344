"""Objects for the tests of the model's rules: valid, defaulted and prepared, to be spoilt."""

from __future__ import annotations

from typing import Any

from edgeorch.lib import json
from edgeorch.model import defaults, kinds, lifecycle
from edgeorch.model.kinds import Object

NOW = "2026-01-01T00:00:00Z"


def prepared(kind: kinds.Kind, body: Object) -> Object:
    obj = json.decode(json.encode(body))
    defaults.apply(kind, obj)
    made = lifecycle.prepare_create(kind, obj, uid="u-1", now=NOW, suffix=lambda: "x2z4b")
    made["metadata"]["resourceVersion"] = "7"
    return made


def pod(**spec: Any) -> Object:
    body = {"containers": [{"name": "c", "image": "nginx:1.25"}], **spec}
    meta = {"name": "p", "namespace": "default"}
    return prepared(kinds.POD, {"metadata": meta, "spec": body})


def pod_with(**container: Any) -> Object:
    return pod(containers=[{"name": "c", "image": "nginx:1.25", **container}])


def deployment(**spec: Any) -> Object:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]},
    }
    body = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    meta = {"name": "web", "namespace": "default"}
    return prepared(kinds.DEPLOYMENT, {"metadata": meta, "spec": body})


def workload(kind: kinds.Kind, **spec: Any) -> Object:
    """A StatefulSet, DaemonSet or ReplicationController."""
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.25"}]},
    }
    plain = kind is kinds.REPLICATION_CONTROLLER
    selector = labels if plain else {"matchLabels": labels}
    body = {"selector": selector, "template": template, **spec}
    meta = {"name": "web", "namespace": "default"}
    return prepared(kind, {"metadata": meta, "spec": body})


def autoscaler(**spec: Any) -> Object:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {"scaleTargetRef": ref, "maxReplicas": 5, **spec}
    meta = {"name": "web", "namespace": "default"}
    return prepared(kinds.AUTOSCALER, {"metadata": meta, "spec": body})


def _once() -> Object:
    body = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}
    return {"template": {"spec": body}}


def job(**spec: Any) -> Object:
    meta = {"name": "once", "namespace": "default"}
    return prepared(kinds.JOB, {"metadata": meta, "spec": {**_once(), **spec}})


def cron_job(**spec: Any) -> Object:
    body = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": _once()}, **spec}
    meta = {"name": "often", "namespace": "default"}
    return prepared(kinds.CRON_JOB, {"metadata": meta, "spec": body})


def service(**spec: Any) -> Object:
    body = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    meta = {"name": "web", "namespace": "default"}
    return prepared(kinds.SERVICE, {"metadata": meta, "spec": body})


def edited(obj: Object, path: str, value: Any) -> Object:
    """A copy with one member set; `None` removes it. `path` is like `spec.ports.0.port`."""
    copy = json.decode(json.encode(obj))
    *parents, last = path.split(".")
    holder: Any = copy
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
    if isinstance(holder, list):
        holder[int(last)] = value
    elif value is None:
        holder.pop(last, None)
    else:
        holder[last] = value
    return dict(copy)
