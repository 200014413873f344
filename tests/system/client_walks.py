"""What each Python client does on a device, as a program of its own: `python client_walks.py NAME`.

Lists, watches until a pod runs, patches, reads its log, executes, forwards a port, deletes; fails
with a traceback where the client is not content. Run by test_client_libraries.py with KUBECONFIG.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

NAMESPACE = sys.argv[2] if len(sys.argv) > 2 else "default"
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "walked", "labels": {"app": "walked"}},
    "spec": {"containers": [{"name": "web", "image": "nginx:1.25"}]},
}
MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "walked"},
    "data": {"a": "b"},
}
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
SCRIPT = ["sh", "-c", "echo out; echo err >&2; exit 3"]


def official() -> None:
    from kubernetes import client, config, dynamic, stream, watch

    config.load_kube_config()
    core = client.CoreV1Api()
    assert len(core.list_node().items) == 1
    core.create_namespaced_pod(NAMESPACE, POD)
    events = watch.Watch().stream(
        core.list_namespaced_pod, NAMESPACE, label_selector="app=walked", timeout_seconds=60
    )
    assert any(event["object"].status.phase == "Running" for event in events)
    patched = core.patch_namespaced_pod("walked", NAMESPACE, {"metadata": {"labels": {"b": "c"}}})
    assert patched.metadata.labels["b"] == "c"
    run = stream.stream(
        core.connect_get_namespaced_pod_exec, "walked", NAMESPACE, command=SCRIPT,
        stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
    )  # fmt: skip
    run.run_forever(timeout=20)
    assert (run.read_stdout(), run.read_stderr(), run.returncode) == ("out\n", "err\n", 3)
    ports = stream.portforward(
        core.connect_get_namespaced_pod_portforward, "walked", NAMESPACE, ports="80"
    )
    assert _answered(ports.socket(80))
    assert ports.error(80) is None
    assert "start worker process" in core.read_namespaced_pod_log("walked", NAMESPACE)
    maps = dynamic.DynamicClient(client.ApiClient()).resources.get(
        api_version="v1", kind="ConfigMap"
    )
    applied = maps.server_side_apply(MAP, namespace=NAMESPACE, field_manager="walk")
    assert applied.data.a == "b"
    metrics = client.CustomObjectsApi().list_cluster_custom_object(
        "metrics.k8s.io", "v1beta1", "nodes"
    )
    assert metrics["items"][0]["usage"]["cpu"]
    gone = core.delete_namespaced_pod("walked", NAMESPACE, grace_period_seconds=0)
    assert gone.metadata.name == "walked"


def _answered(connection: socket.socket) -> bool:
    connection.sendall(REQUEST)
    connection.setblocking(True)
    return connection.recv(12).startswith(b"HTTP/1.1 200")


async def asyncio_client() -> None:
    from kubernetes_asyncio import client, config, watch
    from kubernetes_asyncio.stream import WsApiClient

    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        await core.create_namespaced_pod(NAMESPACE, POD)
        async with watch.Watch().stream(
            core.list_namespaced_pod, NAMESPACE, label_selector="app=walked", timeout_seconds=60
        ) as events:
            async for event in events:
                if event["object"].status.phase == "Running":
                    break
        body = {"metadata": {"labels": {"b": "c"}}}
        patched = await core.patch_namespaced_pod("walked", NAMESPACE, body)
        assert patched.metadata.labels["b"] == "c"
    async with WsApiClient() as streams:
        said = await client.CoreV1Api(streams).connect_get_namespaced_pod_exec(
            "walked", NAMESPACE, command=["echo", "hi"],
            stdout=True, stderr=True, stdin=False, tty=False,
        )  # fmt: skip
        assert said == "hi\n"
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        await core.delete_namespaced_pod("walked", NAMESPACE, grace_period_seconds=0)


async def kr8s_client() -> None:
    import kr8s
    from kr8s.asyncio.objects import Pod

    api = await kr8s.asyncio.api()
    assert [node async for node in api.get("nodes")]
    pod = await Pod({**POD, "metadata": {**POD["metadata"], "namespace": NAMESPACE}})
    await pod.create()
    await pod.wait("condition=Ready", timeout=60)
    assert (await pod.exec(["echo", "hi"])).stdout == b"hi\n"
    async with pod.portforward(80) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
        writer.close()
    await pod.label({"b": "c"})
    await pod.refresh()
    assert pod.labels["b"] == "c"
    await pod.delete(grace_period=0)


def lightkube_client() -> None:
    from lightkube import Client
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap, Node

    client = Client(field_manager="walk", namespace=NAMESPACE)
    assert len(list(client.list(Node))) == 1
    client.create(ConfigMap(metadata=ObjectMeta(name="light"), data={"a": "b"}))
    client.patch(ConfigMap, "light", {"data": {"c": "d"}})
    assert client.get(ConfigMap, "light").data == {"a": "b", "c": "d"}
    client.apply(ConfigMap(metadata=ObjectMeta(name="applied"), data={"a": "b"}))
    names = set()
    for _, seen in client.watch(ConfigMap):
        names.add(seen.metadata.name)
        if {"light", "applied"} <= names:
            break
    client.delete(ConfigMap, "light")


if __name__ == "__main__":
    match sys.argv[1]:
        case "kubernetes":
            official()
        case "kubernetes_asyncio":
            asyncio.run(asyncio_client())
        case "kr8s":
            asyncio.run(kr8s_client())
        case "lightkube":
            lightkube_client()
        case other:
            sys.exit(f"no walk for {other}")
