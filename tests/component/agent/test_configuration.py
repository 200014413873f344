"""Environment, volumes and files as the containers see them."""

from __future__ import annotations

import asyncio
import base64
import pathlib
from typing import Any

from edgeorch.runtime import execs, stdio
from tests.component.agent.conftest import Lab, _named


async def output(lab: Lab, name: str, container: str = "main") -> str:
    """What the container wrote, once it has ended."""
    await lab.until(lambda: lab.status(name).get("phase") in ("Succeeded", "Failed"))
    pod = lab.pod(name)
    assert pod is not None
    chunks = [
        chunk
        async for chunk in lab.agent.logs.read("default", name, pod["metadata"]["uid"], container)
    ]
    return b"".join(chunks).decode()


async def test_environment(lab: Lab) -> None:
    await lab.objects.create(
        "configmaps", {**_named("v1", "ConfigMap", "conf", "default"), "data": {"A": "1", "B": "2"}}
    )
    secret = {"data": {"token": base64.b64encode(b"hush").decode()}}
    await lab.objects.create("secrets", {**_named("v1", "Secret", "s", "default"), **secret})
    env = [
        {"name": "PLAIN", "value": "x$(A)$$(A)"},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "B"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"configMapRef": {"name": "conf"}}],
        "resources": {"limits": {"memory": "32Mi"}},
    }
    command = ("sh", "-c", "echo $PLAIN $KEY $TOKEN $IP $MEM $A $HOSTNAME $FROM")
    await lab.run("env", *command, container=container, restartPolicy="Never")

    ip = await lab.until(lambda: lab.status("env").get("podIP"))
    assert await output(lab, "env") == f"x1$(A) 2 hush {ip} 33554432 1 env image\n"


async def test_a_missing_reference_waits_and_goes_on_when_it_comes(lab: Lab) -> None:
    container = {"envFrom": [{"configMapRef": {"name": "later"}}]}
    await lab.run("waits", "sh", "-c", "echo $X", container=container, restartPolicy="Never")
    waiting = await lab.until(lambda: lab.waiting("waits", "CreateContainerConfigError"))
    assert waiting["message"] == 'configmap "later" not found'
    await lab.objects.create(
        "configmaps", {**_named("v1", "ConfigMap", "later", "default"), "data": {"X": "came"}}
    )

    assert await output(lab, "waits") == "came\n"


async def test_volumes_and_their_updates(lab: Lab) -> None:
    await lab.objects.create(
        "configmaps", {**_named("v1", "ConfigMap", "conf", "default"), "data": {"key": "old"}}
    )
    volumes = [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "down", "downwardAPI": {"items": [
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(lab.root / "made"), "type": "DirectoryOrCreate"}},
    ]  # fmt: skip
    mounts = [
        {"name": "conf", "mountPath": "/conf"},
        {"name": "down", "mountPath": "/down"},
        {"name": "mem", "mountPath": "/mem"},
        {"name": "host", "mountPath": "/host"},
        {"name": "host", "mountPath": "/sub", "subPath": "inner"},
    ]
    container = {"volumeMounts": mounts}
    await lab.run("vols", volumes=volumes, container=container)
    await lab.running("vols")
    assert await run_in(lab, "vols", "cat /conf/key /down/name; echo hi >/sub/f") == "oldvols"
    assert (lab.root / "made" / "inner" / "f").read_text() == "hi\n"

    def change(obj: Any) -> Any:
        obj["data"] = {"key": "new", "more": "1"}
        return obj

    await lab.objects.update("configmaps", "default", "conf", change)
    for _ in range(500):
        if await run_in(lab, "vols", "cat /conf/key") == "new":
            break
        await asyncio.sleep(0.01)
    assert await run_in(lab, "vols", "cat /conf/key /conf/more") == "new1"


async def test_a_missing_volume_source_is_told(lab: Lab) -> None:
    volumes = [{"name": "v", "secret": {"secretName": "absent"}}]
    await lab.run("vol", volumes=volumes)
    told = 'MountVolume.SetUp failed for volume "v" : secret "absent" not found'
    await lab.until(lambda: ("FailedMount", told) in lab.events("vol"))

    assert lab.container("vol")["state"]["waiting"]["reason"] == "ContainerCreating"
    await lab.delete("vol")
    await lab.gone("vol")


async def test_containers_of_a_pod_share_address_ipc_and_memory(lab: Lab) -> None:
    await lab.create(
        {
            "containers": [
                {"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent",
                 "command": ["sleep", "1000"]} for name in ("main", "other")
            ],
            "nodeName": "edge",
            "terminationGracePeriodSeconds": 0,
        },
        "pair",
    )  # fmt: skip
    await lab.running("pair")
    await lab.until(lambda: "running" in lab.container("pair", "other").get("state", {}))
    await run_in(lab, "pair", "echo shared >/dev/shm/x")
    assert await run_in(lab, "pair", "cat /dev/shm/x", "other") == "shared\n"
    pids = [await _pid(lab, "pair", name) for name in ("main", "other")]
    for kind, same in (("net", True), ("ipc", True), ("pid", False), ("mnt", False)):
        links = {pathlib.Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in pids}
        assert (len(links) == 1) is same, kind


async def _pid(lab: Lab, name: str, container: str) -> int:
    id_ = lab.container(name, container)["containerID"].removeprefix("containerd://")
    task = await lab.containers.task(id_)
    assert task is not None
    return task.pid


async def run_in(lab: Lab, name: str, command: str, container: str = "main") -> str:
    id_ = lab.container(name, container)["containerID"].removeprefix("containerd://")
    runner = execs.Execs(lab.client, lab.containers, stdio.StdioDir(lab.root / "exec"))
    done = await runner.run(id_, execs.Command(["sh", "-c", command]), limit=10)
    return done.output.decode()
