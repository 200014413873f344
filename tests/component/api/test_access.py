"""Every request passes the authorizer; who may not is told so in the API server's words.

The administrator acts as others here (impersonation), so that no tokens need to be made.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from edgeorch.api import auth
from edgeorch.core import roles
from tests.component.api.conftest import Device, config_map, pod

RBAC = "rbac.authorization.k8s.io"
RBAC_URL = f"/apis/{RBAC}/v1"
NS = "/api/v1/namespaces/default"
REVIEWS = "/apis/authorization.k8s.io/v1"
ROBOT = "system:serviceaccount:default:robot"


def as_(user: str, group: str = "") -> dict[str, Any]:
    """Headers."""
    found = {"Impersonate-User": user}
    return {**found, "Impersonate-Group": group} if group else found


def having(role: str) -> dict[str, Any]:
    return as_(role, roles.group(role))


def role(name: str, *rules: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name},
        "rules": list(rules),
    }


def binding(name: str, to: str, subject: dict[str, str], kind: str = "Role") -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": to},
        "subjects": [subject],
    }


READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
ACCOUNT = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}


async def test_who_brings_nothing_gets_nothing(device: Device) -> None:
    """On every path that is served, by every method, streams and sockets too."""
    asked = ["/", "/api", "/apis", "/openapi/v2", "/openapi/v3", "/metrics", "/nowhere"]
    for kind in device.store.registry.served():
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        asked += [f"{base}/{kind.plural}", f"{base}/{kind.plural}?watch=true"]
        where = "/namespaces/default" if kind.namespaced else ""
        named = f"{base}{where}/{kind.plural}/x"
        asked += [named, *(f"{named}/{subresource}" for subresource in kind.subresources)]
    sockets = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    sockets |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    attempts: list[tuple[str, dict[str, str]]] = [
        *((method, {}) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
        ("GET", sockets), ("POST", {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}),
        ("GET", {"Authorization": "Bearer "}), ("GET", {"Impersonate-User": "system:admin"}),
    ]  # fmt: skip
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as client:
        for path in asked:
            for method, headers in attempts:
                async with client.request(method, device.url + path, headers=headers) as response:
                    text = await response.text()
                    assert response.status in (401, 429), (method, path, text)
                    assert '"status":"Failure"' in text


async def test_a_refusal_is_worded_as_kubernetes_words_it(device: Device) -> None:
    code, told = await device.call("GET", f"{NS}/secrets", **having("view"))
    assert (code, told["reason"]) == (403, "Forbidden")
    assert told["message"] == (
        'secrets is forbidden: User "view" cannot list resource "secrets" in API group "" in the '
        'namespace "default"'
    )
    _, told = await device.call("GET", f"{NS}/pods/x/exec", **having("view"))
    assert told["message"] == (
        'pods "x" is forbidden: User "view" cannot get resource "pods/exec" in API group "" in the '
        'namespace "default"'
    )
    _, told = await device.call("GET", f"{RBAC_URL}/clusterroles", **having("view"))
    assert told["message"] == (
        f'clusterroles.{RBAC} is forbidden: User "view" cannot list resource "clusterroles" in '
        f'API group "{RBAC}" at the cluster scope'
    )
    assert told["details"] == {"group": RBAC, "kind": "clusterroles"}
    _, told = await device.call("GET", "/metrics", **having("view"))
    assert told["message"] == 'forbidden: User "view" cannot get path "/metrics"'


@pytest.mark.parametrize(
    ("method", "path", "role", "code"),
    [
        ("GET", f"{NS}/configmaps", "view", 200),
        ("GET", "/api/v1/nodes", "view", 200),
        ("GET", f"{NS}/configmaps?watch=true&timeoutSeconds=1", "fleet", 403),
        ("GET", "/metrics", "metrics", 200),
        ("GET", "/readyz", "fleet", 200),
        ("GET", "/apis", "fleet", 200),
        ("GET", "/openapi/v2", "metrics", 200),
        ("GET", "/", "edit", 403),
        ("DELETE", f"{NS}/configmaps/x", "view", 403),
        ("DELETE", f"{NS}/configmaps/x", "edit", 404),
        ("DELETE", f"{NS}/configmaps", "view", 403),
        ("DELETE", "/api/v1/nodes/x", "edit", 403),
        ("DELETE", "/api/v1/nodes/x", "admin", 404),
        ("GET", f"{NS}/secrets?watch=true", "view", 403),
        ("GET", f"{NS}/pods/x/log", "view", 404),
        ("GET", f"{NS}/pods/x/log?follow=true", "metrics", 403),
        ("POST", f"{NS}/pods/x/attach", "view", 403),
        ("POST", f"{NS}/pods/x/portforward", "view", 403),
        ("POST", f"{NS}/pods/x/exec", "edit", 503),
        ("GET", "/api/v1/nodes/x/proxy/metrics", "edit", 403),
        ("GET", "/apis/metrics.k8s.io/v1beta1/nodes", "fleet", 403),
    ],
)
async def test_roles_at_the_door(
    device: Device, method: str, path: str, role: str, code: int
) -> None:
    async with device.client.request(method, device.url + path, headers=having(role)) as response:
        assert response.status == code, await response.text()


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
async def test_a_socket_is_refused_before_it_is_one(device: Device, subresource: str) -> None:
    await device.call("POST", f"{NS}/pods", pod("p"))
    url = f"{device.url}{NS}/pods/p/{subresource}?command=id&stdout=true&ports=80"
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await device.client.ws_connect(url, protocols=["v5.channel.k8s.io"], headers=having("view"))
    assert caught.value.status == 403
    spdy = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"} | having("view")
    async with device.client.post(url, headers=spdy) as response:
        assert response.status == 403
    # To look is not to act: a WebSocket begins with GET, so GET alone is not enough.
    look = {"apiGroups": [""], "resources": [f"pods/{subresource}"], "verbs": ["get"]}
    await device.call("POST", f"{RBAC_URL}/namespaces/default/roles", role("look", look))
    user = {"kind": "User", "apiGroup": RBAC, "name": "ann"}
    await device.call(
        "POST", f"{RBAC_URL}/namespaces/default/rolebindings", binding("b", "look", user)
    )
    _, told = await device.call("GET", url.removeprefix(device.url), **as_("ann"))
    assert f'cannot create resource "pods/{subresource}"' in told["message"]


async def test_an_account_may_what_is_bound_to_it_from_then_on(device: Device) -> None:
    robot = as_(ROBOT)
    assert (await device.call("GET", f"{NS}/pods", **robot))[0] == 403
    assert (await device.call("GET", "/apis", **robot))[0] == 200
    await device.call("POST", f"{RBAC_URL}/namespaces/default/roles", role("reader", READ_PODS))
    url = f"{RBAC_URL}/namespaces/default/rolebindings"
    assert (await device.call("POST", url, binding("b", "reader", ACCOUNT)))[0] == 201
    assert (await device.call("GET", f"{NS}/pods", **robot))[0] == 200
    assert (await device.call("GET", "/api/v1/pods", **robot))[0] == 403
    assert (await device.call("GET", f"{NS}/configmaps", **robot))[0] == 403
    assert (await device.call("DELETE", f"{url}/b"))[0] == 200
    assert (await device.call("GET", f"{NS}/pods", **robot))[0] == 403


async def test_one_name_may_be_listed_and_watched(device: Device) -> None:
    named = {**READ_PODS, "resources": ["configmaps"], "resourceNames": ["own"]}
    await device.call("POST", f"{RBAC_URL}/namespaces/default/roles", role("own", named))
    url = f"{RBAC_URL}/namespaces/default/rolebindings"
    await device.call("POST", url, binding("b", "own", ACCOUNT))
    maps = f"{NS}/configmaps"
    for path, code in (
        (f"{maps}?fieldSelector=metadata.name=own", 200),
        (f"{maps}?fieldSelector=metadata.name%3D%3Down", 200),
        (f"{maps}?fieldSelector=metadata.name!=own", 403),
        (f"{maps}?fieldSelector=metadata.name=other", 403),
        # An escaped comma is no comma: this selects all whose namespace is another.
        (f"{maps}?fieldSelector=metadata.namespace!=a%5C%2Cmetadata.name%3Down", 403),
        (f"{maps}?fieldSelector=metadata.name=own,metadata.namespace=default", 200),
        (f"{maps}?fieldSelector=metadata.name=own,,%5C", 403),
        (maps, 403),
        (f"{maps}/own", 404),
        (f"{maps}/other", 403),
    ):
        assert (await device.call("GET", path, **as_(ROBOT)))[0] == code, path


async def test_nobody_grants_what_they_have_not(device: Device) -> None:
    """A namespace's administrator makes roles of what they may themselves, and no others."""
    ann = as_("ann")
    url = f"{RBAC_URL}/namespaces/default"
    user = {"kind": "User", "apiGroup": RBAC, "name": "ann"}
    made = binding("ann", "admin", user, kind="ClusterRole")
    assert (await device.call("POST", f"{url}/rolebindings", made))[0] == 201
    assert (await device.call("POST", f"{url}/roles", role("reader", READ_PODS), **ann))[0] == 201
    nodes = {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]}
    code, told = await device.call("POST", f"{url}/roles", role("more", nodes), **ann)
    assert code == 403
    assert told["message"] == (
        f'roles.{RBAC} "more" is forbidden: user "ann" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods/binding"], Verbs:["create"]}'
    )
    widened = json.dumps({"rules": [nodes]}).encode()
    for media in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        code, _ = await device.call("PATCH", f"{url}/roles/reader", widened, media=media, **ann)
        assert code == 403, media
    applied = json.dumps(role("reader", nodes)).encode()
    code, _ = await device.call(
        "PATCH", f"{url}/roles/reader?fieldManager=a&force=true", applied,
        media="application/apply-patch+yaml", **ann,
    )  # fmt: skip
    assert code == 403
    assert (await device.call("PUT", f"{url}/roles/reader", role("reader", nodes), **ann))[0] == 403
    assert (await device.call("PUT", f"{url}/roles/new", role("new", nodes), **ann))[0] == 403
    everything = binding("up", "cluster-admin", user, kind="ClusterRole")
    assert (await device.call("POST", f"{url}/rolebindings", everything, **ann))[0] == 403
    missing = binding("up", "nowhere", user)
    assert (await device.call("POST", f"{url}/rolebindings", missing, **ann))[0] == 404
    fair = binding("fair", "reader", ACCOUNT)
    assert (await device.call("POST", f"{url}/rolebindings", fair, **ann))[0] == 201
    # What the administrator has widened stays, and can be labelled.
    assert (await device.call("PUT", f"{url}/roles/reader", role("reader", nodes)))[0] == 200
    label = b'{"metadata":{"labels":{"a":"b"}}}'
    media = "application/merge-patch+json"
    code, _ = await device.call("PATCH", f"{url}/roles/reader", label, media=media, **ann)
    assert code == 200


