"""The default ClusterRoles are there, and get back what they lack."""

from __future__ import annotations

import asyncio
from typing import Any

from edgeorch.controllers import cluster_roles
from edgeorch.lib import tasks
from tests.component.controllers.conftest import Device

ROLES, BINDINGS = (
    f"{plural}.rbac.authorization.k8s.io" for plural in ("clusterroles", "clusterrolebindings")
)


async def test_they_are_there_from_the_start_and_are_completed(device: Device) -> None:
    store = device.store

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while len(rules()) != count:
                await asyncio.sleep(0.01)

    def rules() -> list[Any]:
        stored = store.find(ROLES, "", "view")
        return (stored.decode()["rules"] if stored else None) or []

    async with asyncio.timeout(10):
        while store.find(BINDINGS, "", "system:discovery") is None or not rules():
            await asyncio.sleep(0.01)
    whole = len(rules())
    await store.update(ROLES, "", "view", lambda role: {**role, "rules": role["rules"][1:]})
    again = asyncio.ensure_future(cluster_roles.ClusterRoles(store).run())
    await until(whole)
    await tasks.cancel_and_wait(again)
