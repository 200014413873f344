"""Kinds that are only kept and served are checked like the others, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import kinds, validation
from edgeorch.model.kinds import Object


def made(kind: kinds.Kind, fields: Object) -> Object:
    meta = {"name": "x", "namespace": "default"} if kind.namespaced else {"name": "x"}
    meta |= fields.get("metadata") or {}
    return {"apiVersion": kind.api_version, "kind": kind.kind, **fields, "metadata": meta}


def told(kind: kinds.Kind, fields: Object) -> list[str]:
    return [str(cause) for cause in validation.create(kind, made(kind, fields))]


def backend(**port: Any) -> Object:
    return {"service": {"name": "web", "port": port or {"number": 80}}}


def ingress(path: Object | None = None, **rule: Any) -> Object:
    entry = {"path": "/", "pathType": "Prefix", "backend": backend()} | (path or {})
    return {"spec": {"rules": [{"http": {"paths": [entry]}, **rule}]}}


REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
GOOD: list[Any] = [
    (kinds.INGRESS, ingress(host="*.example.com")),
    (kinds.INGRESS, {"spec": {"defaultBackend": backend(name="http")}}),
    (kinds.INGRESS_CLASS, {"spec": {"controller": "acme.io/ingress"}}),
    (kinds.NETWORK_POLICY, {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    (kinds.ROLE, {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    (kinds.CLUSTER_ROLE, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
    (kinds.ROLE_BINDING, {"roleRef": REF, "subjects": [{"kind": "ServiceAccount", "name": "a"}]}),
    (kinds.ROLE, {"metadata": {"name": "system:node"}}),
    (kinds.PRIORITY_CLASS, {"value": 1000}),
    (kinds.RUNTIME_CLASS, {"handler": "runc"}),
    (kinds.LEASE, {"spec": {"leaseDurationSeconds": 40}}),
    (kinds.LIMIT_RANGE, {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
    (kinds.RESOURCE_QUOTA, {"spec": {"hard": {"pods": "4", "requests.cpu": "1"}}}),
    (kinds.CSI_NODE, {"spec": {"drivers": [{"name": "a.b", "nodeID": "n"}]}}),
]


@pytest.mark.parametrize(("kind", "fields"), GOOD)
def test_what_charts_send_is_taken(kind: kinds.Kind, fields: Object) -> None:
    assert told(kind, fields) == []


BLOCK = {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}
BAD: list[Any] = [
    (kinds.INGRESS, {"spec": {}},
     "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
    (kinds.INGRESS, ingress(host="10.0.0.1"),
     'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'),
    (kinds.INGRESS, ingress({"path": "x"}),
     'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'),
    (kinds.INGRESS, ingress({"pathType": None}),
     "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"),
    (kinds.INGRESS, ingress({"pathType": "Glob"}),
     ('spec.rules[0].http.paths[0].pathType: Unsupported value: "Glob": supported values: "Exact",'
     ' "ImplementationSpecific", "Prefix"')),
    (kinds.INGRESS, ingress({"backend": {"service": {"name": "web"}}}),
     "spec.rules[0].http.paths[0].backend: Required value: port name or number is required"),
    (kinds.INGRESS, ingress({"backend": {}}),
     ('spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is '
     "required")),
    (kinds.INGRESS_CLASS, {"spec": {"controller": "acme"}},
     ('spec.controller: Invalid value: "acme": must be a domain-prefixed path (such as '
     '"acme.io/foo")')),
    (kinds.NETWORK_POLICY, {"spec": {"ingress": [{"from": [{}]}]}},
     "spec.ingress[0].from[0]: Required value: must specify a peer"),
    (kinds.NETWORK_POLICY,
     {"spec": {"egress": [{"to": [{"ipBlock": BLOCK}]}]}},
     ('spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/9": must be a strict subset'
     " of `cidr`")),
    (kinds.NETWORK_POLICY, {"spec": {"ingress": [{"ports": [{"port": 80, "endPort": 70}]}]}},
     ("spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to"
     " `port`")),
    (kinds.ROLE, {"rules": [{"verbs": ["get"], "resources": ["pods"]}]},
     "rules[0].apiGroups: Required value: resource rules must supply at least one api group"),
    (kinds.ROLE, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
     ('rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to'
     " non-resource URLs")),
    (kinds.ROLE_BINDING, {"roleRef": REF | {"kind": "Rule"}},
     'roleRef.kind: Unsupported value: "Rule": supported values: "ClusterRole", "Role"'),
    (kinds.CLUSTER_ROLE_BINDING,
     {"roleRef": REF | {"kind": "ClusterRole"},
      "subjects": [{"kind": "ServiceAccount", "name": "a"}]},
     "subjects[0].namespace: Required value"),
    (kinds.PRIORITY_CLASS, {"value": 2_000_000_000},
     "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    (kinds.PRIORITY_CLASS, {"metadata": {"name": "system-mine"}},
     ("metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system"
     " use only")),
    (kinds.LEASE, {"spec": {"leaseDurationSeconds": 0}},
     "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
    (kinds.LIMIT_RANGE,
     {"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}},
     'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'),
    (kinds.RESOURCE_QUOTA, {"spec": {"hard": {"pods": "0.5"}}},
     'spec.hard[pods]: Invalid value: "0.5": must be an integer'),
    (kinds.CSI_NODE, {"spec": {"drivers": [{"name": "a.b"}]}},
     "spec.drivers[0].nodeID: Required value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "words"), BAD)
def test_what_is_wrong_is_named(kind: kinds.Kind, fields: Object, words: str) -> None:
    assert words in told(kind, fields)


CHANGES: list[Any] = [
    (kinds.ROLE_BINDING, {"roleRef": REF}, {"roleRef": REF | {"name": "s"}},
     ('roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"s"}:'
     " cannot change roleRef")),
    (kinds.PRIORITY_CLASS, {"value": 1}, {"value": 2},
     "value: Forbidden: may not be changed in an update."),
    (kinds.RUNTIME_CLASS, {"handler": "a"}, {"handler": "b"},
     'handler: Invalid value: "b": field is immutable'),
    (kinds.INGRESS_CLASS, {"spec": {"controller": "a/b"}}, {"spec": {"controller": "a/c"}},
     'spec.controller: Invalid value: "a/c": field is immutable'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "after", "words"), CHANGES)
def test_what_may_not_change_is_named(
    kind: kinds.Kind, before: Object, after: Object, words: str
) -> None:
    version = {"metadata": {"resourceVersion": "1"}}
    old, new = made(kind, before | version), made(kind, after | version)
    assert words in [str(cause) for cause in validation.update(kind, new, old)]
