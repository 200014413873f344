"""The smallest OCI runtime spec that runs busybox; the product's builder is elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CAPABILITIES = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]
MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
]


def minimal(
    args: list[str],
    *,
    cgroup: str,
    group: str = "",
    terminal: bool = False,
    memory_limit: int = 0,
    pid_namespace: str = "",
) -> bytes:
    # A process without CAP_SYS_RESOURCE may not go below its own oom_score_adj.
    own = int(Path("/proc/self/oom_score_adj").read_text())
    namespaces: list[dict[str, str]] = [
        {"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")
    ]
    if pid_namespace:
        namespaces[0]["path"] = pid_namespace
    capabilities = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    resources: dict[str, Any] = {"devices": [{"allow": True, "access": "rwm"}]}
    if memory_limit:
        resources["memory"] = {"limit": memory_limit}
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "HOME=/"],
            "cwd": "/",
            "terminal": terminal,
            "capabilities": capabilities,
            "oomScoreAdj": max(own, 0),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "test",
        "mounts": [
            {"destination": where, "type": kind, "source": source, "options": options}
            for where, kind, source, options in MOUNTS
        ],
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup,
            "resources": resources,
        },
        "annotations": {"io.containerd.runc.v2.group": group} if group else {},
    }
    return json.dumps(spec).encode()
