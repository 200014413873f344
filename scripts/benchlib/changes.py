"""What changes cost: `scripts/bench --changes`.

A rolling update of ten pods, a Deployment that grows to fifty and shrinks to none, a thousand
ConfigMap writes. Each tells how long it took (as a ratio to one bare `ctr run -d`), and what
edgeorch used for it: processor, memory, bytes that reached the medium; containerd's share beside.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import device as devices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = dict[str, Any]

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
ROLLED, GROWN, WRITES, AT_ONCE = 10, 50, 1000, 16
_PATCH = {"Content-Type": "application/merge-patch+json"}


class Changes:
    def __init__(
        self,
        device: devices.Device,
        bare: float,
        workload: Callable[[str, int], devices.Object],
    ) -> None:
        """`bare`: seconds of one `ctr run -d`. `workload`: a Deployment by name and size."""
        self._device = device
        self._bare = bare
        self._workload = workload

    async def measure(self) -> Result:
        return {
            "rolling_update_10": await self._roll(),
            **await self._scale(),
            "config_map_writes_1000": await self._write(),
        }

    async def _roll(self) -> Result:
        await self._device.create(DEPLOYMENTS, self._workload("rolled", ROLLED))
        await self._settled("rolled", ROLLED)
        container = self._workload("rolled", ROLLED)["spec"]["template"]["spec"]["containers"][0]
        changed = {**container, "env": [{"name": "STEP", "value": "two"}]}

        async def roll() -> None:
            spec = {"template": {"spec": {"containers": [changed]}}}
            await self._patch("rolled", {"spec": spec})
            await self._settled("rolled", ROLLED, env=True)

        found = await self._cost(roll)
        await self._remove("rolled")
        return found

    async def _scale(self) -> Result:
        await self._device.create(DEPLOYMENTS, self._workload("grown", 0))

        async def to(count: int) -> None:
            await self._patch("grown", {"spec": {"replicas": count}})
            await self._settled("grown", count)

        found = {
            "scale_0_to_50": await self._cost(lambda: to(GROWN)),
            "scale_50_to_0": await self._cost(lambda: to(0)),
        }
        await self._remove("grown")
        return found

    async def _write(self) -> Result:
        names = iter(range(WRITES))

        async def writer() -> None:
            for number in names:
                meta = {"name": f"written-{number}"}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
                await self._device.create(CONFIG_MAPS, {**body, "data": {"n": str(number)}})

        async def write() -> None:
            await asyncio.gather(*(writer() for _ in range(AT_ONCE)))

        found = await self._cost(write)
        found["per_second"] = round(WRITES / found["seconds"])
        await self._device.delete(CONFIG_MAPS)
        return found

    # --- beneath --------------------------------------------------------------------------------

    async def _cost(self, change: Callable[[], Awaitable[None]]) -> Result:
        own, other = self._device.pid, self._device.containerd_pid()
        processes = (own, other)
        cpu = [devices.cpu_seconds(pid) for pid in processes]
        written = [devices.bytes_written(pid) for pid in processes]
        started = time.perf_counter()
        await change()
        seconds = time.perf_counter() - started
        used = [devices.cpu_seconds(pid) - cpu[at] for at, pid in enumerate(processes)]
        new = [devices.bytes_written(pid) - written[at] for at, pid in enumerate(processes)]
        return {
            "seconds": round(seconds, 3),
            "ratio": round(seconds / self._bare, 2),
            "cpu_seconds": round(used[0], 2),
            "pss_mib": round(devices.pss(own), 1),
            "bytes_written": new[0],
            "containerd_cpu_seconds": round(used[1], 2),
            "containerd_bytes_written": new[1],
        }

    async def _settled(self, name: str, count: int, *, env: bool = False) -> None:
        """So many pods, all ready, all of the new template where one is asked for."""

        def met(pods: list[devices.Object]) -> bool:
            ready = sum(
                any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
                for pod in pods
                if (conditions := pod["status"].get("conditions", []))
            )
            new = all("env" in pod["spec"]["containers"][0] for pod in pods) or not env
            return len(pods) == ready == count and new

        await self._device.until(f"app={name}", met)
        while not count and self._device.shims():
            # The objects go first: their grace period is none.
            await asyncio.sleep(0.05)

    async def _patch(self, name: str, body: devices.Object) -> None:
        path = f"{DEPLOYMENTS}/{name}"
        async with self._device.session.patch(path, json=body, headers=_PATCH) as response:
            response.raise_for_status()

    async def _remove(self, name: str) -> None:
        await self._device.delete(f"{DEPLOYMENTS}/{name}")
        await self._settled(name, 0)


def table(found: Result) -> str:
    rows = []
    for name, cost in found.items():
        if not isinstance(cost, dict) or "containerd_cpu_seconds" not in cost:
            continue
        shown = name.replace("_", " ")
        rows.append((f"{shown} / ctr run -d", cost["ratio"]))
        rows.append((f"{shown}: CPU, s", cost["cpu_seconds"]))
        rows.append((f"{shown}: PSS after, MiB", cost["pss_mib"]))
        rows.append((f"{shown}: bytes written", cost["bytes_written"]))
    return "\n".join(f"{name:<40} {value:>10}" for name, value in rows)
