"""The manifest that fits a machine is found, and what does not fit is refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.wire import oci


def _index(*platforms: str) -> bytes:
    entries: list[dict[str, Any]] = []
    for number, text in enumerate(platforms):
        system, architecture, *variant = text.split("/")
        platform = {"os": system, "architecture": architecture}
        if variant:
            platform["variant"] = variant[0]
        entries.append(
            {"mediaType": oci.OCI_MANIFEST, "digest": text, "size": number, "platform": platform}
        )
    return json.encode({"schemaVersion": 2, "manifests": entries})


@pytest.mark.parametrize(
    ("machine", "offered", "chosen"),
    [
        pytest.param("x86_64", ("linux/arm64", "linux/amd64"), "linux/amd64", id="amd64"),
        pytest.param("aarch64", ("linux/amd64", "linux/arm64"), "linux/arm64", id="no-variant"),
        pytest.param("aarch64", ("linux/arm/v7", "linux/arm64/v8"), "linux/arm64/v8", id="arm64"),
        pytest.param("aarch64", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7", id="newest-arm"),
        pytest.param("armv7l", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6", id="older-arm"),
        pytest.param("armv6l", ("linux/arm/v7", "linux/arm/v6"), "linux/arm/v6", id="not-newer"),
        pytest.param("x86_64", ("windows/amd64", "linux/386"), "linux/386", id="32-bit"),
        pytest.param("riscv64", ("linux/riscv64",), "linux/riscv64", id="other-machines"),
    ],
)
def test_the_best_platform_is_chosen(machine: str, offered: tuple[str, ...], chosen: str) -> None:
    assert oci.select(_index(*offered), oci.host_platform(machine)).digest == chosen


def test_no_match_says_what_there_is() -> None:
    with pytest.raises(oci.ManifestError, match=r"linux/arm/v6 in manifest \(it has: linux/amd64"):
        oci.select(_index("linux/amd64", "windows/arm/v6"), oci.host_platform("armv6l"))


def test_a_document_without_a_media_type_is_told_by_its_fields() -> None:
    assert oci.is_index(_index("linux/amd64"), "")
    assert not oci.is_index(b'{"config": {}, "layers": []}', "text/plain")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b"{", "not JSON", id="not-json"),
        pytest.param(b"[]", "not a JSON object", id="list"),
        pytest.param(b'{"schemaVersion": 1}', "schema 1 is not supported", id="schema-1"),
        pytest.param(b"{}", "not an image manifest", id="empty"),
        pytest.param(b'{"config": {}, "layers": []}', "malformed descriptor", id="descriptor"),
        pytest.param(b'{"config": 3, "layers": []}', "malformed descriptor", id="type"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_reason(raw: bytes, told: str) -> None:
    with pytest.raises(oci.ManifestError, match=told):
        oci.manifest(raw)


@pytest.mark.parametrize(
    ("machine", "offered", "chosen"),
    [
        ("armv8l", ("linux/arm64", "linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("armv7l", ("linux/arm/v8", "linux/arm/6"), "linux/arm/6"),
        ("armv6l", ("linux/arm/v5", "linux/arm"), "linux/arm/v5"),
        ("x86_64", ("linux/amd64/v3", "linux/amd64/v1"), "linux/amd64/v1"),
    ],
)
def test_variants_fall_back_to_what_the_machine_can_do(
    machine: str, offered: tuple[str, ...], chosen: str
) -> None:
    assert oci.select(_index(*offered), oci.host_platform(machine)).digest == chosen


def test_attestations_are_no_images() -> None:
    document = json.decode(_index("linux/amd64", "linux/amd64"))
    document["manifests"][0]["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    assert oci.select(json.encode(document), oci.host_platform("x86_64")).size == 1


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.oci.image.layer.v1.tar", oci.OCI_LAYER),
        ("application/vnd.oci.image.layer.v1.tar+gzip", f"{oci.OCI_LAYER}+gzip"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", f"{oci.OCI_LAYER}+zstd"),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", f"{oci.OCI_LAYER}+zstd"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", f"{oci.OCI_LAYER}+gzip"),
        (
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
        ),
        ("", "application/vnd.docker.image.rootfs.diff.tar"),
    ],
)
def test_what_a_layer_is_applied_as(media_type: str, expected: str) -> None:
    assert oci.applied_as(media_type) == expected


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.image.layer.v1.tar+encrypted", "application/vnd.cncf.helm.chart.v1.tar"],
)
def test_what_no_layer_can_be(media_type: str) -> None:
    with pytest.raises(oci.ManifestError, match="unsupported layer type"):
        oci.applied_as(media_type)


@pytest.mark.parametrize(
    "entry",
    [
        {"digest": "sha256:x", "size": -1},
        {"digest": "sha256:x", "size": True},
        {"digest": "sha256:x", "size": "1"},
        {"digest": 3, "size": 1},
        {"size": 1},
        "sha256:x",
    ],
)
def test_a_malformed_descriptor_is_refused(entry: object) -> None:
    with pytest.raises(oci.ManifestError, match="malformed descriptor"):
        oci.descriptor(entry)
