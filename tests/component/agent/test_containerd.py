"""containerd goes away and comes back; pods on the node's own network."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from edgeorch.runtime import errors
from tests.component.agent.conftest import Lab


async def test_what_happens_while_containerd_is_away_is_seen_afterwards(lab: Lab) -> None:
    await lab.run("dies")
    await lab.run("stays")
    await lab.running("dies")
    stays = await lab.running("stays")
    pid = await lab.pid("dies")
    lab.daemon.kill()
    os.kill(pid, signal.SIGKILL)
    await lab.until(lambda: lab.agent.health() is not None)
    await lab.run("new")
    await asyncio.to_thread(lab.daemon.start)

    await lab.running("dies", restarts=1)
    await lab.running("new")
    assert (await lab.running("stays"))["containerID"] == stays["containerID"]
    await lab.until(lambda: lab.agent.health() is None)


async def test_what_was_made_without_a_word_for_a_pod_that_is_gone_goes_too(lab: Lab) -> None:
    """containerd dies between making a container and saying so; its pod is deleted meanwhile."""
    call, died = lab.client.call, asyncio.Event()

    async def mute(method: Any, request: Any, **options: Any) -> Any:
        answer = await call(method, request, **options)
        if method.name == "/containerd.services.containers.v1.Containers/Create":
            lab.daemon.kill()
            died.set()
            raise errors.Unavailable("the connection to containerd broke")
        return answer

    lab.client.call = mute  # type: ignore[method-assign]
    await lab.run("brief")
    await asyncio.wait_for(died.wait(), 30)
    await lab.delete("brief", grace=0)
    await lab.gone("brief")
    await lab.until(lambda: not lab.agent.pods(), "no worker")
    lab.client.call = call  # type: ignore[method-assign]
    await asyncio.to_thread(lab.daemon.start)
    async with asyncio.timeout(30):
        while await lab.containers.list() or await lab.containers.owned_snapshots():
            await asyncio.sleep(0.05)


async def test_the_node_is_ready_exactly_while_containerd_can_be_used(lab: Lab) -> None:
    def ready() -> str:
        node = lab.objects.find("nodes", "", lab.settings.node_name)
        conditions = node.decode().get("status", {}).get("conditions", []) if node else []
        return str(next((c["status"] for c in conditions if c["type"] == "Ready"), ""))

    async def becomes(wanted: str) -> None:
        async with asyncio.timeout(30), lab.objects.watch("nodes") as changes:
            while ready() != wanted:
                await anext(changes)

    await becomes("True")
    lab.daemon.kill()
    await becomes("False")
    await asyncio.to_thread(lab.daemon.start)
    await becomes("True")


async def test_a_killed_shim_is_a_killed_container(lab: Lab) -> None:
    await lab.run("web")
    await lab.running("web")
    for pid in lab.daemon.shims():
        os.kill(pid, signal.SIGKILL)
    await lab.running("web", restarts=1)


async def test_the_nodes_own_network(lab: Lab) -> None:
    await lab.run("host", hostNetwork=True)
    await lab.running("host")
    assert lab.status("host")["podIP"] == "192.0.2.10"
    assert lab.network.sandboxes() == {}
    await lab.delete("host", grace=0)
    await lab.until(lambda: not lab.agent.pods())

    with pytest.raises(AssertionError):
        lab.status("host")
