"""The example of a sender, and what it has to know of a device."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from . import lab as labs

PROGRAM = labs.CHECKOUT / "scripts/fleet-push"


def listed(lab: labs.Lab, address: str, folder: Path) -> str:
    """The device's line for the sender: its token opens nothing but bundles."""
    ca = folder / f"{lab.name}.crt"
    cluster = json.loads(lab.device.kubeconfig.read_text())["clusters"][0]["cluster"]
    ca.write_bytes(subprocess.run(
        ["base64", "-d"], input=cluster["certificate-authority-data"].encode(),
        capture_output=True, check=True,
    ).stdout)  # fmt: skip
    config = ("--config", str(lab.device.config))
    made = lab.run("edgeorch", *config, "token", "create", "fleet", "--role", "fleet")
    token = made.stdout.split()[-1]
    return f"{lab.name} https://{address}:6443 {token} {ca}"
