"""What many pods and much output cost: `scripts/bench --pods`.

Fifty pods started at once against fifty `ctr run -d` side by side; probes once a second on fifty
pods; the memory with fifty pods and right after going down to ten; output of a container that
talks as fast as it can, against `ctr run` with its output in a pipe that is read and thrown away.
"""

from __future__ import annotations

import asyncio
import pathlib
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any

import device as devices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = dict[str, Any]

MANY = 50
FEW = 10
PROBED = 20.0
"""Seconds over which the cost of probes is measured."""
TALK = 5.0
"""Seconds of output at full speed: in a burst, and once the credit for bursts is used up."""
LINES = 1_000_000
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
WORDS = "an ordinary line of a program that tells what it is doing just now"

_SERVE = "mkdir /w; touch /w/index.html; exec httpd -f -p 80 -h /w"
_PROBES: dict[str, Result] = {
    "none": {},
    "exec": {"exec": {"command": ["true"]}},
    "http": {"httpGet": {"path": "/", "port": 80}},
    "tcp": {"tcpSocket": {"port": 80}},
}


class Pods:
    def __init__(
        self,
        device: devices.Device,
        workload: Callable[[str, int], devices.Object],
        remove: Callable[[devices.Device, str], Awaitable[None]],
    ) -> None:
        self._device = device
        self._workload = workload
        self._remove = remove

    async def measure(self, rounds: int) -> Result:
        found: Result = {"memory, MiB": await self._memory()}
        found["50 at once"] = await self._at_once(rounds)
        found["output"] = await self._output()
        found["probes once a second, % of a core"] = {
            kind: await self._probes(kind) for kind in _PROBES
        }
        return found

    # --- fifty at once --------------------------------------------------------------------------

    async def _at_once(self, rounds: int) -> Result:
        """Turns of one and the other, so that what else the machine does falls on both."""
        bare, ours = [], []
        for number in range(rounds):
            bare.append(await self._bare())
            ours.append(await self._start(f"fifty-{number}"))
            await self._remove(self._device, f"fifty-{number}")
        one, other = statistics.median(bare), statistics.median(ours)
        return {
            "ctr run -d, s": [round(value, 2) for value in bare],
            "pods, s": [round(value, 2) for value in ours],
            "ratio": round(other / one, 2),
        }

    async def _bare(self) -> float:
        names = [f"bench-many-{number}" for number in range(MANY)]
        started = time.perf_counter()
        await asyncio.gather(*(self._ctr_run(name) for name in names))
        taken = time.perf_counter() - started
        for name in names:
            self._device.ctr("task", "rm", "-f", name)
            self._device.ctr("container", "rm", name)
        return taken

    async def _ctr_run(self, name: str) -> None:
        command = self._device.ctr_command("run", "-d", devices.BUSYBOX, name, "sleep", "3600")
        child = await asyncio.create_subprocess_exec(*command)
        if await child.wait():
            raise RuntimeError(f"ctr run {name} failed")

    async def _start(self, name: str, **container: Any) -> float:
        """Seconds from the POST of a Deployment to all its pods running."""
        manifest = self._workload(name, MANY)
        manifest["spec"]["template"]["spec"]["containers"][0].update(container)
        running = asyncio.ensure_future(self._device.until(f"app={name}", _all_run))
        await asyncio.sleep(0.2)  # the watch is open
        started = time.perf_counter()
        await self._device.create(DEPLOYMENTS, manifest)
        return await running - started

    # --- memory ---------------------------------------------------------------------------------

    async def _memory(self) -> Result:
        await self._start("many")
        found = {f"{MANY} pods, at once": self._pss()}
        await asyncio.sleep(10)
        found[f"{MANY} pods, 10 s later"] = self._pss()
        path = f"{DEPLOYMENTS}/many/scale"
        scale = await self._device.get(path)
        scale["spec"]["replicas"] = FEW
        async with self._device.session.put(path, json=scale) as response:
            response.raise_for_status()
        await self._device.until("app=many", lambda pods: len(pods) == FEW)
        found[f"{FEW} of them left, at once"] = self._pss()
        await asyncio.sleep(10)
        found[f"{FEW} of them left, 10 s later"] = self._pss()
        await self._remove(self._device, "many")
        return found

    def _pss(self) -> float:
        return round(devices.pss(self._device.pid), 1)

    # --- probes ---------------------------------------------------------------------------------

    async def _probes(self, kind: str) -> Result:
        """What edgeorch itself takes, and what the device's other programs take with it."""
        name = f"probed-{kind}"
        probe = {**_PROBES[kind], "periodSeconds": 1, "timeoutSeconds": 5}
        fields: Result = {"command": ["sh", "-c", _SERVE]}
        if _PROBES[kind]:
            fields["livenessProbe"] = probe
        await self._start(name, **fields)
        await asyncio.sleep(5)
        ours, others = self._device.pid, [self._device.containerd_pid(), *self._device.shims()]
        before = {pid: _cpu(pid) for pid in (ours, *others)}
        await asyncio.sleep(PROBED)
        spent = {pid: max(0.0, _cpu(pid) - earlier) for pid, earlier in before.items()}
        await self._remove(self._device, name)
        return {
            "edgeorch": round(100 * spent.pop(ours) / PROBED, 1),
            "containerd and shims": round(100 * sum(spent.values()) / PROBED, 1),
        }

    # --- output ---------------------------------------------------------------------------------

    async def _output(self) -> Result:
        script = f'yes "{WORDS}" | head -n {LINES}'
        bare = [await self._piped(number, script) for number in range(3)]
        ours = [await self._logged(number, script) for number in range(3)]
        one, other = statistics.median(bare), statistics.median(ours)
        found: Result = {
            "1,000,000 lines through ctr run, s": [round(value, 2) for value in bare],
            "1,000,000 lines into the log, s": [round(value, 2) for value in ours],
            "MB a second into the log": round(LINES * (len(WORDS) + 1) / other / 1e6, 1),
            "speed / that of ctr run": round(one / other, 2),
        }
        found["one that never stops"] = await self._endless()
        return found

    async def _piped(self, number: int, script: str) -> float:
        """`ctr run` in the foreground copies the same pipes to its own output."""
        name = f"bench-talk-{number}"
        command = self._device.ctr_command("run", "--rm", devices.BUSYBOX, name, "sh", "-c", script)
        started = time.perf_counter()
        child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert child.stdout
        while await child.stdout.read(1 << 20):
            pass
        await child.wait()
        return time.perf_counter() - started

    async def _logged(self, number: int, script: str) -> float:
        name = f"talks-{number}"
        pod = self._pod(name, script)
        done = asyncio.ensure_future(
            self._device.until(f"app={name}", lambda pods: _phase(pods) == "Succeeded")
        )
        await asyncio.sleep(0.2)
        started = time.perf_counter()
        await self._device.create(PODS, pod)
        taken = await done - started
        await self._device.delete(f"{PODS}/{name}")
        return taken

    async def _endless(self) -> Result:
        """`yes`: what the log takes, what that costs, and how long the API takes meanwhile."""
        quiet = await self._latency()
        await self._device.create(PODS, self._pod("endless", f'exec yes "{WORDS}"'))
        await self._device.until("app=endless", lambda pods: _phase(pods) == "Running")
        found: Result = {}
        for moment in ("in the beginning", "in the long run"):
            pid = self._device.pid
            cpu, read = devices.cpu_seconds(pid), _written(pid)
            began = time.perf_counter()
            latency = await self._latency()
            taken = time.perf_counter() - began
            found[moment] = {
                "core, %": round(100 * (devices.cpu_seconds(pid) - cpu) / taken),
                "MB a second": round((_written(pid) - read) / taken / 1e6),
                "API request, ms": latency,
            }
            await asyncio.sleep(2 * TALK)
        found["API request without it, ms"] = quiet
        found["PSS, MiB"] = self._pss()
        await self._device.delete(f"{PODS}/endless")
        return found

    async def _latency(self) -> Result:
        taken = []
        until = time.perf_counter() + TALK
        while time.perf_counter() < until:
            started = time.perf_counter()
            await self._device.get("/api/v1/namespaces/default")
            taken.append(1000 * (time.perf_counter() - started))
            await asyncio.sleep(0.02)
        taken.sort()
        return {
            "median": round(statistics.median(taken), 1),
            "p99": round(taken[int(0.99 * len(taken))], 1),
        }

    def _pod(self, name: str, script: str) -> devices.Object:
        container = {
            "name": "main",
            "image": devices.BUSYBOX,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "containers": [container],
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
            },
        }


