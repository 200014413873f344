"""The process dies at every single call to containerd on a pod's way up and down, and another one
goes on: the pod comes, was started once, goes, and leaves nothing.

A death before a call leaves what the calls before it did; one after it leaves a call whose answer
nobody heard. In between nothing of containerd changes. `EDGEORCH_SOAK=1` takes every call, the
short form a few of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from edgeorch.agent import linux
from edgeorch.net import network
from edgeorch.runtime import client, errors
from edgeorch.runtime.pb import tasks_pb2
from tests.component.agent.conftest import Lab
from tests.system import lab as labs


class Mortal:
    """Stands between the agent and containerd; from the moment of death on nothing passes."""

    def __init__(self, containerd: client.Client, at: int, *, heard: bool) -> None:
        """Dies at the call number `at`, from 1 on, before or after it had its effect."""
        self._passes = containerd.call
        self._at = at
        self._heard = heard
        self.calls = 0
        self.dead = asyncio.Event()
        self.buried = False
        containerd.call = self._call  # type: ignore[method-assign]

    async def _call(self, method: Any, request: Any, **options: Any) -> Any:
        if self.dead.is_set():
            await self._never()
        self.calls += 1
        if self.calls != self._at:
            answer = await self._passes(method, request, **options)
            if self.dead.is_set():
                await self._never()
            return answer
        if not self._heard:
            # It goes on by itself: whoever asked is no more.
            with contextlib.suppress(errors.ContainerdError):
                await self._passes(method, request, **options)
        self.dead.set()
        return await self._never()

    async def _never(self) -> None:
        if not self.buried:
            await asyncio.Event().wait()
        raise errors.Unavailable("this process is dead")


async def up(lab: Lab, name: str) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    first = {"name": "first", "image": "busybox", "command": ["true"]}
    await lab.run(
        name,
        container={"volumeMounts": mounts},
        initContainers=[{**first, "imagePullPolicy": "Never", "volumeMounts": mounts}],
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory"}}],
    )


async def life(lab: Lab, name: str) -> None:
    """From whatever there is of it to its end."""
    pod = lab.pod(name)
    if pod is not None and not pod["metadata"].get("deletionTimestamp"):
        await lab.running(name)
        assert lab.container(name, "first")["restartCount"] == 0
        await lab.delete(name, grace=0)
    await lab.gone(name)
    await lab.until(lambda: not lab.agent.pods(), "no worker")


async def left(lab: Lab) -> dict[str, object]:
    """Whatever a pod may leave."""
    run = lab.settings.run_dir
    names = {
        folder: sorted(path.name for path in (run / folder).glob("*"))
        for folder in ("io", "netns", "pods", "sandboxes")
    }
    names["sandboxes"] = [name for name in names["sandboxes"] if name != network.LAST_ADDRESS]
    return {
        **names,
        "containers": [record.id for record in await lab.containers.list()],
        "snapshots": sorted(await lab.containers.owned_snapshots()),
        "tasks": await lab.containers.shims.sweep(),
        "mounts": [p for p in linux.mount_points(run) if p not in _kept(lab)],
        "volumes": sorted(path.name for path in lab.settings.pods_dir.glob("*")),
        "logs": sorted(path.name for path in lab.settings.log_dir.glob("*")),
        "networks": sorted(lab.network.sandboxes()),
    }


def _kept(lab: Lab) -> set[Any]:
    return {lab.settings.sandboxes_dir, lab.settings.run_dir / "netns"}


async def dies(lab: Lab, at: int, *, heard: bool) -> bool:
    """Whether there was a call of that number."""
    name = f"p{at}" + ("" if heard else "x")
    mortal = Mortal(lab.client, at, heard=heard)
    async with asyncio.timeout(60):
        await up(lab, name)
        living = asyncio.ensure_future(life(lab, name))
        death = asyncio.ensure_future(mortal.dead.wait())
        await asyncio.wait({living, death}, return_when=asyncio.FIRST_COMPLETED)
        died = mortal.dead.is_set()
        for task in (living, death):
            task.cancel()
        await asyncio.wait({living, death})
        mortal.buried = True
        await lab.stop()
        await lab.start()
        await life(lab, name)
        await _nothing(lab, f"death at call {at}, {'before' if heard else 'after'} its effect")
    return died


async def _nothing(lab: Lab, when: str) -> None:
    while any((found := await left(lab)).values()):
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pytest.fail(f"{when} left {found}")


@pytest.mark.timeout(1800)  # the full form
async def test_the_process_dies_at_any_call(lab: Lab) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    counting = Mortal(lab.client, 0, heard=True)
    await up(lab, "whole")
    await life(lab, "whole")
    every = [(at, heard) for at in range(1, counting.calls + 1) for heard in (True, False)]
    for at, heard in random.Random(seed).sample(every, labs.rounds(5, len(every))):
        await dies(lab, at, heard=heard)


async def test_what_was_made_but_never_started_is_made_again(lab: Lab) -> None:
    """Its maker went away in the midst: containerd has begun to take it down, and its output leads
    nowhere."""
    passes = lab.client.call
    broken: list[str] = []

    async def call(method: Any, request: Any, **options: Any) -> Any:
        if broken or not isinstance(request, tasks_pb2.CreateTaskRequest):
            return await passes(method, request, **options)
        broken.append(request.container_id)
        request.stdout = request.stderr = ""
        await passes(method, request, **options)
        raise errors.Unavailable("the connection broke")

    lab.client.call = call  # type: ignore[method-assign]
    await lab.run("p", "sh", "-c", "echo said; sleep 1000")
    await lab.running("p")
    assert broken
    logs = lab.settings.log_dir
    await lab.until(lambda: any(b"said" in path.read_bytes() for path in logs.glob("*/*/*.log")))
    assert lab.container("p")["restartCount"] == 0
    assert "lastState" not in lab.container("p") or not lab.container("p")["lastState"]
