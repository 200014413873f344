"""What requests cost: `scripts/bench --api`.

Get, list of 110 pods, create and delete, and fifty watchers that see a thousand changes; each as
requests a second with p50 and p99, beside a bare aiohttp server on a unix socket that answers a get
with the same bytes, in the same run. The pods wait for a node that does not come: nothing starts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import device as devices
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = dict[str, Any]

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
POD_COUNT, WATCHERS, CHANGES = 110, 50, 1000
AT_ONCE = 8
GETS, LISTS, CREATES = 4000, 200, 400


def _pod(number: int) -> devices.Object:
    container = {"name": "main", "image": devices.BUSYBOX, "command": ["sleep", "3600"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"waits-{number}", "labels": {"app": "waits"}},
        "spec": {"containers": [container], "nodeSelector": {"nowhere": "here"}},
    }


class Api:
    def __init__(self, device: devices.Device) -> None:
        self._device = device

    async def measure(self) -> Result:
        for number in range(POD_COUNT):
            await self._device.create(PODS, _pod(number))
        one = f"{PODS}/waits-0"
        found: Result = {"get_bare": await self._bare(one)}
        found["get"] = await self._rate(lambda _: self._read(one), GETS)
        found["list_110"] = await self._rate(lambda _: self._read(PODS), LISTS)
        found["create_and_delete"] = await self._rate(self._come_and_go, CREATES)
        found["watchers_50"] = await self._watched()
        found["get"]["ratio"] = round(
            found["get"]["per_second"] / found["get_bare"]["per_second"], 2
        )
        found["pss_mib"] = round(devices.pss(self._device.pid), 1)
        for number in range(POD_COUNT):
            await self._device.delete(f"{PODS}/waits-{number}")
        return found

    async def _bare(self, path: str) -> Result:
        """A server in a process of its own that only says what the device says."""
        body = await self._read(path)
        with tempfile.TemporaryDirectory() as folder:
            socket, saved = str(Path(folder) / "bare.sock"), Path(folder) / "body"
            saved.write_bytes(body)
            server = await asyncio.create_subprocess_exec(
                sys.executable, __file__, socket, str(saved), stdout=asyncio.subprocess.PIPE
            )
            if server.stdout is None or await server.stdout.readline() != b"ready\n":
                raise RuntimeError("the bare server does not come up")
            connector = aiohttp.UnixConnector(socket)
            async with aiohttp.ClientSession("http://bare", connector=connector) as session:

                async def ask(_: int) -> None:
                    async with session.get(path) as response:
                        await response.read()

                found = await self._rate(ask, GETS)
            server.terminate()
            await server.wait()
        return found

    async def _read(self, path: str) -> bytes:
        async with self._device.session.get(path) as response:
            response.raise_for_status()
            return await response.read()

    async def _come_and_go(self, number: int) -> None:
        name = f"comes-{number}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        await self._device.create(MAPS, {**body, "data": {"a": "b"}})
        await self._device.delete(f"{MAPS}/{name}")

    async def _rate(self, ask: Callable[[int], Awaitable[object]], count: int) -> Result:
        """`AT_ONCE` clients share `count` requests."""
        taken: list[float] = []
        numbers = iter(range(count))

        async def client() -> None:
            for number in numbers:
                began = time.perf_counter()
                await ask(number)
                taken.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        whole = time.perf_counter() - began
        cuts = statistics.quantiles(taken, n=100)
        return {
            "per_second": round(count / whole),
            "p50_ms": round(1000 * cuts[49], 2),
            "p99_ms": round(1000 * cuts[98], 2),
        }

    async def _watched(self) -> Result:
        """Changes a second that all the watchers have seen."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}}
        await self._device.create(MAPS, {**body, "data": {"n": "0"}})
        version = (await self._device.get(MAPS))["metadata"]["resourceVersion"]
        path = f"{MAPS}?watch=true&resourceVersion={version}"
        connector = aiohttp.UnixConnector(self._device.socket, limit=0)
        async with aiohttp.ClientSession("http://device", connector=connector) as session:
            opened = asyncio.Semaphore(0)

            async def watch() -> None:
                async with session.get(path) as response:
                    opened.release()
                    seen = 0
                    async for line in response.content:
                        seen += line.strip() != b""
                        if seen == CHANGES:
                            return

            watchers = [asyncio.ensure_future(watch()) for _ in range(WATCHERS)]
            for _ in watchers:
                await opened.acquire()
            began = time.perf_counter()
            for number in range(1, CHANGES + 1):
                patch = {"data": {"n": str(number)}}
                headers = {"Content-Type": "application/merge-patch+json"}
                async with self._device.session.patch(
                    f"{MAPS}/watched", json=patch, headers=headers
                ) as response:
                    response.raise_for_status()
            await asyncio.gather(*watchers)
            whole = time.perf_counter() - began
        await self._device.delete(f"{MAPS}/watched")
        return {"changes_per_second": round(CHANGES / whole), "seconds": round(whole, 2)}


def table(found: Result) -> str:
    rows = [("get / bare aiohttp server", found["get"]["ratio"])]
    for name in ("get_bare", "get", "list_110", "create_and_delete"):
        shown = name.replace("_", " ")
        rows.append((f"{shown}: requests/s", found[name]["per_second"]))
        rows.append((f"{shown}: p50, ms", found[name]["p50_ms"]))
        rows.append((f"{shown}: p99, ms", found[name]["p99_ms"]))
    rows.append(("50 watchers: changes/s seen by all", found["watchers_50"]["changes_per_second"]))
    rows.append(("PSS afterwards, MiB", found["pss_mib"]))
    return "\n".join(f"{name:<40} {value:>10}" for name, value in rows)


async def _serve(socket: str, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]).read_bytes()))