def _cpu(pid: int) -> float:
    """Seconds; 0 for a process that has ended."""
    try:
        return devices.cpu_seconds(pid)
    except FileNotFoundError:
        return 0.0


def _all_run(pods: list[devices.Object]) -> bool:
    return sum(pod["status"].get("phase") == "Running" for pod in pods) == MANY


def _phase(pods: list[devices.Object]) -> str:
    return str(pods[0]["status"].get("phase", "")) if pods else ""


def _written(pid: int) -> int:
    """Bytes written by the process, which for the greatest part are the log's."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise RuntimeError(f"no wchar for {pid}")


def table(found: Result) -> str:
    start, memory, output = found["50 at once"], found["memory, MiB"], found["output"]
    rows: list[tuple[str, object, str]] = [
        ("50 pods at once / 50 x ctr run -d", start["ratio"], _target(start["ratio"], 1.5))
    ]
    rows += [
        (f"PSS, MiB: {when}", size, _target(size, 64) if when == f"{MANY} pods, at once" else "")
        for when, size in memory.items()
    ]
    rows += [
        (f"50 probes a second, % of a core: {kind}", share["edgeorch"], "")
        for kind, share in found["probes once a second, % of a core"].items()
    ]
    endless = output["one that never stops"]["in the long run"]
    rows += [
        ("a million lines: speed / that of ctr run", output["speed / that of ctr run"], ""),
        ("MB a second into the log", output["MB a second into the log"], ""),
        ("`yes`, % of a core in the long run", endless["core, %"], ""),
        (
            "API request beside it, ms (p99)",
            endless["API request, ms"]["p99"],
            "",
        ),
    ]
    return "\n".join(f"{name:<46} {value!s:>8} {note}" for name, value, note in rows)


def _target(value: float, target: float) -> str:
    return f"target {target}: {'met' if value <= target else 'MISSED'}"
