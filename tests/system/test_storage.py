"""Claims and what they hold: from WaitForFirstConsumer to Retain and Delete, with real kubectl."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import lab as labs
from . import manifests
from .test_statefulsets import stateful_set

Object = dict[str, Any]


def claim(name: str, size: str = "64Mi", **spec: Any) -> Object:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return {**kind, "metadata": {"name": name}, "spec": {**base, **spec}}


def storage_class(name: str, **fields: Any) -> Object:
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    return {
        **kind,
        "metadata": {"name": name},
        "provisioner": "rancher.io/local-path",
        **fields,
    }


def user(name: str, used: str, script: str, **spec: Any) -> Object:
    """A pod that has a claim's volume at /data and runs to its end."""
    mount = {"name": "data", "mountPath": "/data"}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": used}}
    main = manifests.container(script, volumeMounts=[mount])
    return manifests.pod(name, main, volumes=[volume], restartPolicy="Never", **spec)


def succeeded(lab: labs.Lab, *n: str, name: str) -> str:
    """What it has printed."""
    lab.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded", *n)
    return lab.kubectl("logs", name, *n)


def folders(lab: labs.Lab, ending: str) -> list[Path]:
    return sorted((lab.device.data / "edgeorch" / "storage").glob(f"pvc-*_{ending}"))


def reasons(lab: labs.Lab, *n: str, name: str) -> set[str]:
    return {
        event["reason"]
        for event in lab.items("events", *n)
        if event["involvedObject"]["name"] == name
    }


def column(lab: labs.Lab, *arguments: str) -> list[str]:
    """The cells of the one object that is listed, without its age."""
    lines = lab.kubectl("get", *arguments).splitlines()
    return lines[1].split()


