"""StatefulSets with real kubectl: order, names, rollout, undo, claims."""

from __future__ import annotations

from typing import Any

from . import lab as labs
from . import manifests

Object = dict[str, Any]


def stateful_set(name: str, *containers: Object, replicas: int = 2, **fields: Any) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": manifests.pod_spec(*containers)}
    selector = {"matchLabels": labels}
    spec = {"serviceName": name, "replicas": replicas, "selector": selector, "template": template}
    kind = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    return {**kind, "metadata": {"name": name}, "spec": spec | fields}


def images(lab: labs.Lab, namespace: str) -> dict[str, str]:
    found = lab.items("pods", "-n", namespace, "-l", "app=db")
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in found}


def test_a_stateful_set_from_birth_to_undo(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(stateful_set("db", manifests.web(), replicas=3), *n)
    lab.rollout("sts/db", *n)
    created = [
        event["message"]
        for event in lab.items("events", *n, "--sort-by=.metadata.creationTimestamp")
        if event["involvedObject"]["kind"] == "StatefulSet"
    ]
    assert created == [f"create Pod db-{i} in StatefulSet db successful" for i in range(3)]
    pods = lab.items("pods", *n)
    assert [pod["spec"]["hostname"] for pod in pods] == ["db-0", "db-1", "db-2"]
    lines = lab.kubectl("get", "sts", "db", *n).splitlines()
    assert lines[0].split() == ["NAME", "READY", "AGE"]
    assert lines[1].split()[:2] == ["db", "3/3"]

    lab.kubectl("set", "image", "sts/db", "web=nginx:1.26", *n)
    lab.rollout("sts/db", *n)
    assert set(images(lab, namespace).values()) == {"nginx:1.26"}
    history = lab.kubectl("rollout", "history", "sts/db", *n)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    first = lab.kubectl("rollout", "history", "sts/db", "--revision=1", *n)
    assert "nginx:1.25" in first

    lab.kubectl("rollout", "undo", "sts/db", *n)
    lab.rollout("sts/db", *n)
    assert set(images(lab, namespace).values()) == {"nginx:1.25"}
    lab.kubectl("rollout", "restart", "sts/db", *n)
    lab.rollout("sts/db", *n)


def test_scaling_ends_the_last_and_a_lost_one_returns(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(stateful_set("db", replicas=3, podManagementPolicy="Parallel"), *n)
    lab.rollout("sts/db", *n)
    lab.kubectl("scale", "sts/db", "--replicas=1", *n)
    lab.wait("pod/db-2", "delete", *n)
    lab.wait("pod/db-1", "delete", *n)
    assert list(images(lab, namespace)) == ["db-0"]
    uid = lab.get("pod", "db-0", *n)["metadata"]["uid"]
    lab.kubectl("delete", "pod", "db-0", *n)
    lab.rollout("sts/db", *n)
    again = lab.get("pod", "db-0", *n)["metadata"]
    assert again["uid"] != uid


def test_a_partition_rolls_only_the_upper_ones(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    lab.apply(stateful_set("db", manifests.web(), updateStrategy=strategy), *n)
    lab.rollout("sts/db", *n)
    lab.kubectl("set", "image", "sts/db", "web=nginx:1.26", *n)
    lab.rollout("sts/db", *n)
    assert images(lab, namespace) == {"db-0": "nginx:1.25", "db-1": "nginx:1.26"}


def test_claims_are_made_and_stay(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claim = {"metadata": {"name": "data"}, "spec": spec}
    lab.apply(stateful_set("db", replicas=1, volumeClaimTemplates=[claim]), *n)
    found = labs.until(lambda: lab.items("pvc", *n), "the claim")
    assert [each["metadata"]["name"] for each in found] == ["data-db-0"]
    pod = labs.until(lambda: lab.items("pods", *n), "the pod")[0]
    volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "data")
    assert volume["persistentVolumeClaim"] == {"claimName": "data-db-0"}
    lab.kubectl("delete", "sts", "db", *n)
    assert len(lab.items("pvc", *n)) == 1


def test_what_may_not_change_is_refused(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(stateful_set("db", replicas=0), *n)
    result = lab.try_kubectl("apply", "-f", "-", *n, stdin=stateful_set("db", serviceName="other"))
    assert result.returncode == 1
    assert "updates to statefulset spec for fields other than 'replicas'" in result.stderr
