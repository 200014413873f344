"""Writes: created, replaced, patched, deleted, refused, each in Kubernetes' words and codes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.component.api.conftest import Device, config_map, deployment, pod

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


async def warnings(device: Device, method: str, path: str, body: Any) -> tuple[int, list[str]]:
    async with device.client.request(method, device.url + path, json=body) as response:
        return response.status, response.headers.getall("Warning", [])


async def test_create_answers_201_with_the_stored_object(device: Device) -> None:
    status, obj = await device.call("POST", MAPS, config_map("a", k="v"))
    assert status == 201
    assert obj["metadata"]["namespace"] == "default"
    stored = device.store.get("configmaps", "default", "a")
    assert obj == stored.decode()
    status, body = await device.call("POST", MAPS, config_map("a"))
    assert (status, body["reason"]) == (409, "AlreadyExists")
    assert body["details"] == {"name": "a", "kind": "configmaps"}


async def test_yaml_bodies_are_taken(device: Device) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\ndata: {k: v}\n"
    status, obj = await device.call("POST", MAPS, body, media="application/yaml")
    assert (status, obj["data"]) == (201, {"k": "v"})


async def test_a_dry_run_stores_nothing(device: Device) -> None:
    status, obj = await device.call("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert (status, obj["metadata"]["name"]) == (201, "a")
    assert device.store.find("configmaps", "default", "a") is None


@pytest.mark.parametrize("asked", ["", "all", "None"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", MAPS), ("PATCH", f"{MAPS}/a"), ("DELETE", f"{MAPS}/a")]
)
async def test_only_all_is_a_dry_run(device: Device, method: str, path: str, asked: str) -> None:
    """Whoever writes it otherwise hardly wants it done."""
    await device.call("POST", MAPS, config_map("a"))
    body = None if method == "DELETE" else config_map("b")
    media = MERGE if method == "PATCH" else "application/json"
    status, told = await device.call(method, f"{path}?dryRun={asked}", body, media=media)
    assert (status, told["reason"]) == (422, "Invalid")
    assert "dryRun" in told["message"]
    assert [stored.name for stored in device.store.list("configmaps", "default").items] == ["a"]


async def test_replace_checks_the_version(device: Device) -> None:
    _, first = await device.call("POST", MAPS, config_map("a", k="1"))
    status, second = await device.call("PUT", f"{MAPS}/a", {**first, "data": {"k": "2"}})
    assert (status, second["data"]) == (200, {"k": "2"})
    status, body = await device.call("PUT", f"{MAPS}/a", {**first, "data": {"k": "3"}})
    assert (status, body["reason"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (MERGE, {"data": {"k": "2", "gone": None}}),
        (STRATEGIC, {"data": {"k": "2", "gone": None}}),
        (
            JSON_PATCH,
            [
                {"op": "replace", "path": "/data/k", "value": "2"},
                {"op": "remove", "path": "/data/gone"},
            ],
        ),
    ],
    ids=["merge", "strategic", "json"],
)
async def test_each_patch_type_patches(device: Device, media: str, patch: Any) -> None:
    await device.call("POST", MAPS, config_map("a", k="1", gone="x", kept="y"))
    status, obj = await device.call("PATCH", f"{MAPS}/a", patch, media=media)
    assert (status, obj["data"]) == (200, {"k": "2", "kept": "y"})


async def test_a_strategic_patch_merges_containers_by_name(device: Device) -> None:
    await device.call("POST", DEPLOYMENTS, deployment("web"))
    containers = [{"name": "main", "image": "nginx:1.26"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    _, obj = await device.call("PATCH", f"{DEPLOYMENTS}/web", patch, media=STRATEGIC)
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["ports"][0]["containerPort"]) == ("nginx:1.26", 80)


async def test_fields_are_strict_warned_of_or_ignored(device: Device) -> None:
    wrong = {**deployment("web"), "speck": 1}
    wrong["spec"]["replcas"] = 3
    status, body = await device.call("POST", f"{DEPLOYMENTS}?fieldValidation=Strict", wrong)
    assert (status, body["message"]) == (
        400,
        (
            'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
            'unknown field "spec.replcas", unknown field "speck"'
        ),
    )
    dry = f"{DEPLOYMENTS}?dryRun=All"
    told = [r'299 - "unknown field \"spec.replcas\""', r'299 - "unknown field \"speck\""']
    assert await warnings(device, "POST", dry, wrong) == (201, told)
    assert await warnings(device, "POST", f"{dry}&fieldValidation=Ignore", wrong) == (201, [])


async def test_fields_that_are_not_acted_on_are_told(device: Device) -> None:
    obj = pod("p")
    obj["spec"]["hostname"] = ""
    resize = [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
    obj["spec"]["containers"][0]["resizePolicy"] = resize
    status, told = await warnings(device, "POST", "/api/v1/namespaces/default/pods", obj)
    assert status == 201
    assert any("spec.containers[0].resizePolicy" in text for text in told)


@pytest.mark.parametrize(
    ("method", "path", "change", "told"),
    [
        (
            "PUT", "/a", {"metadata": {"name": "b"}},
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "PUT", "/a", {"metadata": {}},
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        ),
        (
            "POST", "", {"metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "POST", "", {"apiVersion": "v2"},
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            "POST", "", {"kind": "Service"},
            ('Service in version "v1" cannot be handled as a ConfigMap: converting (v1.Service) to '
            "(core.ConfigMap): unknown conversion"),
        ),
    ],
    ids=["name", "no-name", "namespace", "version", "kind"],
)  # fmt: skip
async def test_what_does_not_belong_to_the_url_is_refused(
    device: Device, method: str, path: str, change: Any, told: str
) -> None:
    await device.call("POST", MAPS, config_map("a"))
    status, body = await device.call(method, MAPS + path, {**config_map("a"), **change})
    assert (status, body["message"]) == (400, told)


async def test_a_patch_may_not_rename(device: Device) -> None:
    await device.call("POST", MAPS, config_map("a"))
    patch = {"metadata": {"name": "b"}}
    status, body = await device.call("PATCH", f"{MAPS}/a", patch, media=MERGE)
    assert status == 400
    assert "does not match the name on the URL" in body["message"]


async def test_unspoken_media_types_are_415(device: Device) -> None:
    status, body = await device.call("POST", MAPS, b"<xml/>", media="application/xml")
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "(<empty>)"),
        (b"{", "unexpected end of JSON input"),
        (b"[]", "cannot unmarshal array"),
        (b"[" * 100_000, ""),
    ],
    ids=["empty", "half", "array", "deep"],
)
async def test_malformed_bodies_are_400(device: Device, body: bytes, told: str) -> None:
    status, answer = await device.call("POST", MAPS, body)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert told in answer["message"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_above_the_limit_is_413(device: Device, chunked: bool) -> None:
    big = b'{"data":{"a":"' + b"x" * (4 << 20)

    async def pieces() -> Any:
        yield big

    async with device.client.post(
        device.url + MAPS, data=pieces() if chunked else io.BytesIO(big),
        headers={"Content-Type": "application/json"},
    ) as response:  # fmt: skip
        body = await response.json()
        assert (response.status, body["reason"]) == (413, "RequestEntityTooLarge")
        assert body["message"] == "Request entity too large: limit is 3145728"


async def test_delete_tells_what_is_gone(device: Device) -> None:
    _, obj = await device.call("POST", MAPS, config_map("a"))
    status, body = await device.call("DELETE", f"{MAPS}/a")
    assert (status, body["status"]) == (200, "Success")
    uid = obj["metadata"]["uid"]
    assert body["details"] == {"name": "a", "kind": "configmaps", "uid": uid}
    status, body = await device.call("DELETE", f"{MAPS}/a")
    assert (status, body["message"]) == (404, 'configmaps "a" not found')


async def test_a_graceful_delete_shows_the_object_on_its_way_out(device: Device) -> None:
    pods = "/api/v1/namespaces/default/pods"
    await device.call("POST", pods, pod("p"))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 7}
    status, body = await device.call("DELETE", f"{pods}/p", options)
    assert (status, body["kind"]) == (200, "Pod")
    assert body["metadata"]["deletionGracePeriodSeconds"] == 7
    status, body = await device.call("DELETE", f"{pods}/p?gracePeriodSeconds=0")
    assert (status, body["kind"]) == (200, "Pod"), "generated clients decode it as one"
    assert (await device.call("GET", f"{pods}/p"))[0] == 404


async def test_delete_honours_preconditions(device: Device) -> None:
    await device.call("POST", MAPS, config_map("a"))
    status, body = await device.call("DELETE", f"{MAPS}/a", {"preconditions": {"uid": "other"}})
    assert (status, body["reason"]) == (409, "Conflict")


async def test_a_collection_is_deleted_by_selector(device: Device) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        await device.call("POST", MAPS, config_map(name, {"tier": tier}))
    status, body = await device.call("DELETE", f"{MAPS}?labelSelector=tier%3Dfront")
    assert status == 200
    assert [item["metadata"]["name"] for item in body["items"]] == ["a", "c"]
    assert [stored.name for stored in device.store.list("configmaps").items] == ["b"]


async def test_scale_reads_and_writes_replicas(device: Device) -> None:
    await device.call("POST", DEPLOYMENTS, deployment("web", replicas=2))
    path = f"{DEPLOYMENTS}/web/scale"
    _, scale = await device.call("GET", path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    status, changed = await device.call("PUT", path, {**scale, "spec": {"replicas": 4}})
    assert (status, changed["spec"]) == (200, {"replicas": 4})
    assert (await device.call("PUT", path, {**scale, "spec": {"replicas": 9}}))[0] == 409
    _, changed = await device.call("PATCH", path, {"spec": {"replicas": 1}}, media=MERGE)
    assert changed["spec"] == {"replicas": 1}
    status, body = await device.call("PATCH", path, {"spec": {"replicas": -1}}, media=MERGE)
    assert (status, body["message"]) == (
        422,
        (
            'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: '
            "must be greater than or equal to 0"
        ),
    )


async def test_status_and_spec_are_written_apart(device: Device) -> None:
    await device.call("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web"
    patch = {"spec": {"replicas": 9}, "status": {"observedGeneration": 1}}
    _, obj = await device.call("PATCH", f"{path}/status", patch, media=MERGE)
    assert (obj["spec"]["replicas"], obj["status"]["observedGeneration"]) == (3, 1)
    _, obj = await device.call("PATCH", path, {"status": {"observedGeneration": 5}}, media=MERGE)
    assert obj["status"]["observedGeneration"] == 1


async def test_a_pod_is_bound_once(device: Device) -> None:
    obj = pod("p")
    del obj["spec"]["nodeName"]
    path = "/api/v1/namespaces/default/pods"
    await device.call("POST", path, obj)
    binding = {"kind": "Binding", "apiVersion": "v1", "target": {"kind": "Node", "name": "here"}}
    status, body = await device.call("POST", f"{path}/p/binding", binding)
    assert (status, body["status"]) == (201, "Success")
    assert device.store.get("pods", "default", "p").decode()["spec"]["nodeName"] == "here"
    status, body = await device.call("POST", f"{path}/p/binding", binding)
    assert (status, body["reason"]) == (409, "Conflict")
    assert 'pod p is already assigned to node "here"' in body["message"]


async def test_a_namespace_is_finalized(device: Device) -> None:
    path = "/api/v1/namespaces/n"
    await device.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    _, obj = await device.call("DELETE", path)
    assert obj["status"]["phase"] == "Terminating"
    status, _ = await device.call("PUT", f"{path}/finalize", {**obj, "spec": {"finalizers": []}})
    assert status == 200
    assert device.store.find("namespaces", "", "n") is None


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/api/v1/configmaps", 405),
        ("POST", f"{MAPS}/a", 405),
        ("PUT", MAPS, 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("POST", "/version", 405),
        ("GET", "/api/v1/namespaces/default/pods/p/nothing", 404),
        ("GET", "/api/v1/configmaps/a", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis/apps/v2", 404),
        ("GET", "/nowhere", 404),
        ("OPTIONS", MAPS, 405),
    ],
)
async def test_what_is_not_there_is_told(device: Device, method: str, path: str, code: int) -> None:
    status, body = await device.call(method, path)
    assert (status, body["kind"]) == (code, "Status")


async def test_what_is_to_be_created_has_no_version_yet(device: Device) -> None:
    obj = config_map("m")
    obj["metadata"]["resourceVersion"] = "5"
    status, told = await device.call("POST", MAPS, obj)
    assert (status, told["reason"]) == (400, "BadRequest")
    assert told["message"] == "resourceVersion should not be set on objects to be created"
