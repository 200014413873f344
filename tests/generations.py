"""Which containerd the tests run on: this machine's, or another generation of scripts/containerds.

`EDGEORCH_CONTAINERD=2.x pytest tests/system` runs them all on containerd 2.x.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

OTHERS = ("1.7", "2.x")

_SCRIPT = Path(__file__).resolve().parents[1] / "scripts/containerds"


class Unfetched(Exception):
    """There is no such containerd here, and none could be fetched."""


@functools.cache
def directory(generation: str) -> Path:
    """Where its programs lie; fetched if need be."""
    done = subprocess.run(
        [str(_SCRIPT), generation], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise Unfetched(done.stderr.strip())
    return Path(done.stdout.strip())


def chosen() -> Path | None:
    """What EDGEORCH_CONTAINERD asks for; None is this machine's own."""
    generation = os.environ.get("EDGEORCH_CONTAINERD")
    return directory(generation) if generation else None


def environment() -> dict[str, str]:
    """An environment in which containerd, its shim and ctr are the chosen ones."""
    found = chosen()
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": f"{found}:{path}" if found else path}
