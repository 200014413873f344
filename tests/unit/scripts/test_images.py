"""Layers of scripts/images: the same entries give the same bytes, and paths are those of Debian."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "scripts/images"


@pytest.fixture(scope="module")
def images() -> ModuleType:
    """The program as a module: its name has no .py."""
    loader = importlib.machinery.SourceFileLoader("images_program", str(PROGRAM))
    spec = importlib.util.spec_from_loader("images_program", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_the_order_in_which_entries_come_does_not_show(images: ModuleType) -> None:
    first, second = images.Layer(), images.Layer()
    first.file("etc/a", "1")
    first.file("etc/b", "2")
    second.file("etc/b", "2")
    second.file("etc/a", "1")
    assert first.tar() == second.tar()


def test_bin_and_lib_live_under_usr(images: ModuleType) -> None:
    layer = images.Layer()
    layer.link("bin", "usr/bin")
    layer.file("bin/tool", "x", 0o755)
    layer.file("/lib64/ld.so", "y", 0o755)
    found = entries(layer.tar())
    assert set(found) == {"bin", "usr", "usr/bin", "usr/bin/tool", "usr/lib64", "usr/lib64/ld.so"}
    assert found["bin"].linkname == "usr/bin"
    assert found["usr/bin/tool"].mode == 0o755


def test_an_archive_carries_its_name_and_no_date(images: ModuleType) -> None:
    layer = images.Layer()
    layer.file("a", "1")
    image = images.nginx("1.25")
    data = images.archive(image, [layer], images.PLATFORMS["arm64"])
    assert data == images.archive(image, [layer], images.PLATFORMS["arm64"])
    assert b"docker.io/library/nginx:1.25" in data
    assert {member.mtime for member in entries(data).values()} == {0}


def test_images_that_differ_by_tag_share_all_but_the_pages(images: ModuleType) -> None:
    old, new = images.nginx("1.25"), images.nginx("1.26")
    assert old.layers == new.layers
    pages = [images.nginx_pages(None, image.tag).tar() for image in (old, new)]
    assert pages[0] != pages[1]
