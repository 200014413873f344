"""DaemonSets and ReplicationControllers with real kubectl."""

from __future__ import annotations

from typing import Any

from . import lab as labs
from . import manifests

Object = dict[str, Any]


def daemon_set(*containers: Object, **fields: Any) -> Object:
    labels = {"app": "mon"}
    template = {"metadata": {"labels": labels}, "spec": manifests.pod_spec(*containers)}
    spec = {"selector": {"matchLabels": labels}, "template": template} | fields
    kind = {"apiVersion": "apps/v1", "kind": "DaemonSet"}
    return {**kind, "metadata": {"name": "mon"}, "spec": spec}


def running(lab: labs.Lab, namespace: str) -> list[str]:
    return [
        pod["spec"]["containers"][0]["image"]
        for pod in lab.items("pods", "-n", namespace)
        if "deletionTimestamp" not in pod["metadata"]
    ]


def test_a_daemon_set_from_birth_to_undo(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(daemon_set(manifests.web()), *n)
    assert 'daemon set "mon" successfully rolled out' in lab.rollout("ds/mon", *n)
    lines = lab.kubectl("get", "ds", "mon", *n).splitlines()
    assert lines[1].split()[:7] == ["mon", "1", "1", "1", "1", "1", "<none>"]
    lab.kubectl("set", "image", "ds/mon", "web=nginx:1.26", *n)
    lab.rollout("ds/mon", *n)
    assert running(lab, namespace) == ["nginx:1.26"]
    history = lab.kubectl("rollout", "history", "ds/mon", *n)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    lab.kubectl("rollout", "undo", "ds/mon", "--to-revision=1", *n)
    lab.rollout("ds/mon", *n)
    assert running(lab, namespace) == ["nginx:1.25"]
    lab.kubectl("rollout", "restart", "ds/mon", *n)
    lab.rollout("ds/mon", *n)


def test_with_surge_the_new_one_is_ready_first(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    lab.apply(daemon_set(manifests.web(), updateStrategy=strategy), *n)
    lab.rollout("ds/mon", *n)
    lab.kubectl("set", "image", "ds/mon", "web=nginx:1.99", *n)
    labs.until(lambda: len(running(lab, namespace)) == 2, "one that cannot start beside the old")
    assert lab.get("ds", "mon", *n)["status"]["numberAvailable"] == 1
    lab.kubectl("rollout", "undo", "ds/mon", *n)
    lab.rollout("ds/mon", *n)
    labs.until(lambda: running(lab, namespace) == ["nginx:1.25"], "only the old one")


def test_a_daemon_goes_where_its_node_selector_says(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    body = daemon_set()
    body["spec"]["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}
    lab.apply(body, *n)
    lab.rollout("ds/mon", *n)
    assert running(lab, namespace) == []


def test_a_replication_controller_keeps_its_pods(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    labels = {"app": "old"}
    template = {"metadata": {"labels": labels}, "spec": manifests.pod_spec()}
    kind = {"apiVersion": "v1", "kind": "ReplicationController"}
    body = {"metadata": {"name": "old"}, "spec": {"replicas": 2, "template": template}}
    lab.apply({**kind, **body}, *n)
    lab.wait("rc/old", "jsonpath={.status.readyReplicas}=2", *n)
    lab.kubectl("delete", "pod", "--all", "--wait=false", *n)
    labs.until(lambda: len(running(lab, namespace)) == 2, "new ones")
    lab.kubectl("scale", "rc/old", "--replicas=1", *n)
    labs.until(lambda: len(running(lab, namespace)) == 1, "one")
