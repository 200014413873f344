"""scripts/install --back, in a file system of its own: it goes to what is there, or nowhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/install"
# Nothing that is mounted here is seen by this machine, nor its systemd by the script.
ALONE = "mount -t tmpfs none /opt && mount -t tmpfs none /run && mount -t tmpfs none /etc/systemd"
VERSION = """
mkdir -p /opt/edgeorch/{0}/bin && touch /opt/edgeorch/{0}/edgeorch.service
printf '#!/bin/sh\\n' >/opt/edgeorch/{0}/bin/edgeorch; chmod 755 /opt/edgeorch/{0}/bin/edgeorch
"""

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not Path("/etc/systemd").is_dir(), reason="needs /etc/systemd"),
]


def back(*versions: str) -> list[str]:
    """What it says, and which version is in use afterwards: 2 was, and 1 before it."""
    text = "\n".join((
        f"set -e; {ALONE}", *map(VERSION.format, versions),
        "ln -s 1 /opt/edgeorch/previous; ln -s 2 /opt/edgeorch/current",
        f"{SCRIPT} --back 2>&1 || true", "readlink /opt/edgeorch/current",
    ))  # fmt: skip
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_version_before_is_used_again() -> None:
    assert back("1", "2")[-1] == "1"


def test_a_version_that_is_gone_is_not_gone_back_to() -> None:
    told, current = back("2")
    assert told == "install: the version before, 1, is not there any more"
    assert current == "2"
