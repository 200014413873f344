"""containerd's own database is damaged: the device mends that by itself, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeorch.lib import boltfile

from . import lab as labs
from . import manifests


@pytest.mark.ask(12)
def test_a_containerd_that_cannot_start_is_helped_up(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("containerd: {patience: 0.5}\n")
    lab = new_lab("--config", str(config), load=(images["nginx-1.25"],))
    lab.apply(manifests.deployment("web", manifests.web()))
    lab.rollout("deployment/web")
    index = lab.device.data / "edgeorch/image-index.json"
    labs.until(lambda: index.exists() and "nginx" in index.read_text(), "the index")

    # A service manager tries again and again; the lab does not.
    meta = lab.device.data / "containerd/io.containerd.metadata.v1.bolt/meta.db"
    lab.lab("containerd", "kill")
    _check_the_check(meta, tmp_path / "copy.db")
    with meta.open("r+b") as file:
        file.write(bytes(2 * 4096))
    lab.wait(f"node/{lab.name}", "condition=ContainerdRebuilt", "--timeout=90s")
    labs.until(lambda: "ImagesRebuilt" in [e["reason"] for e in lab.items("events")], "the images")
    before = {pod["metadata"]["uid"] for pod in lab.items("pods")}
    lab.rollout("deployment/web")
    assert before == {pod["metadata"]["uid"] for pod in lab.items("pods")}
    assert meta.with_suffix(".damaged").exists()
    told = {event["reason"]: event["message"] for event in lab.items("events")}
    assert "no valid meta page" in told["ContainerdRebuilt"]
    assert told["ImagesRebuilt"].startswith("1 images were made anew")
    assert not (lab.device.data / "containerd/edgeorch-salvage").exists()


@pytest.mark.ask(11)
def test_layers_torn_by_a_cut_are_unpacked_again(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path]
) -> None:
    lab = new_lab(load=(images["nginx-1.25"],))
    lab.wait(
        f"node/{lab.name}", "jsonpath={.status.conditions[?(@.type=='UncleanStop')].status}=False"
    )
    layers = lab.device.data / "containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    program = next(path for path in layers.glob("*/fs/usr/sbin/nginx") if path.is_file())
    whole = program.read_bytes()
    lab.lab("kill")
    program.write_bytes(b"")
    _as_after_another_boot(lab)
    lab.lab("start")
    reason = "jsonpath={.status.conditions[?(@.type=='UncleanStop')].reason}=PowerWasCut"
    lab.wait(f"node/{lab.name}", reason)
    assert program.read_bytes() == whole
    told = {event["reason"]: event["message"] for event in lab.items("events")}
    assert "has 0 bytes, not" in told["ImageRepaired"]
    lab.apply(manifests.deployment("web", manifests.web()))
    lab.rollout("deployment/web")

    # Without a whole blob there is nothing to unpack: the image is given up, and said so.
    lab.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=60s")
    lab.lab("kill")
    program.write_bytes(b"")
    blobs = lab.device.data / "containerd/io.containerd.content.v1.content/blobs/sha256"
    biggest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    with biggest.open("r+b") as file:
        file.write(bytes(4096))
    (lab.device.data / "edgeorch/layers-checked").unlink()
    _as_after_another_boot(lab)
    lab.lab("start")
    told = {event["reason"]: event["message"] for event in lab.items("events")}
    assert "is to be fetched again" in told["ImageDamaged"]
    assert "nginx" not in lab.run("ctr", "image", "list", "-q").stdout
    lab.lab("stop")
    lab.lab("start")
    lab.wait(
        f"node/{lab.name}", "jsonpath={.status.conditions[?(@.type=='UncleanStop')].status}=False"
    )


def _as_after_another_boot(lab: labs.Lab) -> None:
    (lab.device.data / "edgeorch/running").write_text("00000000-0000-0000-0000-000000000000\n")


def _check_the_check(meta: Path, copy: Path) -> None:
    """A real database is sound; with any one page gone it is not, unless that page is free."""
    assert boltfile.problem(meta) is None
    whole = meta.read_bytes()
    found = []
    for page in range(2, len(whole) // 4096):
        copy.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        found.append(boltfile.problem(copy))
    assert any(found)
    copy.write_bytes(whole[: len(whole) // 2])
    assert boltfile.problem(copy)
    copy.write_bytes(b"")
    assert boltfile.problem(copy) == "no valid meta page"
