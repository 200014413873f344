"""When an object does what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import readiness

SEEN = {"observedGeneration": 2}


def _object(spec: dict[str, Any], status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "generation": 2, **meta}, "spec": spec, "status": status}


def _condition(kind: str, status: str = "True", message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "message": message}]}


READY = [
    ("configmaps", {}, {}),
    ("deployments.apps", {"replicas": 2},
     SEEN | {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
    ("deployments.apps", {"replicas": 0}, SEEN),
    ("statefulsets.apps", {"replicas": 2}, SEEN | {"readyReplicas": 2, "updatedReplicas": 2}),
    ("statefulsets.apps",
     {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
     SEEN | {"readyReplicas": 3, "updatedReplicas": 1}),
    ("statefulsets.apps", {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
     SEEN | {"readyReplicas": 2}),
    ("daemonsets.apps", {},
     SEEN | {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}),
    ("daemonsets.apps", {}, SEEN),
    ("replicasets.apps", {}, SEEN | {"availableReplicas": 1}),
    ("jobs.batch", {}, _condition("Complete")),
    ("jobs.batch", {"suspend": True}, {}),
    ("pods", {}, {"phase": "Succeeded"}),
    ("pods", {}, {"phase": "Running"} | _condition("Ready")),
    ("persistentvolumeclaims", {}, {"phase": "Pending"}),
    ("services", {"type": "ClusterIP"}, {}),
    ("services", {"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}),
    ("namespaces", {}, {"phase": "Active"}),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "spec", "status"), READY)
def test_ready(resource: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    assert readiness.missing(resource, _object(spec, status)) == ""


MISSING = [
    ("deployments.apps", {}, {"observedGeneration": 1}, "its latest change has not been seen yet"),
    ("deployments.apps", {"replicas": 2}, SEEN | {"updatedReplicas": 1, "replicas": 2},
     "1 of 2 pods are updated"),
    ("deployments.apps", {}, SEEN | {"updatedReplicas": 1, "replicas": 2, "availableReplicas": 1},
     "1 pods of the former template are still there"),
    ("deployments.apps", {},
     SEEN | {"updatedReplicas": 1, "replicas": 1} | _condition("Progressing", "False", "late"),
     "0 of 1 pods are available: late"),
    ("statefulsets.apps", {"replicas": 2}, SEEN | {"readyReplicas": 1}, "1 of 2 pods are ready"),
    ("statefulsets.apps", {"replicas": 2}, SEEN | {"readyReplicas": 2, "updatedReplicas": 1},
     "1 of 2 pods are updated"),
    ("daemonsets.apps", {}, SEEN | {"desiredNumberScheduled": 1}, "0 of 1 pods are updated"),
    ("daemonsets.apps", {}, SEEN | {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1},
     "0 of 1 pods are available"),
    ("replicationcontrollers", {}, SEEN, "0 of 1 pods are available"),
    ("jobs.batch", {}, _condition("Failed", "True", "no"), "failed: no"),
    ("jobs.batch", {"completions": 3}, {"succeeded": 1}, "1 of 3 completions"),
    ("pods", {}, {"phase": "Failed", "reason": "Evicted"}, "failed: Evicted"),
    ("pods", {}, {"phase": "Pending"} | _condition("PodScheduled", "False", "no room"),
     "pending: no room, not ready"),
    ("persistentvolumeclaims", {}, {"phase": "Lost"}, "has lost its volume"),
    ("services", {"type": "LoadBalancer"}, {}, "has no address yet"),
    ("namespaces", {}, {"phase": "Terminating"}, "is being deleted"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "spec", "status", "told"), MISSING)
def test_missing(resource: str, spec: dict[str, Any], status: dict[str, Any], told: str) -> None:
    assert readiness.missing(resource, _object(spec, status)) == told


def test_what_is_being_deleted_is_not_ready() -> None:
    leaving = _object({}, {}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert readiness.missing("configmaps", leaving) == "is being deleted"


def _pod(**container: Any) -> dict[str, Any]:
    return _object({}, {"phase": "Running", "containerStatuses": [{"name": "c", **container}]})


def test_trouble_names_the_container_and_why() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert readiness.trouble(_pod(state=waiting)) == (
        "container c waits, ImagePullBackOff: no such image"
    )
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    assert readiness.trouble(_pod(lastState=ended)) == "container c ended with 3, Error"
    assert readiness.trouble(_pod(state={"waiting": {"reason": "ContainerCreating"}})) == ""
