"""The first process of a pod whose containers share their processes (shareProcessNamespace).

A PID namespace lives as long as its first process, so containers can come and go in one only if
that process is none of theirs. It is a program of a page: it ignores SIGCHLD, so that the kernel
clears away what containers leave behind (wait(2)), and sleeps. It has no rights, an empty root of
its own (whoever may look into /proc/1/root finds nothing of the host there) and a cgroup of the
pod's, so it outlives this process and is found again by the pin of its namespace.

Sources: pid_namespaces(7), elf(5), syscalls(2); the instructions stand in the comments.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import struct
import subprocess
import time

from edgeorch.agent import linux
from edgeorch.net import netns

_NAME = "/pause"
_NOBODY = 65535
_OOM_SCORE = "-998"
"""The kubelet's for pause: the last of a pod to be killed for want of memory."""
_GONE_WITHIN = 2.0
_PROC = pathlib.Path("/proc")

_BASE = 0x400000
_CODE = {
    # rt_sigaction(SIGCHLD, {SIG_IGN}, 0, 8); for (;;) pause();
    "amd64": bytes.fromhex(
        "b80d000000"  # mov eax, 13
        "bf11000000"  # mov edi, 17
        "488d3517000000"  # lea rsi, [rip + 23]
        "31d2"  # xor edx, edx
        "41ba08000000"  # mov r10d, 8
        "0f05"  # syscall
        "b822000000"  # mov eax, 34
        "0f05"  # syscall
        "ebf7"  # jmp -9
        "00000000"  # to align
    ),
    # The same with ppoll(0, 0, 0, 0), since arm64 has no pause.
    "arm64": struct.pack(
        "<14I",
        0xD28010C8,  # mov x8, #134
        0xD2800220,  # mov x0, #17
        0x10000181,  # adr x1, #48
        0xD2800002,  # mov x2, #0
        0xD2800103,  # mov x3, #8
        0xD4000001,  # svc #0
        0xD2800928,  # mov x8, #73
        0xD2800000,  # mov x0, #0
        0xD2800001,  # mov x1, #0
        0xD2800002,  # mov x2, #0
        0xD2800003,  # mov x3, #0
        0xD2800004,  # mov x4, #0
        0xD4000001,  # svc #0
        0x17FFFFF9,  # b -28
    ),
    "arm": struct.pack(
        "<9I",
        0xE3A00011,  # mov r0, #17
        0xE28F1018,  # add r1, pc, #24
        0xE3A02000,  # mov r2, #0
        0xE3A03008,  # mov r3, #8
        0xE3A070AE,  # mov r7, #174
        0xEF000000,  # svc #0
        0xE3A0701D,  # mov r7, #29
        0xEF000000,  # svc #0
        0xEAFFFFFC,  # b -8
    ),
}
_MACHINE = {"amd64": 62, "arm64": 183, "arm": 40}  # e_machine
_FLAGS = {"arm": 0x05000000}  # EABI 5


def program(architecture: str) -> bytes:
    """The whole file. Raises OSError for an architecture that is not known."""
    code = _CODE.get(architecture)
    if code is None:
        raise OSError(f"shareProcessNamespace is not supported on {architecture}")
    wide = architecture != "arm"
    # struct sigaction: SIG_IGN, no flags, no restorer, an empty mask.
    body = code + struct.pack("<4Q" if wide else "<3IQ", 1, 0, 0, 0)
    header, entry = (64, 56) if wide else (52, 32)
    start = header + entry
    size = start + len(body)
    words = "Q" if wide else "I"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    elf = ident + struct.pack(
        f"<2HI3{words}I6H", 2, _MACHINE[architecture], 1, _BASE + start, header, 0,
        _FLAGS.get(architecture, 0), header, entry, 1, 0, 0, 0,
    )  # fmt: skip
    if wide:
        segment = struct.pack("<2I6Q", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    else:
        segment = struct.pack("<8I", 1, 0, _BASE, _BASE, size, size, 5, 0x1000)
    return elf + segment + body


class Pauses:
    """One writer: the sandbox of the pod. Everything blocks."""

    def __init__(self, architecture: str) -> None:
        self._architecture = architecture
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, uid: str, folder: pathlib.Path) -> int:
        """A new namespace, pinned at `folder/pid`; the pid of its first process. One that an
        earlier attempt has left is ended. Raises OSError."""
        self.end(uid, folder)
        pin, root = folder / "pid", folder / "pause"
        pin.touch()
        root.mkdir(mode=0o755, exist_ok=True)
        file = root / _NAME[1:]
        file.write_bytes(program(self._architecture))
        file.chmod(0o555)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            child = netns.in_thread(lambda: _spawn(uid, root, null))
        finally:
            os.close(null)
        self._children[uid] = child
        linux.pin(_PROC / str(child.pid) / "ns/pid", pin)
        with contextlib.suppress(OSError):  # a hardened unit may not go below its own
            (_PROC / str(child.pid) / "oom_score_adj").write_text(_OOM_SCORE)
        return child.pid

    def stands(self, folder: pathlib.Path, pid: int) -> bool:
        """Whether the process `pid` still holds the namespace that is pinned in `folder`."""
        child = next((c for c in self._children.values() if c.pid == pid), None)
        if child is not None and child.poll() is not None:
            return False
        return _namespace(pid) == _inode(folder / "pid") != 0

    def end(self, uid: str, folder: pathlib.Path) -> None:
        """End the process, and with it all that is left in its namespace. Repeatable."""
        pin = folder / "pid"
        if not pin.exists():
            return
        for pid in _first_processes(uid, _inode(pin)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._wait(uid, pid)
        self._children.pop(uid, None)
        while linux.unmount(pin):
            pass
        pin.unlink(missing_ok=True)

    def _wait(self, uid: str, pid: int) -> None:
        child = self._children.get(uid)
        if child is not None and child.pid == pid:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_GONE_WITHIN)
            return
        deadline = time.monotonic() + _GONE_WITHIN
        while (_PROC / str(pid)).exists() and time.monotonic() < deadline:
            time.sleep(0.005)


def _spawn(uid: str, root: pathlib.Path, null: int) -> subprocess.Popen[bytes]:
    """In a thread of its own, which it leaves in another mount namespace."""
    linux.enter_empty_root(root)
    return subprocess.Popen(
        [_NAME, uid],
        stdin=null,
        stdout=null,
        stderr=null,
        env={},
        user=_NOBODY,
        group=_NOBODY,
        extra_groups=[],
        start_new_session=True,
        close_fds=False,  # all of ours close by themselves
    )


def _first_processes(uid: str, pinned: int) -> list[int]:
    """Those that hold the pinned namespace, or were started for the pod and not pinned any more."""
    own = f"{_NAME}\0{uid}\0".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            holds = os.stat(entry / "ns/pid").st_ino == pinned
            named = (entry / "cmdline").read_bytes() == own and entry.stat().st_uid == _NOBODY
            if (holds or named) and _is_first(entry):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _is_first(process: pathlib.Path) -> bool:
    for line in (process / "status").read_text(errors="replace").splitlines():
        if line.startswith("NSpid:"):
            ids = line.split()[1:]
            return len(ids) > 1 and ids[-1] == "1"
    return False


def _namespace(pid: int) -> int:
    return _inode(_PROC / str(pid) / "ns/pid")


def _inode(path: pathlib.Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
