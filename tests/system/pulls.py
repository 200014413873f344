"""A real registry beside a device, to pull from."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.component.runtime import archives, registries

from . import lab as labs

PORT = 5000
NOISE = 10 << 20


@contextmanager
def registry(lab: labs.Lab, root: Path) -> Iterator[str]:
    """A registry in the device's network, holding `team/noise:1`; its `host:port`."""
    with registries.running(root) as outside:
        layers = [archives.busybox_layer(), registries.noise_layer("noise", NOISE, 5)]
        outside.push("team/noise", "1", layers)
    (root / "inside.yml").write_text(registries.CONFIG.format(root=root, port=PORT, more=""))
    program = shutil.which("docker-registry") or "docker-registry"
    command, env = lab.command(program, "serve", str(root / "inside.yml"))
    quiet = {**os.environ, **env, "OTEL_TRACES_EXPORTER": "none"}
    with (root / "inside.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet)
    try:
        probe = ("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}")
        labs.until(lambda: lab.run(*probe, check=False).returncode == 0, "the registry answers")
        yield f"127.0.0.1:{PORT}"
    finally:
        process.terminate()
        process.wait(10)
