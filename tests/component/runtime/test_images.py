"""Images out of archives: names, blobs that stay, layers unpacked once, errors that say why."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from edgeorch.runtime import content, errors, images, leases, stdio, unpack
from edgeorch.runtime.pb import snapshots_pb2
from edgeorch.wire import oci
from tests.component.runtime import archives, specs
from tests.component.runtime.conftest import BUSYBOX, Runtime


async def _import(runtime: Runtime, path: Path, name: str = "") -> list[str]:
    return await runtime.archives.import_archive(path, name=name)


async def _collect_garbage(runtime: Runtime) -> None:
    """Removing an image with `sync` runs the collector over everything."""
    await runtime.images.put("scratch/gone:1", await _target(runtime, BUSYBOX), {})
    await runtime.images.remove("scratch/gone:1", sync=True)


async def _target(runtime: Runtime, name: str) -> oci.Descriptor:
    info = await runtime.images.get(name)
    return oci.Descriptor(oci.OCI_MANIFEST, info.digest, info.size)


async def _runs(runtime: Runtime, name: str) -> None:
    """A container of the image starts, and sees both layers."""
    config = await runtime.images.config(name)
    spec = archives_spec(runtime)
    await runtime.containers.create(
        "probe", image=name, chain_id=config.chain_id, spec=spec, labels={}
    )
    await runtime.containers.start("probe", stdio.Stdio())
    assert (await runtime.containers.wait("probe")).exit_code == 0
    await runtime.containers.delete("probe")


def archives_spec(runtime: Runtime) -> bytes:
    return specs.minimal(
        ["sh", "-c", "test -s /etc/extra"], cgroup=f"{runtime.daemon.cgroup}/probe"
    )


def _zstd(path: Path) -> Path:
    subprocess.run(["zstd", "-q", "--rm", str(path)], check=True)
    return path.with_name(f"{path.name}.zst")


async def _leases(runtime: Runtime) -> list[str]:
    return [lease.id for lease in await runtime.leases.list()]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: archives.oci(path, "kind/app:1"), id="oci"),
        pytest.param(lambda path: archives.oci(path, "kind/app:1", nested=True), id="oci index"),
        pytest.param(lambda path: archives.oci(path, "kind/app:1", gzipped=False), id="oci plain"),
        pytest.param(lambda path: archives.docker(path, "kind/app:1"), id="docker"),
        pytest.param(
            lambda path: archives.docker(path, "kind/app:1", gzipped=True), id="docker gzip layers"
        ),
        pytest.param(lambda path: _zstd(archives.docker(path, "kind/app:1")), id="docker in zstd"),
    ],
)
async def test_an_archive_becomes_an_image_that_runs_and_survives_the_collector(
    runtime: Runtime, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    name = "docker.io/kind/app:1"
    assert await _import(runtime, make(tmp_path / "image.tar")) == [name]
    assert await _leases(runtime) == []
    await _collect_garbage(runtime)
    config = await runtime.images.config(name)
    assert (config.cmd, config.env) == (["sh"], ["PATH=/bin", "FROM=image"])
    assert (config.working_dir, config.exposed_ports) == ("/tmp", ["80/tcp"])
    assert config.platform.architecture == images.host_platform().architecture
    await _runs(runtime, name)
    await runtime.images.remove(name, sync=True)
    with pytest.raises(errors.NotFound):
        await runtime.images.get(name)


async def test_a_whole_archive_may_be_gzipped(runtime: Runtime, tmp_path: Path) -> None:
    plain = archives.docker(tmp_path / "image.tar", "zip/app:1", "zip/app:2")
    packed = tmp_path / "image.tgz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    assert await _import(runtime, packed) == ["docker.io/zip/app:1", "docker.io/zip/app:2"]
    assert list((runtime.run_dir / "work").iterdir()) == []
    await _runs(runtime, "docker.io/zip/app:2")


async def test_an_image_is_listed_with_the_size_of_its_content(
    runtime: Runtime, busybox_archive: Path
) -> None:
    [found] = [image for image in await runtime.images.list() if image.name == BUSYBOX]
    layers = [archives.busybox_layer(), archives.extra_layer()]
    blobs = [*(gzip.compress(layer, mtime=0) for layer in layers), archives.config(layers)]
    assert found.size == sum(map(len, blobs))
    assert found.created_at is not None
    assert await runtime.images.get(BUSYBOX) == found


async def test_importing_again_changes_nothing_and_moves_a_name(
    runtime: Runtime, tmp_path: Path
) -> None:
    await _import(runtime, archives.oci(tmp_path / "one.tar", "moving"))
    first = await runtime.images.get("docker.io/library/moving:latest")
    await _import(runtime, archives.oci(tmp_path / "same.tar", "moving"))
    assert await runtime.images.get(first.name) == first
    await _import(runtime, archives.docker(tmp_path / "two.tar", "moving"))
    assert (await runtime.images.get(first.name)).digest != first.digest


async def test_unpacking_twice_gives_the_same_chain(runtime: Runtime) -> None:
    config = await runtime.images.config(BUSYBOX)
    manifest = await runtime.images.manifest(await _target(runtime, BUSYBOX))
    unpacker = unpack.Unpacker(runtime.client)
    assert await unpacker.is_unpacked(config.chain_id)
    assert await unpacker.unpack(manifest, config.diff_ids) == config.chain_id


async def test_a_layer_that_is_not_what_the_configuration_says_is_refused(
    runtime: Runtime, tmp_path: Path
) -> None:
    members = archives.docker_members("wrong/app:1", mark="wrong")
    layer = [name for name in members if name.endswith("layer.tar")][1]
    members[layer] = archives.layer({"etc/other": b"not what was promised"})
    path = archives.tar(tmp_path / "wrong.tar", members)
    with pytest.raises(errors.BadArchive, match=r"wrong\.tar.*unpacks to sha256:"):
        await _import(runtime, path)
    with pytest.raises(errors.NotFound):
        await runtime.images.get("docker.io/wrong/app:1")
    assert not await _extracts(runtime)
    assert await _leases(runtime) == []


async def _extracts(runtime: Runtime) -> list[str]:
    """Snapshots that unpacking is at, or has left."""
    found: list[str] = []
    listing = runtime.client.services.snapshots.List
    async with runtime.client.stream(listing) as stream:
        await stream.send_message(
            snapshots_pb2.ListSnapshotsRequest(snapshotter="overlayfs"), end=True
        )
        async for part in stream:
            found += [info.name for info in part.info if info.name.startswith(unpack.KEY_PREFIX)]
    return found


def _damaged_layer(path: Path) -> Path:
    members = archives.oci_members("bad/app:1", mark="damaged")
    name = [name for name, data in members.items() if data.startswith(b"\x1f\x8b")][1]
    members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]
    return archives.tar(path, members)


def _without(path: Path, kind: str) -> Path:
    members = archives.oci_members("bad/app:1")
    index = json.loads(members["index.json"])
    if kind == "manifest":
        del members["blobs/sha256/" + index["manifests"][0]["digest"][7:]]
    elif kind == "name":
        del index["manifests"][0]["annotations"]
        members["index.json"] = json.dumps(index).encode()
    elif kind == "platform":
        members = archives.oci_members("bad/app:1", nested=True)
        members = {
            name: data.replace(images.host_platform().architecture.encode(), b"mips64")
            if b'"platform"' in data
            else data
            for name, data in members.items()
        }
        inner = next(data for data in members.values() if b'"platform"' in data)
        index = json.loads(members["index.json"])
        index["manifests"][0].update(digest=archives.sha256(inner), size=len(inner))
        members["index.json"] = json.dumps(index).encode()
        members["blobs/sha256/" + archives.sha256(inner)[7:]] = inner
    else:
        members["index.json"] = b"[1, 2"
    return archives.tar(path, members)


def _truncated(path: Path) -> Path:
    whole = archives.docker(path, "bad/app:1").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


_ODD_ANNOTATIONS = b'{"manifests": [{"digest": "sha256:a", "size": 1, "annotations": [1]}]}'


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda path: path, "No such file or directory", id="no file"),
        pytest.param(lambda path: _bytes(path, b""), "tar archive", id="empty"),
        pytest.param(lambda path: _bytes(path, b"x" * 5000), "tar archive", id="not a tar"),
        pytest.param(lambda path: _bytes(path, b"\x1f\x8bxx"), "cannot inflate", id="bad gzip"),
        pytest.param(lambda path: _bytes(path, b"(\xb5/\xfdx"), "cannot inflate", id="bad zstd"),
        pytest.param(lambda path: archives.tar(path, {"a": b""}), "neither", id="another tar"),
        pytest.param(
            lambda path: archives.tar(path, {"manifest.json": b'[{"Config": "c", "RepoTags": 5}]'}),
            "RepoTags that are no list of text",
            id="tags",
        ),
        pytest.param(
            lambda path: archives.tar(path, {"index.json": _ODD_ANNOTATIONS}),
            "annotations that are no object",
            id="annotations",
        ),
        pytest.param(_truncated, "unexpected end of data", id="cut off"),
        pytest.param(_damaged_layer, "damaged blob.*sha256", id="damaged layer"),
        pytest.param(
            lambda path: _without(path, "manifest"), "blob sha256:.* is missing", id="no manifest"
        ),
        pytest.param(lambda path: _without(path, "name"), "carries no name", id="no name"),
        pytest.param(lambda path: _without(path, "json"), "index.json is not JSON", id="bad JSON"),
        pytest.param(
            lambda path: _without(path, "platform"), "no match for platform", id="other machine"
        ),
        pytest.param(
            lambda path: archives.oci(path, "Bad/App"), "must be lowercase", id="bad name"
        ),
    ],
)
async def test_a_bad_archive_is_refused_with_its_name_and_the_reason(
    runtime: Runtime, tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    path = make(tmp_path / "bad.tar")
    before = await runtime.images.list()
    with pytest.raises(errors.BadArchive, match=f"cannot import {path}: .*({why})"):
        await _import(runtime, path)
    assert await runtime.images.list() == before
    assert await _leases(runtime) == []


async def test_an_image_without_a_name_can_be_given_one(runtime: Runtime, tmp_path: Path) -> None:
    path = _without(tmp_path / "anonymous.tar", "name")
    assert await _import(runtime, path, name="given") == ["docker.io/library/given:latest"]


async def test_a_large_layer_is_never_in_memory(runtime: Runtime, tmp_path: Path) -> None:
    members = archives.docker_members("large/app:1")
    big = archives.layer({"etc/big": bytes(96 * 1024 * 1024)})
    configuration = archives.config([archives.busybox_layer(), big])
    entry = json.loads(members["manifest.json"])[0]
    members[entry["Layers"][1]] = big
    members[entry["Config"]] = configuration
    path = archives.tar(tmp_path / "large.tar", members)
    del members, big
    # A child, because the peak of this process is what the building above needed.
    script = (
        "import asyncio, resource, sys\n"
        "from pathlib import Path\n"
        "from edgeorch.runtime import client, images\n"
        "async def main():\n"
        "    containerd = client.Client(sys.argv[1], 'edgeorch')\n"
        "    await containerd.health()\n"
        "    low = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    found = images.Images(containerd, work_dir=Path(sys.argv[3]))\n"
        "    await found.import_archive(Path(sys.argv[2]))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - low)\n"
        "    containerd.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, runtime.daemon.address, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 16 * 1024
    await runtime.images.remove("docker.io/large/app:1", sync=True)


async def test_an_ingest_is_taken_up_where_it_stopped(runtime: Runtime) -> None:
    data = bytes(range(256)) * 8192
    digest = archives.sha256(data)
    async with runtime.leases.hold("pull-test") as held:
        store = content.Content(held)
        first = await store.open("pull-x", len(data), digest)
        assert first.offset == 0
        await first.write(data[:1_000_000])
        await first.close()
        assert await store.status("pull-x") == 1_000_000
        second = await store.open("pull-x", len(data), digest)
        assert second.offset == 1_000_000
        await second.write(data[1_000_000:])
        await second.commit({"containerd.io/gc.root": "x"})
        await second.close()
        assert await store.read(digest) == data
        with pytest.raises(errors.AlreadyExists):
            await store.open("pull-x", len(data), digest)
        await store.delete(digest)
        assert await store.status("pull-x") is None


async def test_wrong_bytes_are_not_committed_and_can_be_written_anew(runtime: Runtime) -> None:
    data, digest = b"right", archives.sha256(b"right")
    async with runtime.leases.hold("pull-test") as held:
        store = content.Content(held)
        ingest = await store.open("pull-y", len(data), digest)
        await ingest.write(b"wrong")
        with pytest.raises(errors.FailedPrecondition):
            await ingest.commit({})
        await ingest.rewind()
        assert ingest.offset == 0
        await ingest.write(data)
        await ingest.commit({})
        await ingest.close()
        assert await store.exists(digest)


async def test_a_lease_kept_on_error_is_taken_up(runtime: Runtime) -> None:
    for lease, keep in (("pull-a", True), ("import-b", True), ("import-c", False)):
        with pytest.raises(ValueError, match="stop"):
            async with runtime.leases.hold(lease, keep_on_error=keep, about="what"):
                raise ValueError("stop")
    assert await _leases(runtime) == ["import-b", "pull-a"]
    found = (await runtime.leases.list())[0]
    assert found.labels[leases.ABOUT] == "what"
    assert leases.owner_lives(found)
    dead = structs.replace(found, labels={leases.OWNER: f"{found.labels[leases.OWNER]}0"})
    assert not leases.owner_lives(dead)
    await runtime.leases.remove("import-b")
    async with runtime.leases.hold("pull-a", keep_on_error=True):
        pass
    assert await _leases(runtime) == []
