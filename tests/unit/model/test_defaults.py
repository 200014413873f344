"""What is left out is filled in as Kubernetes fills it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.model import defaults, kinds
from edgeorch.model.defaults import pods

from . import made


def test_pod_gets_every_field_that_kubernetes_shows() -> None:
    obj: Any = {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80}},
                    "readinessProbe": {"grpc": {"port": 9}},
                    "env": [
                        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
                    ],
                }
            ],
            "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}],
        },
    }
    defaults.apply(kinds.POD, obj)
    timing = {
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert obj["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "1", "memory": "1Gi"},
                },
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    **timing,
                },
                "readinessProbe": {"grpc": {"port": 9, "service": ""}, **timing},
                "env": [
                    {
                        "name": "N",
                        "valueFrom": {
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}
                        },
                    }
                ],
            }
        ],
        "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "h", "hostPath": {"path": "/x", "type": ""}},
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": True,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        pytest.param("nginx", "Always", id="no tag"),
        pytest.param("nginx:latest", "Always", id="latest"),
        pytest.param("nginx:1.25", "IfNotPresent", id="tag"),
        pytest.param("host:5000/nginx", "Always", id="port is no tag"),
        pytest.param("host:5000/nginx:1", "IfNotPresent", id="port and tag"),
        pytest.param("nginx@sha256:" + "0" * 64, "IfNotPresent", id="digest"),
        pytest.param("nginx:latest@sha256:" + "0" * 64, "Always", id="tag and digest"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pods.pull_policy(image) == policy


def test_template_keeps_what_only_a_pod_gets() -> None:
    limits = {"limits": {"cpu": "1"}}
    container = {"name": "c", "image": "i", "resources": limits, "ports": [{"containerPort": 1}]}
    template = {"spec": {"hostNetwork": True, "containers": [container]}}
    obj: Any = {"spec": {"template": template}}
    defaults.apply(kinds.DEPLOYMENT, obj)
    spec = obj["spec"]["template"]["spec"]
    assert "enableServiceLinks" not in spec
    assert spec["containers"][0]["resources"] == {"limits": {"cpu": "1"}}
    assert spec["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    pod: Any = {"spec": template["spec"]}
    defaults.apply(kinds.POD, pod)
    assert pod["spec"]["containers"][0]["ports"][0]["hostPort"] == 1


def test_deployment() -> None:
    obj: Any = {"spec": {"template": {}}}
    defaults.apply(kinds.DEPLOYMENT, obj)
    obj["spec"].pop("template")
    assert obj["spec"] == {
        "replicas": 1,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
        },
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }


def test_zero_replicas_are_meant() -> None:
    obj: Any = {"spec": {"replicas": 0}}
    defaults.apply(kinds.REPLICA_SET, obj)
    assert obj["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"ports": [{"port": 80}]},
            {
                "type": "ClusterIP",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
                "internalTrafficPolicy": "Cluster",
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv4"],
            },
            id="cluster ip",
        ),
        pytest.param(
            {"type": "NodePort"},
            {
                "type": "NodePort",
                "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster",
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv4"],
            },
            id="node port",
        ),
        pytest.param(
            {"clusterIP": "None"},
            {
                "type": "ClusterIP",
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "internalTrafficPolicy": "Cluster",
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv4", "IPv6"],
            },
            id="headless without selector",
        ),
        pytest.param(
            {"type": "ExternalName", "externalName": "a.b"},
            {"type": "ExternalName", "externalName": "a.b"},
            id="external name",
        ),
    ],
)
def test_service(spec: Any, expected: Any) -> None:
    obj: Any = {"spec": spec}
    defaults.apply(kinds.SERVICE, obj)
    assert obj["spec"] == {"sessionAffinity": "None", **expected}


def test_secret_text_lands_in_data_and_is_not_kept() -> None:
    obj: Any = {"data": {"a": "QQ=="}, "stringData": {"a": "é", "b": ""}}
    defaults.apply(kinds.SECRET, obj)
    assert obj == {"type": "Opaque", "data": {"a": "w6k=", "b": ""}}


def test_namespace_is_labelled_with_its_name() -> None:
    obj: Any = {"metadata": {"name": "n"}}
    defaults.apply(kinds.NAMESPACE, obj)
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.plural)
def test_twice_is_as_once(kind: kinds.Kind) -> None:
    source = {"pods": made.pod, "deployments": made.deployment, "services": made.service}
    make = source.get(kind.plural)
    obj = make() if make else made.prepared(kind, {"metadata": {"name": "n"}})
    before = json.canonical(obj)
    defaults.apply(kind, obj)
    assert json.canonical(obj) == before


def test_admission_adds_account_and_tolerations() -> None:
    obj = made.pod()
    defaults.admit_pod(obj)
    spec = obj["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert [t["key"] for t in spec["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert all(t["tolerationSeconds"] == 300 for t in spec["tolerations"])


def test_admission_leaves_own_tolerations_alone() -> None:
    obj = made.pod(tolerations=[{"operator": "Exists"}])
    defaults.admit_pod(obj)
    assert obj["spec"]["tolerations"] == [{"operator": "Exists"}]
