"""What may change after creation, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeorch.model import kinds, validation
from edgeorch.model.kinds import Object

from . import made


def told(kind: kinds.Kind, new: Object, old: Object, subresource: str = "") -> list[str]:
    return [str(cause) for cause in validation.update(kind, new, old, subresource)]


ALLOWED: list[Any] = [
    pytest.param("spec.containers.0.image", "nginx:1.26", id="image"),
    pytest.param("spec.activeDeadlineSeconds", 60, id="deadline set"),
    pytest.param("spec.tolerations", [{"key": "k", "operator": "Exists"}], id="toleration added"),
    pytest.param("metadata.labels", {"a": "b"}, id="labels"),
]


@pytest.mark.parametrize(("path", "value"), ALLOWED)
def test_pod_may_change(path: str, value: Any) -> None:
    old = made.pod()
    assert told(kinds.POD, made.edited(old, path, value), old) == []


_UPDATABLE = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only"
    " additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set"
    " to 1 if it was previously negative)\n"
)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        pytest.param(
            "spec.nodeName", "other", '+ nodeName: "other"', id="node of a pod without one"
        ),
        pytest.param(
            "spec.restartPolicy",
            "Never",
            '- restartPolicy: "Always"\n+ restartPolicy: "Never"',
            id="restart policy",
        ),
    ],
)
def test_pod_may_not_change(path: str, value: Any, shown: str) -> None:
    old = made.pod()
    assert told(kinds.POD, made.edited(old, path, value), old) == [_UPDATABLE + shown]


def test_pod_keeps_its_containers() -> None:
    old = made.pod()
    more = [*old["spec"]["containers"], {**old["spec"]["containers"][0], "name": "d"}]
    assert told(kinds.POD, made.edited(old, "spec.containers", more), old) == [
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    ]


@pytest.mark.parametrize(
    ("fields", "again"),
    [
        pytest.param({}, False, id="the pod's policy"),
        pytest.param({"restartPolicy": "Always"}, True, id="its own"),
        pytest.param({"restartPolicy": "OnFailure"}, True, id="on failure"),
        pytest.param(
            {"restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]},
            True,
            id="rules",
        ),
    ],
)  # fmt: skip
def test_what_has_ended_runs_again_only_where_it_may(fields: Object, again: bool) -> None:
    old = made.pod(restartPolicy="Never", containers=[{"name": "c", "image": "i", **fields}])
    ended = {"name": "c", "state": {"terminated": {"exitCode": 3}}}
    old["status"]["containerStatuses"] = [ended]
    running = [{"name": "c", "state": {"running": {}}}]
    new = {**old, "status": {**old["status"], "containerStatuses": running}}

    why = "Forbidden: may not be transitioned to non-terminated state"
    refused = [] if again else [f"status.containerStatuses[0].state: {why}"]
    assert told(kinds.POD, new, old, "status") == refused


def test_deadline_only_shrinks() -> None:
    old = made.pod(activeDeadlineSeconds=60)
    path = "spec.activeDeadlineSeconds"
    assert told(kinds.POD, made.edited(old, path, 30), old) == []
    assert told(kinds.POD, made.edited(old, path, 90), old) == [
        f"{path}: Invalid value: 90: must be less than or equal to previous value"
    ]
    assert f"{path}: Invalid value: null: must not update from a positive integer to nil value" in (
        told(kinds.POD, made.edited(old, path, None), old)
    )


def test_tolerations_only_grow() -> None:
    old = made.pod(tolerations=[{"key": "k", "operator": "Exists", "effect": "NoExecute"}])
    longer = made.edited(old, "spec.tolerations.0.tolerationSeconds", 5)
    assert told(kinds.POD, longer, old) == []
    gone = made.edited(old, "spec.tolerations", [])
    assert (
        "spec.tolerations: Forbidden: existing toleration can not be modified except its"
        " tolerationSeconds"
    ) in told(kinds.POD, gone, old)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        pytest.param(
            "name", "q", 'metadata.name: Invalid value: "q": field is immutable', id="name"
        ),
        pytest.param("uid", "u", 'metadata.uid: Invalid value: "u": field is immutable', id="uid"),
        pytest.param(
            "deletionTimestamp",
            made.NOW,
            f'metadata.deletionTimestamp: Invalid value: "{made.NOW}": field is immutable',
            id="deletion",
        ),
        pytest.param(
            "resourceVersion",
            None,
            'metadata.resourceVersion: Invalid value: "": must be specified for an update',
            id="resource version",
        ),
    ],
)
def test_metadata_that_stays(path: str, value: Any, expected: str) -> None:
    old = made.prepared(kinds.CONFIG_MAP, {"metadata": {"name": "n", "namespace": "default"}})
    assert told(kinds.CONFIG_MAP, made.edited(old, f"metadata.{path}", value), old) == [expected]


def test_no_new_finalizer_on_the_way_out() -> None:
    old = made.edited(made.pod(), "metadata.deletionTimestamp", made.NOW)
    new = made.edited(old, "metadata.finalizers", ["a.b/c"])
    assert told(kinds.POD, new, old) == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being"
            ' deleted, found new finalizers []string{"a.b/c"}'
        )
    ]


def test_selector_is_immutable() -> None:
    old = made.deployment()
    new = made.edited(old, "spec.selector.matchLabels", {"tier": "x"})
    new = made.edited(new, "spec.template.metadata.labels", {"tier": "x"})
    assert told(kinds.DEPLOYMENT, new, old) == [
        'spec.selector: Invalid value: {"matchLabels":{"tier":"x"}}: field is immutable'
    ]


def test_deployment_status_counts() -> None:
    old = made.edited(made.deployment(), "status", {"collisionCount": 2})
    new = made.edited(old, "status", {"replicas": 1, "readyReplicas": 2, "collisionCount": 1})
    assert told(kinds.DEPLOYMENT, new, old, "status") == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.collisionCount: Invalid value: 1: cannot be decremented",
    ]


def test_cluster_ip_is_kept() -> None:
    old = made.service(clusterIP="10.0.0.1")
    new = made.service(clusterIP="10.0.0.2")
    assert told(kinds.SERVICE, new, old) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]


def test_service_may_become_an_external_name() -> None:
    old = made.service(clusterIP="10.0.0.1")
    new = made.service(type="ExternalName", externalName="a.b", ports=[])
    assert told(kinds.SERVICE, new, old) == []


_FROZEN = "Forbidden: field is immutable when `immutable` is set"


def test_frozen_config_map() -> None:
    meta = {"name": "n", "namespace": "default"}
    body = {"metadata": meta, "immutable": True, "data": {"a": "b"}}
    old = made.prepared(kinds.CONFIG_MAP, body)
    new = made.edited(made.edited(old, "data.a", "c"), "immutable", None)
    assert told(kinds.CONFIG_MAP, new, old) == [f"immutable: {_FROZEN}", f"data: {_FROZEN}"]


def test_secret_type_is_kept() -> None:
    old = made.prepared(kinds.SECRET, {"metadata": {"name": "n", "namespace": "default"}})
    assert told(kinds.SECRET, made.edited(old, "type", "mine"), old) == [
        'type: Invalid value: "mine": field is immutable'
    ]


def test_endpoint_slice_keeps_its_address_type() -> None:
    meta = {"name": "n", "namespace": "default"}
    old = made.prepared(kinds.ENDPOINT_SLICE, {"metadata": meta, "addressType": "IPv4"})
    assert told(kinds.ENDPOINT_SLICE, made.edited(old, "addressType", "IPv6"), old) == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]


def test_finished_container_stays_finished() -> None:
    old = made.pod(restartPolicy="Never")
    ended = [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]
    running = [{"name": "c", "state": {"running": {}}}]
    old = made.edited(old, "status.containerStatuses", ended)
    new = made.edited(old, "status.containerStatuses", running)
    assert told(kinds.POD, new, old, "status") == [
        (
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to"
            " non-terminated"
            " state"
        )
    ]


def test_qos_class_is_kept() -> None:
    old = made.pod()
    new = made.edited(old, "status.qosClass", "Guaranteed")
    assert told(kinds.POD, new, old, "status") == [
        'status.qosClass: Invalid value: "Guaranteed": field is immutable'
    ]


def test_node_keeps_its_ranges() -> None:
    body = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"}}
    old = made.prepared(kinds.NODE, body)
    new = made.edited(old, "spec.podCIDRs", ["10.1.0.0/24"])
    assert told(kinds.NODE, new, old) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]


def test_namespace_phase_follows_deletion() -> None:
    old = made.prepared(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    new = made.edited(old, "status.phase", "Terminating")
    assert told(kinds.NAMESPACE, new, old, "status") == [
        (
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if"
            " `deletionTimestamp`"
            " is empty"
        )
    ]


_ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
# What a kind cannot be without.
_ONCE = {"accessModes": ["ReadWriteOnce"]}
_LEAST: dict[str, Object] = {
    "podtemplates": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    "persistentvolumeclaims": {"spec": {**_ONCE, "resources": {"requests": {"storage": "1"}}}},
    "persistentvolumes": {
        "spec": {**_ONCE, "capacity": {"storage": "1"}, "hostPath": {"path": "/mnt"}}
    },
    "storageclasses": {"provisioner": "example.com/p"},
    "ingresses": {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}}},
    "ingressclasses": {"spec": {"controller": "example.com/c"}},
    "rolebindings": {"roleRef": _ROLE_REF},
    "clusterrolebindings": {"roleRef": _ROLE_REF},
}


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.plural)
def test_nothing_changed_is_always_valid(kind: kinds.Kind) -> None:
    source: dict[str, Callable[[], Any]] = {
        "pods": made.pod,
        "deployments": made.deployment,
        "services": made.service,
        "replicasets": made.deployment,
        "jobs": made.job,
        "cronjobs": made.cron_job,
        "horizontalpodautoscalers": made.autoscaler,
        "statefulsets": lambda: made.workload(kinds.STATEFUL_SET),
        "daemonsets": lambda: made.workload(kinds.DAEMON_SET),
        "replicationcontrollers": lambda: made.workload(kinds.REPLICATION_CONTROLLER),
    }
    make = source.get(kind.plural)
    body = {"metadata": {"name": "n", "namespace": "default"}, "addressType": "IPv4"}
    if kind is not kinds.ENDPOINT_SLICE:
        del body["addressType"]
    body["involvedObject"] = {"namespace": "default"}
    body |= _LEAST.get(kind.plural, {})
    old = make() if make else made.prepared(kind, body)
    assert told(kind, old, old) == []


_TERM = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
_MORE = {"matchExpressions": [*_TERM["matchExpressions"], {"key": "gpu", "operator": "Exists"}]}


def _near(*terms: Any) -> Any:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {required: {"nodeSelectorTerms": list(terms)}}}


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        pytest.param({}, {"affinity": _near(_TERM)}, "", id="terms for one that had none"),
        pytest.param({"affinity": _near(_TERM)}, {"affinity": _near(_MORE)}, "", id="narrower"),
        pytest.param({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}, "",
                     id="one more label"),
        pytest.param({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "x"}}, "only additions",
                     id="another label"),
        pytest.param({"affinity": _near(_MORE)}, {"affinity": _near(_TERM)}, "only additions",
                     id="wider"),
        pytest.param({"affinity": _near(_TERM)}, {"affinity": _near(_TERM, _MORE)},
                     "no additions/deletions", id="another term"),
        pytest.param({}, {"hostname": "other"}, "pod updates may not change", id="something else"),
    ],
)  # fmt: skip
def test_a_pod_at_its_gates_may_be_told_where(before: Any, after: Any, refused: str) -> None:
    gates = {"schedulingGates": [{"name": "a"}]}
    old = made.pod(**gates, **before)
    new = {**old, "spec": {**old["spec"], **after}}
    found = told(kinds.POD, new, old)

    assert (refused in found[0]) if refused else found == []
    assert told(kinds.POD, {**old, "spec": {**old["spec"], "schedulingGates": []}}, old) == []
