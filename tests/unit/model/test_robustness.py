"""No object that passed the schema makes a rule raise: any member may be absent or empty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.model import defaults, kinds, lifecycle, tables, validation
from edgeorch.model.kinds import Object

NOW = datetime(2026, 1, 1, tzinfo=UTC)

_PROBE = {"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "A", "value": "b"}]}}
_EXPRESSION = {"key": "a", "operator": "In", "values": ["b"]}
_SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [_EXPRESSION]}
_POD_TERM = {"labelSelector": _SELECTOR, "topologyKey": "z", "namespaces": ["n"]}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_CONTAINER = {
    "name": "c",
    "image": "nginx:1",
    "ports": [{"name": "http", "containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
    "env": [
        {"name": "A", "value": "b"},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
        {"name": "R", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ],
    "envFrom": [{"prefix": "P", "configMapRef": {"name": "c"}}],
    "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x", "mountPropagation": "None"}],
    "volumeDevices": [{"name": "d", "devicePath": "/dev/x"}],
    "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}, "claims": [{"name": "x"}]},
    "livenessProbe": _PROBE,
    "startupProbe": {"exec": {"command": ["true"]}},
    "lifecycle": {"preStop": {"sleep": {"seconds": 1}}, "postStart": _PROBE},
    "securityContext": {
        "runAsUser": 1,
        "capabilities": {"add": ["X"]},
        "seccompProfile": {"type": "x"},
    },
    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
}
_VOLUMES = [
    {"name": "v", "emptyDir": {"sizeLimit": "1Gi"}},
    {"name": "h", "hostPath": {"path": "/x"}},
    {"name": "s", "secret": {"secretName": "s", "items": [{"key": "k", "path": "p", "mode": 1}]}},
    {
        "name": "w",
        "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]},
    },
    {
        "name": "j",
        "projected": {
            "sources": [
                {"configMap": {"name": "c", "items": [{"key": "k", "path": "q"}]}},
                {"serviceAccountToken": {"path": "t"}},
                {"clusterTrustBundle": {"name": "b", "path": "r"}},
            ]
        },
    },
    {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    {"name": "d", "persistentVolumeClaim": {"claimName": "x"}},
    {"name": "i", "image": {"reference": "x"}},
]
_POD_SPEC = {
    "containers": [_CONTAINER],
    "initContainers": [{**_CONTAINER, "name": "i", "restartPolicy": "Always"}],
    "volumes": _VOLUMES,
    "nodeName": "here",
    "hostNetwork": True,
    "securityContext": {"fsGroup": 1, "sysctls": [{"name": "net.x", "value": "1"}]},
    "affinity": {
        "nodeAffinity": {
            _REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [_EXPRESSION]}]},
            _PREFERRED: [{"weight": 1, "preference": {"matchFields": [_EXPRESSION]}}],
        },
        "podAffinity": {_REQUIRED: [_POD_TERM]},
        "podAntiAffinity": {_PREFERRED: [{"weight": 1, "podAffinityTerm": _POD_TERM}]},
    },
    "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "z",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": _SELECTOR,
            "matchLabelKeys": ["x"],
        }
    ],
    "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a."], "options": [{"name": "n"}]},
    "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}],
    "readinessGates": [{"conditionType": "a/b"}],
    "schedulingGates": [{"name": "a/b"}],
    "resourceClaims": [{"name": "x", "resourceClaimName": "y"}],
    "imagePullSecrets": [{"name": "s"}],
    "os": {"name": "linux"},
}
_STATUS = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True"}],
    "podIPs": [{"ip": "10.0.0.1"}],
    "containerStatuses": [
        {
            "name": "c",
            "restartCount": 1,
            "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}},
        }
    ],
    "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "x"}}}],
}
_META = {
    "name": "n",
    "namespace": "default",
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}],
    "finalizers": ["a.b/c"],
}
_TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": _POD_SPEC}
_RICH: dict[str, Object] = {
    "pods": {"spec": _POD_SPEC, "status": _STATUS},
    "deployments": {
        "spec": {
            "selector": _SELECTOR,
            "template": _TEMPLATE,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "1%"}},
        },
        "status": {"replicas": 1, "readyReplicas": 1},
    },
    "services": {
        "spec": {
            "type": "LoadBalancer",
            "selector": {"a": "b"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30000}],
            "clusterIP": "10.0.0.1",
            "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"],
            "externalIPs": ["9.9.9.9"],
            "sessionAffinity": "ClientIP",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}},
    },
    "endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "endpointslices": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "z"}]}}],
        "ports": [{"name": "http", "port": 80}],
    },
    "nodes": {
        "spec": {"podCIDRs": ["10.0.0.0/24"], "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "capacity": {"cpu": "1"},
            "addresses": [{"type": "InternalIP", "address": "1.1.1.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1"},
        },
    },
    "events": {
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "source": {"component": "x"},
        "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
    },
    "secrets": {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}},
    "configmaps": {"data": {"a": "b"}, "binaryData": {"c": "QQ=="}},
}
_RICH["replicasets"] = _RICH["deployments"]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every member of every object; not the items of lists and maps of values."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*path, index))


_VALUE_MAPS = {"labels", "annotations", "matchLabels", "selector", "limits", "requests", "data"}
_VALUE_MAPS |= {"capacity", "binaryData", "allocatable"}


def _spoilt(obj: Object, path: tuple[Any, ...], value: Any) -> Object:
    copy: Any = json.decode(json.encode(obj))
    holder = copy
    for part in path[:-1]:
        holder = holder[part]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return dict(copy)


def _empty(obj: Object, path: tuple[Any, ...]) -> Any:
    value: Any = obj
    for part in path:
        value = value[part]
    return type(value)()


def _live(kind: kinds.Kind, body: Object, old: Object | None) -> Object:
    defaults.apply(kind, body)
    new = lifecycle.prepare_create(kind, body, uid="u", now="2026-01-01T00:00:00Z", suffix=str)
    new["status"] = body.get("status") or {}
    causes = validation.create(kind, new)
    assert all(cause.message for cause in causes)
    old = new if old is None else old
    for subresource in ("", "status"):
        updated = lifecycle.prepare_update(kind, new, old, subresource=subresource)
        validation.update(kind, updated, old, subresource)
        lifecycle.prepare_delete(kind, updated, lifecycle.DeleteOptions(), "2026-01-01T00:00:00Z")
    assert len(tables.row(kind, new, NOW)) == len(tables.columns(kind))
    return new


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.plural)
def test_nothing_raises(kind: kinds.Kind) -> None:
    rich = {"metadata": _META, **_RICH.get(kind.plural, {})}
    old = _live(kind, json.decode(json.encode(rich)), None)
    for path in _places(rich):
        if len(path) > 1 and path[-2] in _VALUE_MAPS and isinstance(_empty(rich, path), str):
            continue
        for value in (None, _empty(rich, path)):
            if path[-1] in ("sizeLimit", "cpu", "memory") and value == "":
                continue  # no quantity: the schema refuses it
            _live(kind, _spoilt(rich, path, value), old)
