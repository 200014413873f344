"""cordon, drain and uncordon, on a device of the test's own, with a budget in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import lab as labs
from . import manifests
from .test_daemonsets import daemon_set

Object = dict[str, Any]


def budget(name: str, **spec: Any) -> Object:
    selector = {"matchLabels": {"app": name}}
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    return {**kind, "metadata": {"name": name}, "spec": {"selector": selector, **spec}}


def test_a_drained_device(new_lab: Callable[..., labs.Lab], images: dict[str, Path]) -> None:
    lab = new_lab(load=tuple(images.values()))
    node = lab.items("nodes")[0]["metadata"]["name"]
    lab.apply(daemon_set())
    lab.apply(manifests.deployment("web", manifests.web(), replicas=3))
    lab.apply(budget("web", minAvailable=2))
    lab.rollout("deployment/web")
    lab.rollout("ds/mon")
    lab.wait("pdb/web", "jsonpath={.status.disruptionsAllowed}=1")

    assert f"node/{node} cordoned" in lab.kubectl("cordon", node)
    assert "Ready,SchedulingDisabled" in lab.kubectl("get", "node")
    drain = ("drain", node, "--ignore-daemonsets")
    result = lab.try_kubectl(*drain, "--timeout=4s")
    assert result.returncode == 1
    refusal = "Cannot evict pod as it would violate the pod's disruption budget."
    assert refusal in result.stderr
    pods = lab.items("pods", "-l", "app=web")
    assert sum(pod["status"]["phase"] == "Running" for pod in pods) == 2

    lab.kubectl("delete", "pdb", "web")
    assert f"node/{node} drained" in lab.kubectl(*drain)
    pods = lab.items("pods", "-l", "app=web")
    assert {pod["status"]["phase"] for pod in pods} == {"Pending"}
    daemons = lab.items("pods", "-l", "app=mon")
    assert [pod["status"]["phase"] for pod in daemons] == ["Running"]

    assert f"node/{node} uncordoned" in lab.kubectl("uncordon", node)
    lab.rollout("deployment/web")


def test_an_eviction_is_answered_as_kubernetes_answers(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.deployment("web"), *n)
    lab.apply(budget("web", maxUnavailable=0), *n)
    lab.rollout("deployment/web", *n)
    lab.wait("pdb/web", "jsonpath={.status.currentHealthy}=1", *n)
    pod = lab.items("pods", *n)[0]["metadata"]["name"]
    url = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    meta = {"name": pod, "namespace": namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    answer = lab.api("POST", url, body)
    assert answer.status == 429
    found = answer.json
    assert found["reason"] == "TooManyRequests"
    assert found["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget web needs 1 healthy pods and has 1 currently",
        }
    ]
    lab.kubectl("patch", "pdb", "web", "-p", '{"spec":{"maxUnavailable":1}}', *n)
    lab.wait("pdb/web", "jsonpath={.status.disruptionsAllowed}=1", *n)
    answer = lab.api("POST", url, body)
    assert (answer.status, answer.json["status"]) == (201, "Success")
