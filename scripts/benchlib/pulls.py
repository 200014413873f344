"""Pull throughput: edgeorch against `ctr images pull`, from the same registry on loopback.

The image is noise in a few layers, so that it is the way of the bytes that is measured. Both fetch
and unpack it; each time all of it is gone before. The registry runs in the device.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from typing import TYPE_CHECKING, Any

import device as devices

if TYPE_CHECKING:
    from collections.abc import Iterator

Result = dict[str, Any]

PORT = 5000
IMAGE = f"127.0.0.1:{PORT}/bench/noise:1"
OCI = "application/vnd.oci.image"
CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


class Storage:
    """What a docker-registry keeps, written as it would write it."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root / "docker/registry/v2"

    def fill(self, size: int, layers: int) -> None:
        """`bench/noise:1`, `size` bytes of noise in so many layers."""
        plain = [_layer(number, size // layers) for number in range(layers)]
        packed = [gzip.compress(layer, 1, mtime=0) for layer in plain]
        config = json.dumps(
            {
                "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
                "os": "linux",
                "config": {"Cmd": ["true"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in plain]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{OCI}.manifest.v1+json",
                "config": self._blob(config, "config.v1+json"),
                "layers": [self._blob(blob, "layer.v1.tar+gzip") for blob in packed],
            }
        ).encode()
        digest = self._blob(manifest, "manifest.v1+json")["digest"]
        manifests = "repositories/bench/noise/_manifests"
        self._link(f"{manifests}/revisions", digest)
        self._link(f"{manifests}/tags/1/index", digest)
        current = self._root / manifests / "tags/1/current"
        current.mkdir(parents=True)
        (current / "link").write_text(digest)

    def _blob(self, data: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(data)
        value = digest.partition(":")[2]
        folder = self._root / "blobs/sha256" / value[:2] / value
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(data)
        self._link("repositories/bench/noise/_layers", digest)
        return {"mediaType": f"{OCI}.{kind}", "digest": digest, "size": len(data)}

    def _link(self, place: str, digest: str) -> None:
        folder = self._root / place / digest.replace(":", "/")
        folder.mkdir(parents=True)
        (folder / "link").write_text(digest)


def _layer(number: int, size: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(f"noise-{number}")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return out.getvalue()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def registry(device: devices.Device, size: int, layers: int) -> Iterator[None]:
    program = shutil.which("docker-registry")
    if program is None:
        raise SystemExit("bench: pulls need docker-registry: apt install docker-registry")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        Storage(root / "storage").fill(size, layers)
        (root / "config.yml").write_text(CONFIG.format(root=root / "storage", port=PORT))
        command = device.inside(program, "serve", str(root / "config.yml"))
        quiet = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet)
        try:
            _await_answer(device)
            yield
        finally:
            process.terminate()
            process.wait()


def _await_answer(device: devices.Device) -> None:
    probe = device.inside("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}")
    deadline = time.monotonic() + 20
    while subprocess.run(probe, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise SystemExit("bench: the registry does not answer")
        time.sleep(0.05)


def by_ctr(device: devices.Device) -> float:
    """Seconds of `ctr images pull`, in a containerd namespace of its own."""
    words = ["ctr", "--address", device.containerd_socket, "--namespace", "bench", "images"]
    started = time.perf_counter()
    pull = device.inside(*words, "pull", "--plain-http", IMAGE)
    subprocess.run(pull, check=True, capture_output=True)
    taken = time.perf_counter() - started
    subprocess.run(device.inside(*words, "rm", "--sync", IMAGE), check=True, capture_output=True)
    return taken


async def by_edgeorch(device: devices.Device, number: int) -> tuple[float, float]:
    """Seconds as the event tells them, and by how many MiB the process grew meanwhile."""
    name = f"pull-{number}"
    before = peak = devices.pss(device.pid)
    pid = device.pid
    await device.create("/api/v1/namespaces/default/pods", _pod(name))
    taken = None
    async with asyncio.timeout(300):
        while taken is None:
            await asyncio.sleep(0.1)
            peak = max(peak, devices.pss(pid))
            taken = await _pulled(device, name)
    await device.delete(f"/api/v1/namespaces/default/pods/{name}")
    await device.until(f"app={name}", lambda pods: not pods)
    device.ctr("images", "rm", "--sync", IMAGE)
    return taken, peak - before


async def _pulled(device: devices.Device, name: str) -> float | None:
    found = await device.get(
        f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}"
    )
    for event in found["items"]:
        said = re.search(
            r"Successfully pulled .* in (?:(\d+)m)?([\d.]+)(ms|s) \(", event["message"]
        )
        if said:
            return int(said[1] or 0) * 60 + float(said[2]) * (0.001 if said[3] == "ms" else 1)
    return None


def _pod(name: str) -> devices.Object:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Always"}
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


async def measure(device: devices.Device, rounds: int, size: int, layers: int) -> Result:
    bare, ours, growth = [], [], []
    with registry(device, size, layers):
        for number in range(rounds):
            bare.append(by_ctr(device))
            taken, grown = await by_edgeorch(device, number)
            ours.append(taken)
            growth.append(grown)
    found: Result = {
        "bytes": size,
        "layers": layers,
        "ctr_seconds": [round(value, 2) for value in bare],
        "seconds": [round(value, 2) for value in ours],
        "throughput_ratio": round(statistics.median(bare) / statistics.median(ours), 2),
        "pss_growth_mib": round(max(growth), 1),
    }
    return found


TARGETS = (
    ("pull throughput / ctr images pull", "throughput_ratio", 0.8, True),
    ("PSS growth while pulling, MiB", "pss_growth_mib", 16, False),
)


def table(found: Result) -> str:
    rows = []
    for name, key, target, at_least in TARGETS:
        met = found[key] >= target if at_least else found[key] <= target
        note = f"target {'>=' if at_least else '<='} {target}: {'met' if met else 'MISSED'}"
        rows.append(f"{name:<40} {found[key]:>10} {note}")
    return "\n".join(rows)
