"""Server-side apply, the books of other writes, views in a second form, reviews and tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeorch.api import auth, service_tokens
from edgeorch.lib import clock as clocks

from .conftest import Device

APPLY = "application/apply-patch+yaml"
MAPS = "/api/v1/namespaces/default/configmaps"


def config(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default"},
        "data": data,
    }


async def apply(device: Device, by: str, more: str = "", **data: str) -> tuple[int, Any]:
    url = f"{MAPS}/a?fieldManager={by}{more}"
    return await device.call("PATCH", url, config(**data), media=APPLY)


async def test_apply_makes_what_is_not_there_and_then_changes_it(device: Device) -> None:
    assert (await apply(device, "one", x="1"))[0] == 201
    code, obj = await apply(device, "one", y="2")
    assert (code, obj["data"]) == (200, {"y": "2"})
    [entry] = obj["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:y": {}}}


async def test_those_who_make_it_at_once_all_apply(device: Device) -> None:
    found = await asyncio.gather(*(apply(device, by, **{by: "1"}) for by in "abcde"))
    assert sorted(code for code, _ in found) == [200] * 4 + [201]
    held = device.store.get("configmaps", "default", "a").decode()
    assert held["data"] == dict.fromkeys("abcde", "1")
    assert [entry["manager"] for entry in held["metadata"]["managedFields"]] == [*"abcde"]


async def test_what_another_manager_owns_is_a_conflict_unless_forced(device: Device) -> None:
    await apply(device, "one", x="1")
    code, status = await apply(device, "two", x="2")
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}
    ]
    code, obj = await apply(device, "two", "&force=true", x="2")
    assert (code, obj["data"]) == (200, {"x": "2"})


async def test_the_same_value_is_owned_together(device: Device) -> None:
    await apply(device, "one", x="1")
    _, obj = await apply(device, "two", x="1")
    assert [entry["manager"] for entry in obj["metadata"]["managedFields"]] == ["one", "two"]


async def test_a_dry_run_of_apply_leaves_nothing(device: Device) -> None:
    assert (await apply(device, "one", "&dryRun=All", x="1"))[0] == 201
    assert device.store.find("configmaps", "default", "a") is None


async def test_apply_needs_a_manager_and_known_fields(device: Device) -> None:
    code, status = await device.call("PATCH", f"{MAPS}/a", config(x="1"), media=APPLY)
    assert (code, status["details"]["causes"][0]["field"]) == (422, "fieldManager")
    body = {**config(), "nonsense": 1}
    code, status = await device.call("PATCH", f"{MAPS}/a?fieldManager=m", body, media=APPLY)
    assert code == 400
    assert ".nonsense: field not declared in schema" in status["message"]


async def test_other_writes_are_booked_too(device: Device) -> None:
    await device.call("POST", f"{MAPS}?fieldManager=maker", config(x="1"))
    patch = {"data": {"x": "2"}}
    url = f"{MAPS}/a?fieldManager=patcher"
    _, obj = await device.call("PATCH", url, patch, media="application/merge-patch+json")
    books = {e["manager"]: e["fieldsV1"] for e in obj["metadata"]["managedFields"]}
    assert books["patcher"] == {"f:data": {"f:x": {}}}
    assert books["maker"] == {"f:data": {}}, "the map that it made is all that it still owns"


async def test_events_have_two_forms(device: Device) -> None:
    url = "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "Do",
        "reason": "Done",
        "type": "Normal",
        "note": "it is",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
    }
    code, made = await device.call("POST", url, event)
    assert (code, made["note"]) == (201, "it is")
    _, core = await device.call("GET", "/api/v1/namespaces/default/events/e")
    assert (core["message"], core["involvedObject"]["name"]) == ("it is", "p")
    _, listed = await device.call("GET", url)
    assert [each["regarding"]["name"] for each in listed["items"]] == ["p"]


async def test_autoscalers_of_v1_are_those_of_v2(device: Device) -> None:
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
        },
    }
    place = "namespaces/default/horizontalpodautoscalers"
    code, _ = await device.call("POST", f"/apis/autoscaling/v1/{place}", scaler)
    assert code == 201
    _, v2 = await device.call("GET", f"/apis/autoscaling/v2/{place}/h")
    assert v2["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    _, v1 = await device.call("GET", f"/apis/autoscaling/v1/{place}/h")
    assert v1["spec"]["targetCPUUtilizationPercentage"] == 50


async def test_whoever_asks_is_told_who_they_are_and_what_they_may(device: Device) -> None:
    url = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    code, me = await device.call("POST", url, body)
    assert (code, me["status"]["userInfo"]["username"]) == (201, "system:admin")
    url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    spec = {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    _, review = await device.call("POST", url, {**body, "spec": spec})
    assert review["status"]["allowed"] is True


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}


@pytest.fixture
async def tokens(device: Device) -> service_tokens.ServiceTokens:
    await device.call("POST", "/api/v1/namespaces/default/serviceaccounts", ACCOUNT)
    return service_tokens.ServiceTokens(device.store, b"k" * 32, clocks.ManualClock(), "boot-1")


def issued(device: Device, tokens: service_tokens.ServiceTokens) -> str:
    account = device.store.get("serviceaccounts", "default", "robot").decode()
    return tokens.issue(account, [service_tokens.AUDIENCE], 3600)[0]


async def test_a_token_is_its_account(device: Device, tokens: service_tokens.ServiceTokens) -> None:
    user = tokens.identify(issued(device, tokens))
    assert user is not None
    assert user.name == "system:serviceaccount:default:robot"
    assert set(user.groups) == {
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        auth.AUTHENTICATED,
    }


async def test_a_changed_token_or_another_audience_is_nobody(
    device: Device, tokens: service_tokens.ServiceTokens
) -> None:
    token = issued(device, tokens)
    assert tokens.identify(token[:-2] + ("AA" if token[-2:] != "AA" else "BB")) is None
    assert tokens.identify(token, ["https://elsewhere"]) is None
    assert tokens.identify("a.b.c") is None


async def test_a_token_ends_with_its_account(
    device: Device, tokens: service_tokens.ServiceTokens
) -> None:
    token = issued(device, tokens)
    await device.store.delete("serviceaccounts", "default", "robot")
    assert tokens.identify(token) is None


async def test_a_token_runs_out_by_the_time_since_boot(device: Device) -> None:
    await device.call("POST", "/api/v1/namespaces/default/serviceaccounts", ACCOUNT)
    clock = clocks.ManualClock()
    tokens = service_tokens.ServiceTokens(device.store, b"k" * 32, clock, "boot-1")
    token = issued(device, tokens)
    clock.advance(3500)
    assert tokens.identify(token) is not None
    clock.advance(200)
    assert tokens.identify(token) is None


async def test_a_scale_is_applied_too(device: Device) -> None:
    labels = {"app": "s"}
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await device.call(
        "POST",
        f"{deployments}?fieldManager=maker",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "s"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        },
    )

    async def scale(count: int, more: str = "") -> tuple[int, Any]:
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": count}}
        url = f"{deployments}/s/scale?fieldManager=scaler{more}"
        return await device.call("PATCH", url, body, media=APPLY)

    code, status = await scale(3)
    assert code == 409
    assert ".spec.replicas" in status["message"]
    code, found = await scale(3, "&force=true")
    assert (code, found["kind"], found["spec"]["replicas"]) == (200, "Scale", 3)
    _, obj = await device.call("GET", f"{deployments}/s")
    (book,) = (e for e in obj["metadata"]["managedFields"] if e["manager"] == "scaler")
    assert (book["subresource"], book["fieldsV1"]) == ("scale", {"f:spec": {"f:replicas": {}}})
    code, status = await scale(-1, "&force=true")
    assert code == 422
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in str(status)
