"""Image archives made on the fly from the host's busybox."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from edgeorch.runtime import images

APPLETS = [
    "sh",
    "sleep",
    "echo",
    "cat",
    "true",
    "false",
    "id",
    "pwd",
    "env",
    "yes",
    "kill",
    "seq",
    "stty",
    "tty",
]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(data))


def layer(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("tmp", "proc", "sys", "dev", "etc", "bin"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            tar.addfile(entry)
        for name, data in files.items():
            _add(tar, name, data, 0o755)
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = target
            tar.addfile(entry)
    return out.getvalue()


@functools.cache
def busybox_layer() -> bytes:
    binary = "/bin/busybox"
    files = {"bin/busybox": Path(binary).read_bytes()}
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    for word in listed.split():
        if word.startswith("/"):
            files[word.lstrip("/")] = Path(os.path.realpath(word)).read_bytes()
    files["etc/passwd"] = b"root:x:0:0:root:/:/bin/sh\n"
    return layer(files, {f"bin/{name}": "busybox" for name in APPLETS})


def extra_layer(mark: str = "") -> bytes:
    """The second layer; `mark` makes it one that no other test has put into the store."""
    return layer({"etc/extra": f"second layer {mark}\n".encode()})


def config(layers: list[bytes]) -> bytes:
    host = images.host_platform()
    return json.dumps(
        {
            "os": host.os,
            "architecture": host.architecture,
            "config": {
                "Cmd": ["sh"],
                "Env": ["PATH=/bin", "FROM=image"],
                "WorkingDir": "/tmp",
                "ExposedPorts": {"80/tcp": {}},
            },
            "rootfs": {"type": "layers", "diff_ids": [sha256(data) for data in layers]},
        }
    ).encode()


def _write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            _add(tar, name, data)
    return path


def _descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def oci_members(
    name: str, *, nested: bool = False, gzipped: bool = True, mark: str = ""
) -> dict[str, bytes]:
    """An OCI layout; `nested` puts the manifest behind an index with a foreign platform."""
    plain = [busybox_layer(), extra_layer(mark)]
    packed = [gzip.compress(data, mtime=0) for data in plain] if gzipped else plain
    suffix = "+gzip" if gzipped else ""
    kind = "application/vnd.oci.image"
    configuration = config(plain)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(f"{kind}.config.v1+json", configuration),
            "layers": [_descriptor(f"{kind}.layer.v1.tar{suffix}", data) for data in packed],
        }
    ).encode()
    blobs = [*packed, configuration, manifest]
    top = _descriptor(f"{kind}.manifest.v1+json", manifest)
    if nested:
        host = images.host_platform()
        here = {"os": host.os, "architecture": host.architecture}
        inner = json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [
                    {
                        **_descriptor(f"{kind}.manifest.v1+json", b"absent"),
                        "platform": {"os": "linux", "architecture": "s390x"},
                    },
                    {**top, "platform": here},
                ],
            }
        ).encode()
        blobs.append(inner)
        top = _descriptor(f"{kind}.index.v1+json", inner)
    index = {
        "schemaVersion": 2,
        "manifests": [{**top, "annotations": {"io.containerd.image.name": name}}],
    }
    members = {f"blobs/sha256/{sha256(data)[7:]}": data for data in blobs}
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    members["index.json"] = json.dumps(index).encode()
    return members


def oci(
    path: Path, name: str, *, nested: bool = False, gzipped: bool = True, mark: str = ""
) -> Path:
    return _write_tar(path, oci_members(name, nested=nested, gzipped=gzipped, mark=mark))


def docker_members(*names: str, gzipped: bool = False, mark: str = "") -> dict[str, bytes]:
    plain = [busybox_layer(), extra_layer(mark)]
    configuration = config(plain)
    config_name = sha256(configuration)[7:] + ".json"
    members: dict[str, bytes] = {}
    paths = []
    for data in plain:
        path = f"{sha256(data)[7:]}/layer.tar"
        members[path] = gzip.compress(data, mtime=0) if gzipped else data
        paths.append(path)
    members[config_name] = configuration
    entry = {"Config": config_name, "RepoTags": list(names), "Layers": paths}
    members["manifest.json"] = json.dumps([entry]).encode()
    return members


def docker(path: Path, *names: str, gzipped: bool = False) -> Path:
    return _write_tar(path, docker_members(*names, gzipped=gzipped))


def tar(path: Path, members: dict[str, bytes]) -> Path:
    return _write_tar(path, members)
