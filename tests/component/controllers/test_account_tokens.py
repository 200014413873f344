"""Secrets of type service-account-token, on a real store."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.controllers import account_tokens, world
from edgeorch.lib import clock as clocks
from edgeorch.lib import tasks
from tests.component.controllers import conftest as made

Object = dict[str, Any]


class Issuer:
    def for_secret(self, account: Object, secret: Object) -> str:
        return f"{account['metadata']['name']}:{secret['metadata']['uid']}"


@pytest.fixture
async def issuing(device: made.Device) -> AsyncIterator[made.Device]:
    """With a world of its own, as the device's is out of reach."""
    shared = world.World(device.store, device.events, clocks.SystemClock(), made.NODE)
    controller = account_tokens.AccountTokens(shared, Issuer(), "a certificate")
    loops = [asyncio.ensure_future(each.run()) for each in (shared, controller)]
    yield device
    await tasks.cancel_and_wait(*loops)


def account(name: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def secret(of: str) -> Object:
    notes = {"kubernetes.io/service-account.name": of}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": account_tokens.TYPE,
        "metadata": {"name": "key", "namespace": "default", "annotations": notes},
    }


async def test_it_is_filled_kept_and_goes_with_its_account(issuing: made.Device) -> None:
    store = issuing.store
    uid = (await store.create("serviceaccounts", account("robot"))).decode()["metadata"]["uid"]
    await store.create("secrets", secret("robot"))
    await issuing.until(lambda: issuing.get("secrets", "key").get("data"), "data")
    held = issuing.get("secrets", "key")
    data = {key: base64.b64decode(value).decode() for key, value in held["data"].items()}
    token = f"robot:{held['metadata']['uid']}"
    assert data == {"ca.crt": "a certificate", "namespace": "default", "token": token}
    assert held["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid

    await issuing.edit("secrets", "key", lambda obj: obj["data"].pop("token"))
    await issuing.until(lambda: "token" in issuing.get("secrets", "key")["data"], "a token again")
    await store.delete("serviceaccounts", "default", "robot")
    await issuing.until(lambda: issuing.find("secrets", "key") is None, "gone with its account")


async def test_without_an_account_it_is_deleted(issuing: made.Device) -> None:
    await issuing.store.create("secrets", secret("nobody"))
    await issuing.until(lambda: issuing.find("secrets", "key") is None, "gone")
