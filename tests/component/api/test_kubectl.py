"""Real kubectl, old and new, works unmodified."""

from __future__ import annotations

import asyncio
import json
import pathlib

from tests.component.api import conftest
from tests.component.api.conftest import Device


async def test_a_manifest_is_applied_shown_changed_and_deleted(
    device: Device, kubectl: pathlib.Path
) -> None:
    manifest = json.dumps(conftest.deployment("web"))
    assert "deployment.apps/web created" in await device.kubectl(
        kubectl, "apply", "-f", "-", stdin=manifest
    )
    assert "deployment.apps/web unchanged" in await device.kubectl(
        kubectl, "apply", "-f", "-", stdin=manifest
    )
    wide = await device.kubectl(kubectl, "get", "deploy", "-o", "wide")
    header, row = wide.splitlines()
    assert header.split() == [
        "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR",
    ]  # fmt: skip
    assert row.split()[:4] == ["web", "0/3", "0", "0"]
    await device.kubectl(kubectl, "scale", "deploy/web", "--replicas=5")
    await device.kubectl(kubectl, "set", "image", "deploy/web", "main=nginx:1.26")
    await device.kubectl(kubectl, "label", "deploy/web", "tier=front")
    shown = json.loads(await device.kubectl(kubectl, "get", "deploy/web", "-o", "json"))
    assert shown["spec"]["replicas"] == 5
    assert shown["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1.26"
    assert shown["metadata"]["labels"] == {"tier": "front"}
    assert "5 desired" in await device.kubectl(kubectl, "describe", "deploy", "web")
    assert "deleted" in await device.kubectl(kubectl, "delete", "deploy", "web")
    assert device.store.find("deployments.apps", "default", "web") is None


async def test_objects_that_kubectl_makes_itself_arrive_whole(
    device: Device, kubectl: pathlib.Path
) -> None:
    # New versions send these as protobuf, old ones as JSON: what is stored is the same.
    await device.kubectl(kubectl, "create", "configmap", "c", "--from-literal=a=b")
    await device.kubectl(kubectl, "create", "secret", "generic", "s", "--from-literal=k=v")
    await device.kubectl(
        kubectl, "create", "deployment", "d", "--image=x", "--replicas=0", "--port=80"
    )
    await device.kubectl(kubectl, "create", "service", "nodeport", "n", "--tcp=80:http")
    await device.kubectl(kubectl, "create", "serviceaccount", "sa")
    store = device.store
    assert store.get("configmaps", "default", "c").decode()["data"] == {"a": "b"}
    assert store.get("secrets", "default", "s").decode()["data"] == {"k": "dg=="}
    assert store.get("serviceaccounts", "default", "sa").name == "sa"
    spec = store.get("deployments.apps", "default", "d").decode()["spec"]
    assert spec["replicas"] == 0
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "x"
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    (port,) = store.get("services", "default", "n").decode()["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")


async def test_a_watch_shows_changes_as_they_come(device: Device, kubectl: pathlib.Path) -> None:
    process = await asyncio.create_subprocess_exec(
        kubectl, "get", "configmaps", "--watch", "-o", "name",
        stdout=asyncio.subprocess.PIPE,
        env={"KUBECONFIG": str(device.directory / "kubeconfig"), "HOME": str(device.directory)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            await device.call(
                "POST", "/api/v1/namespaces/default/configmaps", conftest.config_map("first")
            )
            assert await process.stdout.readline() == b"configmap/first\n"
            await device.call(
                "POST", "/api/v1/namespaces/default/configmaps", conftest.config_map("second")
            )
            assert await process.stdout.readline() == b"configmap/second\n"
    finally:
        process.terminate()
        await process.wait()


async def test_errors_read_as_on_kubernetes(device: Device, kubectl: pathlib.Path) -> None:
    told = await device.kubectl(kubectl, "get", "pod", "nope", fails=True)
    assert told == 'Error from server (NotFound): pods "nope" not found\n'
    wrong = conftest.deployment("web")
    wrong["spec"]["replcas"] = 3
    told = await device.kubectl(kubectl, "apply", "-f", "-", stdin=json.dumps(wrong), fails=True)
    assert 'strict decoding error: unknown field "spec.replcas"' in told
    wrong = conftest.deployment("web")
    wrong["spec"]["replicas"] = "three"
    told = await device.kubectl(kubectl, "apply", "-f", "-", stdin=json.dumps(wrong), fails=True)
    assert "json: cannot unmarshal string into Go struct field" in told
    told = await device.kubectl(kubectl, "get", "sprockets", fails=True)
    assert told == 'error: the server doesn\'t have a resource type "sprockets"\n'


async def test_schemas_and_kinds_are_explained(device: Device, kubectl: pathlib.Path) -> None:
    explained = await device.kubectl(kubectl, "explain", "deployment.spec.replicas")
    assert "replicas <integer>" in explained
    listed = await device.kubectl(kubectl, "api-resources", "--no-headers", "-o", "wide")
    assert any(line.split()[:2] == ["deployments", "deploy"] for line in listed.splitlines())


async def test_logs_are_shown(device: Device, kubectl: pathlib.Path) -> None:
    device.logs.lines = [b"one\n", b"two\n"]
    await device.call("POST", "/api/v1/namespaces/default/pods", conftest.pod("p"))
    told = await device.kubectl(kubectl, "logs", "p", fails=True)
    assert 'container "main" in pod "p" is not available' in told
    status: conftest.Object = {"name": "main"}
    status |= {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    status |= {"ready": True, "restartCount": 0, "image": "busybox", "imageID": ""}

    def running(obj: conftest.Object) -> conftest.Object:
        return {**obj, "status": {"phase": "Running", "containerStatuses": [status]}}

    await device.store.update_status("pods", "default", "p", running)
    assert await device.kubectl(kubectl, "logs", "p", "--tail=2") == "one\ntwo\n"
    assert device.logs.asked[-1]["tail_lines"] == 2
