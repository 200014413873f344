"""The device under measure: a lab device, its API over the unix socket, its processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUSYBOX = "docker.io/library/busybox:latest"
NGINX = "docker.io/library/nginx:1.25"

Object = dict[str, Any]


def lab(*words: str) -> str:
    done = subprocess.run(
        [str(ROOT / "scripts/lab"), *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Device:
    """`async with Device(name)`: brought up with the images loaded, taken down at the end."""

    def __init__(self, name: str, containerd: str | None, *, keep: bool) -> None:
        self.name = name
        self._containerd = containerd
        self._keep = keep
        self._run = pathlib.Path("/run/edgeorch-lab") / name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        extra = ["--containerd", self._containerd] if self._containerd else []
        lab("up", self.name, *extra)
        archives = subprocess.run(
            [str(ROOT / "scripts/images")], check=True, capture_output=True, text=True
        ).stdout.split()
        lab("load", self.name, *archives)
        self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        if not self._keep:
            lab("down", self.name)

    def _connect(self) -> None:
        connector = aiohttp.UnixConnector(self.socket)
        self._session = aiohttp.ClientSession("http://device", connector=connector)

    @property
    def socket(self) -> str:
        return str(self._run / "edgeorch/api.sock")

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the device is not up")
        return self._session

    def restart(self) -> float:
        """Stop and start edgeorch; seconds until it says it is ready (the lab's own included)."""
        lab("stop", self.name)
        started = time.perf_counter()
        lab("start", self.name)
        return time.perf_counter() - started

    # --- API ------------------------------------------------------------------------------------

    async def create(self, path: str, obj: Object) -> Object:
        async with self.session.post(path, json=obj) as response:
            response.raise_for_status()
            found: Object = await response.json()
            return found

    async def get(self, path: str) -> Object:
        async with self.session.get(path) as response:
            response.raise_for_status()
            found: Object = await response.json()
            return found

    async def delete(self, path: str) -> None:
        async with self.session.delete(path, json={"gracePeriodSeconds": 0}) as response:
            response.raise_for_status()

    async def pods(self, selector: str) -> list[Object]:
        path = f"/api/v1/namespaces/default/pods?labelSelector={selector}"
        found: list[Object] = (await self.get(path))["items"]
        return found

    async def until(self, selector: str, met: Callable[[list[Object]], bool]) -> float:
        """Watch the pods until `met`; the moment on time.perf_counter's clock."""
        async with asyncio.timeout(120), contextlib.aclosing(self._watch(selector)) as states:
            async for pods in states:
                if met(pods):
                    return time.perf_counter()
        raise RuntimeError("the watch ended")

    async def _watch(self, selector: str) -> AsyncIterator[list[Object]]:
        path = f"/api/v1/namespaces/default/pods?labelSelector={selector}"
        listed = await self.get(path)
        pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
        yield list(pods.values())
        version = listed["metadata"]["resourceVersion"]
        async with self.session.get(f"{path}&watch=true&resourceVersion={version}") as response:
            async for line in response.content:
                event = json.loads(line)
                pod = event["object"]
                if event["type"] == "DELETED":
                    pods.pop(pod["metadata"]["uid"], None)
                else:
                    pods[pod["metadata"]["uid"]] = pod
                yield list(pods.values())

    # --- processes ------------------------------------------------------------------------------

    @property
    def containerd_socket(self) -> str:
        return str(self._run / "containerd.sock")

    def inside(self, *command: str) -> list[str]:
        """`command` as it runs in the device's network."""
        return ["nsenter", f"--net=/proc/{self.containerd_pid()}/ns/net", "--", *command]

    def ctr_command(self, *words: str) -> list[str]:
        return ["ctr", "--address", self.containerd_socket, "--namespace", "edgeorch", *words]

    def ctr(self, *words: str) -> str:
        command = self.ctr_command(*words)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @property
    def pid(self) -> int:
        return int(lab("pid", self.name))

    def shims(self) -> list[int]:
        address = str(self._run / "containerd.sock")
        return [pid for pid, line in _commands() if "containerd-shim" in line and address in line]

    def containerd_pid(self) -> int:
        return next(
            pid
            for pid, line in _commands()
            if line.split("\0")[0].endswith("containerd") and str(self._run) in line
        )


def _commands() -> list[tuple[int, str]]:
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), (entry / "cmdline").read_text()))
    return found


def pss(pid: int) -> float:
    """MiB; 0 for a process that has ended."""
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except ProcessLookupError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith("Pss:")),
        0.0,
    )


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """How often threads of it have waited for something, by /proc/PID/task/*/status."""
    found = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def bytes_written(pid: int) -> int:
    """What reached the storage layer, from /proc/PID/io."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise RuntimeError(f"no write_bytes for {pid}")