async def test_to_make_by_update_or_apply_is_to_create(device: Device) -> None:
    rule = {"apiGroups": ["", RBAC], "resources": ["*"], "verbs": ["update", "patch"]}
    await device.call("POST", f"{RBAC_URL}/namespaces/default/roles", role("change", rule))
    url = f"{RBAC_URL}/namespaces/default/rolebindings"
    await device.call("POST", url, binding("b", "change", ACCOUNT))
    robot = as_(ROBOT)
    maps = f"{NS}/configmaps"
    body = json.dumps(config_map("new")).encode()
    code, told = await device.call(
        "PATCH", f"{maps}/new?fieldManager=a", body, media="application/apply-patch+yaml", **robot
    )
    assert (code, "cannot create resource" in told["message"]) == (403, True)
    made = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {}}
    assert (await device.call("PUT", f"{NS}/limitranges/l", made, **robot))[0] == 403
    await device.call("POST", maps, config_map("old"))
    assert (await device.call("PUT", f"{maps}/old", config_map("old", a="b"), **robot))[0] == 200


async def review(device: Device, kind: str, spec: dict[str, Any], url: str, **headers: Any) -> Any:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    code, found = await device.call("POST", url, body, **headers)
    assert code == 201, found
    return found["status"]


async def test_reviews_tell_the_truth(device: Device) -> None:
    own, url = "SelfSubjectAccessReview", f"{REVIEWS}/selfsubjectaccessreviews"
    for verb, resource, subresource, allowed in (
        ("list", "pods", "", True), ("list", "secrets", "", False),
        ("create", "pods", "exec", False), ("get", "pods", "log", True),
    ):  # fmt: skip
        attributes = {"verb": verb, "resource": resource, "subresource": subresource}
        asked = {"resourceAttributes": {**attributes, "namespace": "default"}}
        found = await review(device, own, asked, url, **having("view"))
        assert found["allowed"] is allowed, attributes
    spec: dict[str, Any] = {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    assert (await review(device, own, spec, url, **having("metrics")))["allowed"] is True
    assert (await review(device, own, spec, url, **having("view")))["allowed"] is False
    spec = {"resourceAttributes": {"verb": "list", "resource": "secrets"}, "user": "x"}
    other, url = "SubjectAccessReview", f"{REVIEWS}/subjectaccessreviews"
    assert (await review(device, other, spec, url))["allowed"] is False
    spec["groups"] = [roles.MASTERS]
    assert (await review(device, other, spec, url))["allowed"] is True
    assert (await device.call("POST", url, {"spec": spec}, **having("edit")))[0] == 403
    url = f"{REVIEWS}/selfsubjectrulesreviews"
    rules = await review(
        device, "SelfSubjectRulesReview", {"namespace": "default"}, url, **having("fleet")
    )
    assert rules["incomplete"] is False
    assert ["bundles/manifests"] in [rule["resources"] for rule in rules["resourceRules"]]
    assert any("/apis" in rule["nonResourceURLs"] for rule in rules["nonResourceRules"])


async def whoami(device: Device, **headers: str) -> tuple[int, Any]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    url = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    return await device.call("POST", url, body, **headers)


async def test_acting_as_others(device: Device) -> None:
    headers = {"Impersonate-User": "ann", "Impersonate-Uid": "7", "Impersonate-Extra-why%2fso": "x"}
    _, found = await whoami(device, **headers)
    assert found["status"]["userInfo"] == {
        "username": "ann", "uid": "7", "groups": ["system:authenticated"],
        "extra": {"why/so": ["x"]},
    }  # fmt: skip
    _, found = await whoami(device, **as_(ROBOT))
    assert found["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated",
    ]  # fmt: skip
    code, found = await device.call("GET", f"{NS}/pods", **{"Impersonate-Group": "system:masters"})
    assert (code, found["reason"]) == (400, "BadRequest")


async def test_acting_as_others_needs_the_right_to(device: Device) -> None:
    token = "a" * 32
    tokens = auth.parse_tokens(f'{token},ann,1,"{roles.group("edit")}"')
    device.authenticator.replace(tokens)
    own = {"Authorization": f"Bearer {token}"}
    assert (await whoami(device, **own))[0] == 201
    # The role edit may act as service accounts, as in Kubernetes, and as nobody else.
    _, found = await whoami(device, **own, **as_(ROBOT))
    assert found["status"]["userInfo"]["username"] == ROBOT
    for headers, what in (
        (as_("bob"), 'cannot impersonate resource "users" in API group "" at the cluster scope'),
        (as_(ROBOT, roles.MASTERS), 'cannot impersonate resource "groups"'),
        (as_(ROBOT) | {"Impersonate-Uid": "1"}, 'cannot impersonate resource "uids"'),
        (as_(ROBOT) | {"Impersonate-Extra-x": "1"}, 'impersonate resource "userextras/x"'),
    ):
        code, found = await whoami(device, **own, **headers)
        assert (code, what in found["message"]) == (403, True), found