def test_a_claim_from_its_first_consumer_to_its_end(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    assert column(lab, "sc", "local-path")[:6] == [
        "local-path", "(default)", "rancher.io/local-path", "Delete", "WaitForFirstConsumer",
        "false",
    ]  # fmt: skip
    lab.apply(claim("data"), *n)
    waits = "waiting for first consumer to be created before binding"
    labs.until(lambda: waits in lab.kubectl("describe", "pvc", "data", *n), "WaitForFirstConsumer")
    assert column(lab, "pvc", "data", *n)[:4] == ["data", "Pending", "local-path", "<unset>"]
    assert folders(lab, f"{namespace}_data") == []

    lab.apply(user("writes", "data", "echo kept >/data/f; cat /data/f"), *n)
    assert succeeded(lab, *n, name="writes") == "kept\n"
    found = lab.get("pvc", "data", *n)
    volume = found["spec"]["volumeName"]
    assert volume == f"pvc-{found['metadata']['uid']}"
    assert found["status"] == {
        "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "64Mi"},
    }  # fmt: skip
    assert found["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    for name in ("bind-completed", "bound-by-controller"):
        assert found["metadata"]["annotations"][f"pv.kubernetes.io/{name}"] == "yes"
    assert column(lab, "pv", volume)[:6] == [
        volume, "64Mi", "RWO", "Delete", "Bound", f"{namespace}/data",
    ]  # fmt: skip
    assert {"Provisioning", "ProvisioningSucceeded"} <= reasons(lab, *n, name="data")
    described = lab.kubectl("describe", "pv", volume)
    (folder,) = folders(lab, f"{namespace}_data")
    assert "LocalVolume (a persistent volume backed by local storage on a node)" in described
    assert str(folder) in described
    assert (folder / "f").read_text() == "kept\n"

    # A claim that a pod names stays, however it is deleted.
    lab.kubectl("delete", "pvc", "data", "--wait=false", *n)
    assert column(lab, "pvc", "data", *n)[1] == "Terminating"
    assert "Used By:       writes" in lab.kubectl("describe", "pvc", "data", *n)
    lab.apply(user("late", "data", "cat /data/f"), *n)
    why = 'persistentvolumeclaim "data" is being deleted'
    labs.until(lambda: why in lab.kubectl("describe", "pod", "late", *n), "refused")
    lab.kubectl("delete", "pod", "writes", "late", *n)
    lab.wait("pvc/data", "delete", *n)
    lab.wait(f"pv/{volume}", "delete")
    assert not folder.exists()


def test_what_is_kept_and_bound_by_hand(lab: labs.Lab, namespace: str, tmp_path: Path) -> None:
    n = ("-n", namespace)
    retained, manual = f"{namespace}-retained", f"{namespace}-manual"
    lab.apply(storage_class(retained, reclaimPolicy="Retain", allowVolumeExpansion=True))
    host = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": manual, "labels": {"disk": "old"}},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": manual,
                "local": {"path": str(tmp_path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            },
        }
    )
    assert column(lab, "pv", manual)[:5] == [manual, "1Gi", "RWO", "Retain", "Available"]
    (tmp_path / "from-before").write_text("x")
    tmp_path.chmod(0o755)
    by_label = {"matchLabels": {"disk": "old"}}
    lab.apply(claim("kept", storageClassName=retained), *n)
    lab.apply(claim("old", storageClassName=manual, selector=by_label), *n)
    for name in ("kept", "old"):
        lab.wait(f"pvc/{name}", "jsonpath={.status.phase}=Bound", *n)
    assert lab.get("pvc", "old", *n)["spec"]["volumeName"] == manual
    kept = lab.get("pvc", "kept", *n)["spec"]["volumeName"]
    lab.apply(user("old", "old", "ls /data"), *n)
    lab.apply(user("kept", "kept", "echo 1 >/data/f"), *n)
    assert "from-before" in succeeded(lab, *n, name="old")
    succeeded(lab, *n, name="kept")

    bigger = '{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}'
    lab.kubectl("patch", "pvc", "kept", "-p", bigger, *n)
    lab.wait("pvc/kept", "jsonpath={.status.capacity.storage}=128Mi", *n)
    refused = lab.try_kubectl("patch", "pvc", "old", "-p", bigger.replace("128Mi", "2Gi"), *n)
    assert "only dynamically provisioned pvc can be resized" in refused.stderr

    (folder,) = folders(lab, f"{namespace}_kept")
    lab.kubectl("delete", "pod", "--all", *n)
    lab.kubectl("delete", "pvc", "kept", "old", *n)
    for name in (manual, kept):
        lab.wait(f"pv/{name}", "jsonpath={.status.phase}=Released")
    assert (folder / "f").read_text() == "1\n"
    lab.kubectl("delete", "pv", manual, kept)
    lab.kubectl("delete", "sc", retained)
    assert (folder / "f").read_text() == "1\n", "what is retained outlives its volume"
    assert (tmp_path / "from-before").exists()


def test_a_stateful_sets_data_comes_back_to_each_pod(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    script = f"echo $HOSTNAME >>/data/names; {manifests.IDLE}"
    main = manifests.container(script, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    template = claim("data")
    del template["apiVersion"], template["kind"]
    keeps = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    lab.apply(
        stateful_set(
            "db",
            main,
            volumeClaimTemplates=[template],
            persistentVolumeClaimRetentionPolicy=keeps,
        ),
        *n,
    )
    lab.rollout("sts/db", *n)
    first = {each["metadata"]["name"]: each["spec"]["volumeName"] for each in lab.items("pvc", *n)}
    assert sorted(first) == ["data-db-0", "data-db-1"]
    lab.kubectl("scale", "sts/db", "--replicas=1", *n)
    lab.wait("pod/db-1", "delete", *n)

    # The end of edgeorch, at any moment, costs nothing.
    lab.kubectl("delete", "pod", "db-0", "--wait=false", *n)
    lab.kubectl("scale", "sts/db", "--replicas=2", *n)
    lab.lab("kill")
    lab.lab("start")
    lab.rollout("sts/db", *n)
    again = {each["metadata"]["name"]: each["spec"]["volumeName"] for each in lab.items("pvc", *n)}
    assert again == first
    for pod in ("db-0", "db-1"):
        labs.until(
            lambda pod=pod: (  # type: ignore[misc]
                lab.kubectl("exec", pod, *n, "--", "cat", "/data/names") == f"{pod}\n{pod}\n"
            ),
            f"{pod} has what its predecessor wrote",
        )
    lab.kubectl("delete", "sts", "db", *n)
    for name in first:
        lab.wait(f"pvc/{name}", "delete", *n)
    for name in first.values():
        lab.wait(f"pv/{name}", "delete")
    assert folders(lab, f"{namespace}_data-db-?") == []


def test_a_pod_with_a_volume_of_its_own_and_pods_that_wait(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    template = {"spec": claim("x")["spec"]}
    volume = {"name": "own", "ephemeral": {"volumeClaimTemplate": template}}
    mount = {"name": "own", "mountPath": "/own"}
    main = manifests.container(f"df /own; {manifests.IDLE}", volumeMounts=[mount])
    lab.apply(manifests.pod("owner", main, volumes=[volume]), *n)
    lab.apply(user("waits", "absent", "true"), *n)
    lab.apply(claim("odd", storageClassName="none-such"), *n)
    lab.apply(user("odd", "odd", "true"), *n)
    lab.wait("pod/owner", "condition=Ready", *n)
    owned = lab.get("pvc", "owner-own", *n)
    assert [ref["name"] for ref in owned["metadata"]["ownerReferences"]] == ["owner"]
    told = {
        "waits": (
            '0/1 nodes are available: persistentvolumeclaim "absent" not found. preemption: 0/1'
            " nodes are available: 1 Preemption is not helpful for scheduling."
        ),
        "odd": (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption:"
            " 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ),
    }
    for name, message in told.items():
        labs.until(
            lambda name=name: (  # type: ignore[misc]
                lab.get("pod", name, *n)["status"].get("conditions", [{}])[0].get("message")
            ),
            f"{name} waits",
        )
        (condition,) = lab.get("pod", name, *n)["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == ("Unschedulable", message)
    missing = 'storageclass.storage.k8s.io "none-such" not found'
    labs.until(lambda: missing in lab.kubectl("describe", "pvc", "odd", *n), "no such class")
    lab.apply(claim("absent"), *n)
    succeeded(lab, *n, name="waits")
    lab.kubectl("delete", "pod", "owner", *n)
    lab.wait("pvc/owner-own", "delete", *n)
    lab.wait(f"pv/{owned['spec']['volumeName']}", "delete")


@pytest.mark.timeout(1200)
def test_the_end_of_edgeorch_at_any_moment_loses_nothing(lab: labs.Lab, namespace: str) -> None:
    """Each round a claim, a pod that writes, one that reads, and the end of it all; one of the
    steps is overtaken by a SIGKILL."""
    n = ("-n", namespace)
    chance = random.Random(namespace)
    for number in range(labs.rounds(1, 25)):
        name = f"c{number}"
        steps = _life(lab, n, name)
        killed = chance.randrange(len(steps))
        for place, step in enumerate(steps):
            step()
            if place == killed:
                time.sleep(chance.random() * 0.3)  # somewhere in what the step has begun
                lab.lab("kill")
                lab.lab("start")
        for pod in ("w", "r"):
            lab.wait(f"pod/{pod}", "delete", *n)
        lab.wait(f"pvc/{name}", "delete", *n)
        labs.until(lambda: not _volumes_of(lab, namespace), "its volume gone")
        assert folders(lab, f"{namespace}_*") == [], f"round {number}, killed after step {killed}"


def _life(lab: labs.Lab, n: tuple[str, str], name: str) -> list[Callable[[], object]]:
    def read() -> None:
        assert succeeded(lab, *n, name="r") == "here\n"

    return [
        lambda: lab.apply(claim(name), *n),
        lambda: lab.apply(user("w", name, "echo here >/data/f; sync"), *n),
        lambda: succeeded(lab, *n, name="w"),
        lambda: lab.kubectl("delete", "pod", "w", "--wait=false", *n),
        lambda: lab.apply(user("r", name, "cat /data/f"), *n),
        read,
        lambda: lab.kubectl("delete", "pvc", name, "--wait=false", *n),
        lambda: lab.kubectl("delete", "pod", "r", "--wait=false", *n),
    ]


def _volumes_of(lab: labs.Lab, namespace: str) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in lab.items("pv")
        if (each["spec"].get("claimRef") or {}).get("namespace") == namespace
    ]


@pytest.mark.parametrize("size", ["0", "many"])
def test_a_claim_for_nothing_is_refused(lab: labs.Lab, namespace: str, size: str) -> None:
    refused = lab.try_kubectl("apply", "-n", namespace, "-f", "-", stdin=claim("x", size))
    assert refused.returncode == 1
    told = {"0": "must be greater than zero", "many": "quantities must match"}
    assert told[size] in refused.stderr
