"""Shims and bundles that containerd has lost sight of.

containerd forgets a shim when the caller of `tasks.Create` goes away in its midst (the call is
cancelled, its clean-up meets a runc that is still at work), and a containerd that dies at that
moment may leave a bundle it can neither load nor clean up. What remains is a process that waits to
be started for ever, cgroups, and a directory that refuses the next task of that name. Here it is
found in /proc and ended the way containerd ends the container of a dead shim: by the shim's own
`delete` command (containerd's runtime/v2/README.md), then the bundle.

Nothing here is asked for while containerd knows of the task, or while one is being started. What a
container's process calls itself, or where it says it stands, is not believed: shims live among the
host's mounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeorch.runtime import errors
from edgeorch.runtime.pb import tasks_pb2

if TYPE_CHECKING:
    from edgeorch.runtime import client

log = logging.getLogger(__name__)

DELETE_SECONDS = 10.0
PROGRAM = "containerd-shim-runc-v2"
_PROC = Path("/proc")
_SOCKET = re.compile(r"/run/containerd/s/[0-9a-f]{64}")
_TAKEN = re.compile(r"mkdir (/\S+): file exists")


@dataclass(frozen=True, slots=True)
class Shim:
    pid: int
    id: str
    """Of the container it was started for; others of its group may have joined."""
    bundle: Path
    program: str
    environment: dict[str, str] = field(compare=False, default_factory=dict)
    sockets: frozenset[str] = frozenset()


class Shims:
    def __init__(self, containerd: client.Client) -> None:
        self._client = containerd
        self._starting: set[str] = set()
        self._begun: set[str] = set()
        """Starts under way since the sweep under way began."""

    @contextlib.contextmanager
    def starting(self, container_id: str) -> Iterator[None]:
        """The task of that container is on its way: nothing of it may be touched."""
        self._starting.add(container_id)
        self._begun.add(container_id)
        try:
            yield
        finally:
            self._starting.discard(container_id)

    async def sweep(self) -> list[str]:
        """End what containerd does not know of; what it was. Raises ContainerdError."""
        self._begun = set(self._starting)
        found = await asyncio.to_thread(running, self._client.address, self._client.namespace)
        if not found:
            return []
        # What is there before containerd is asked and unknown to its answer is nobody's.
        bundles = await asyncio.to_thread(_names, found[0].bundle.parent)
        answer = await self._client.call(
            self._client.services.tasks.List, tasks_pb2.ListTasksRequest()
        )
        known = {task.id for task in answer.tasks}
        for id_ in set(bundles) - known:
            # The list leaves out what did not answer in time; asked by name, containerd knows.
            if not await self._unheard_of(id_):
                known.add(id_)
        known |= self._begun
        return await asyncio.to_thread(self._end_unknown, found, bundles, known)

    async def _unheard_of(self, container_id: str) -> bool:
        try:
            await self._client.call(
                self._client.services.tasks.Get, tasks_pb2.GetRequest(container_id=container_id)
            )
        except errors.NotFound:
            return True
        except errors.Unavailable:
            raise
        except errors.ContainerdError:
            return False
        return False

    async def end_taken(self, told: str, container_id: str) -> bool:
        """Whether containerd's word on a start was that a dead bundle is in the way; it is gone."""
        match = _TAKEN.search(told)
        if match is None or Path(match[1]).name != container_id:
            return False
        program = shutil.which(PROGRAM) or PROGRAM
        shim = Shim(0, container_id, Path(match[1]), program, dict(os.environ))
        await asyncio.to_thread(self._end_bundle, shim, container_id)
        return True

    def _end_unknown(
        self, found: list[Shim], bundles: list[str], known: Collection[str]
    ) -> list[str]:
        folder = found[0].bundle.parent
        wanted = {socket for id_ in known for socket in _sockets_of(folder / id_)}
        ended = []
        for shim in found:
            if shim.id in known or shim.sockets & wanted:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(shim.pid, signal.SIGKILL)
            ended.append(f"shim {shim.pid}")
        for id_ in bundles:
            if id_ not in known:
                self._end_bundle(found[0], id_)
                ended.append(f"bundle {id_}")
        return ended

    def _end_bundle(self, shim: Shim, id_: str) -> None:
        """Kill and forget the container, take its root file system down, remove the directory."""
        bundle = shim.bundle.parent / id_
        command = [shim.program, "-namespace", self._client.namespace]
        command += ["-address", self._client.address, "-publish-binary", "/bin/true"]
        command += ["-id", id_, "-bundle", str(bundle), "delete"]
        try:
            done = subprocess.run(
                command,
                cwd=bundle,
                env=shim.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=DELETE_SECONDS,
                check=False,
            )
            if done.returncode:
                log.debug("%s: %s", " ".join(command), done.stderr.decode(errors="replace"))
        except FileNotFoundError:
            return  # containerd was quicker
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("Cannot end the former container %s: %s", id_, error)
            return
        if os.path.ismount(bundle / "rootfs"):
            log.warning("Cannot remove bundle %s: its root file system is still mounted", bundle)
            return
        work = bundle / "work"
        if work.is_symlink():
            shutil.rmtree(os.readlink(work), ignore_errors=True)
        shutil.rmtree(bundle, ignore_errors=True)


def running(address: str, namespace: str) -> list[Shim]:
    """Shims that report to the containerd at `address`, of one of its namespaces. Blocks."""
    host = {_mounts(_PROC / "self")}
    with contextlib.suppress(OSError):  # ours may be other than init's
        host.add(_mounts(_PROC / "1"))
    return [shim for pid in _pids() if (shim := _shim(pid, address, namespace, host)) is not None]


def _mounts(process: Path) -> str:
    """Its mount namespace. Raises OSError."""
    return os.readlink(process / "ns/mnt")


def _pids() -> Iterator[int]:
    for name in os.listdir(_PROC):
        if name.isdigit():
            yield int(name)


def _shim(pid: int, address: str, namespace: str, host: Collection[str]) -> Shim | None:
    folder = _PROC / str(pid)
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if "containerd-shim" not in words[0] or not {address, namespace} <= set(words):
            return None
        if "start" in words or "delete" in words:
            return None  # the short-lived commands of the same program
        if _mounts(folder) not in host:
            return None  # a container's, which would have us run its program and remove its folder
        cwd = os.readlink(folder / "cwd").removesuffix(" (deleted)")
        variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        return Shim(
            pid,
            words[words.index("-id") + 1],
            Path(cwd),
            os.readlink(folder / "exe").removesuffix(" (deleted)"),
            dict(word.split("=", 1) for word in variables if "=" in word),
            _sockets(folder),
        )
    except (OSError, ValueError, IndexError):
        return None  # it ended meanwhile


def _sockets(process: Path) -> frozenset[str]:
    """Paths of the sockets that a process listens on or serves (proc_net(5))."""
    inodes = set()
    for entry in os.scandir(process / "fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for line in (process / "net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[6] in inodes:
            found.update(_SOCKET.findall(fields[7]))
    return frozenset(found)


def _sockets_of(bundle: Path) -> set[str]:
    """The shim's socket as the bundle names it: `address`, and from 2.0 on `bootstrap.json`."""
    found: set[str] = set()
    for name in ("address", "bootstrap.json"):
        with contextlib.suppress(OSError):
            found.update(_SOCKET.findall((bundle / name).read_text(errors="replace")))
    return found


def _names(folder: Path) -> list[str]:
    """Those with a dot before them containerd is about to remove."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []
