"""Tokens of service accounts: for whom, how long, and when they are over."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from edgeorch.api import service_tokens
from edgeorch.lib import json
from edgeorch.model import errors, views
from edgeorch.store.stored import Stored
from tests.unit.core import pods

Object = dict[str, Any]


class Shop:
    """Objects by resource and name."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Object] = {}
        self.put("serviceaccounts", "robot")
        self.put("pods", "p", uid="u")
        self.put("secrets", "s")

    def put(self, resource: str, name: str, uid: str = "") -> Object:
        meta = {"name": name, "namespace": "default", "uid": uid or f"uid-{name}"}
        self.held[resource, name] = {"metadata": meta}
        return self.held[resource, name]

    def find(self, resource: str, namespace: str, name: str) -> Stored | None:
        found = self.held.get((resource, name))
        return Stored(resource, namespace, name, 1, json.encode(found)) if found else None

    def get(self, resource: str, namespace: str, name: str) -> Stored:
        found = self.find(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found


class Clock:
    def __init__(self) -> None:
        self.at = 5000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> Any:
        import datetime

        return datetime.datetime.fromtimestamp(1_700_000_000 + self.at, datetime.UTC)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(shop: Shop, clock: Clock) -> service_tokens.ServiceTokens:
    return service_tokens.ServiceTokens(shop, b"k" * 32, clock, "boot")  # type: ignore[arg-type]


def _pod(**spec: Any) -> views.Pod:
    return pods.pod(serviceAccountName="robot", **spec)


def _claims(token: str) -> Object:
    part = token.split(".")[1]
    found: Object = json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_a_pods_token_names_account_and_pod(issuer: service_tokens.ServiceTokens) -> None:
    token = issuer.for_pod(_pod(), "", 600)
    user = issuer.identify(token)
    assert user is not None
    assert user.name == "system:serviceaccount:default:robot"
    assert "system:serviceaccounts:default" in user.groups
    assert dict(user.extra)["authentication.kubernetes.io/pod-name"] == ("p",)
    claims = _claims(token)
    assert claims["exp"] - claims["iat"] == 600
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": "u"}


def test_what_is_mounted_by_itself_goes_on_for_a_year(
    issuer: service_tokens.ServiceTokens, clock: Clock
) -> None:
    token = issuer.for_pod(_pod(), "", 3607)
    other = issuer.for_pod(_pod(), "vault", 3607)
    clock.at += 200 * 24 * 3600
    assert issuer.identify(token) is not None
    assert issuer.identify(other, ["vault"]) is None


def test_an_audience_is_for_others(issuer: service_tokens.ServiceTokens) -> None:
    token = issuer.for_pod(_pod(), "vault", 600)
    assert issuer.identify(token) is None
    assert issuer.identify(token, ["vault"]) is not None


@pytest.mark.parametrize("gone", [("pods", "p"), ("serviceaccounts", "robot")])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_token_ends_with_its_pod_and_its_account(
    issuer: service_tokens.ServiceTokens, shop: Shop, gone: tuple[str, str], replaced: bool
) -> None:
    token = issuer.for_pod(_pod(), "", 600)
    del shop.held[gone]
    if replaced:
        shop.put(*gone, uid="another")
    assert issuer.identify(token) is None


def test_a_token_runs_out(issuer: service_tokens.ServiceTokens, clock: Clock) -> None:
    token = issuer.for_pod(_pod(), "", 600)
    clock.at += 620
    assert issuer.identify(token) is None


def test_a_secrets_token_lasts_as_long_as_the_secret(
    issuer: service_tokens.ServiceTokens, shop: Shop, clock: Clock
) -> None:
    account, secret = shop.held["serviceaccounts", "robot"], shop.held["secrets", "s"]
    token = issuer.for_secret(account, secret)
    assert issuer.identify(token) is None
    secret["data"] = {"token": base64.b64encode(token.encode()).decode()}
    clock.at += 10**9
    assert issuer.identify(token) is not None
    secret["data"] = {"token": base64.b64encode(b"another").decode()}
    assert issuer.identify(token) is None
    del shop.held["secrets", "s"]
    assert issuer.identify(token) is None


def test_without_the_account_there_is_no_token(
    issuer: service_tokens.ServiceTokens, shop: Shop
) -> None:
    del shop.held["serviceaccounts", "robot"]
    with pytest.raises(errors.StatusError, match='serviceaccounts "robot" not found'):
        issuer.for_pod(_pod(), "", 600)
