"""Signatures of bundles: what cannot be checked is not trusted. With the real openssl."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path

import pytest

from edgeorch.lib import signatures

DATA = b"kind: ConfigMap\n"


def _openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The public one; the private one is beside it."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    _openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    _openssl("pkey", "-in", private, "-pubout", "-out", public)
    return public


def _signed(key: Path, data: bytes = DATA) -> str:
    file = key.parent / "signed"
    file.write_bytes(data)
    private = key.parent / "private.pem"
    found = _openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", file)
    return base64.b64encode(found).decode()


def _verify(header: str, *keys: Path, folder: Path | None = None) -> None:
    asyncio.run(signatures.verify(DATA, header, keys, folder))


def test_a_good_one_is_found_among_others(key: Path) -> None:
    folder = key.parent / "run"
    folder.mkdir()
    other = base64.b64encode(bytes(64)).decode()
    _verify(f"{other}, {_signed(key)}", key, folder=folder)
    assert list(folder.iterdir()) == []


def test_of_other_data_it_is_none(key: Path) -> None:
    with pytest.raises(signatures.Invalid, match="none of the trusted keys"):
        _verify(_signed(key, DATA + b" "), key)


@pytest.mark.parametrize(
    ("header", "told"),
    [("", "not signed"), ("%", "not base64"), ("AAAA", "3 bytes"), ("AA==," * 9, "more than 8")],
)
def test_what_is_no_signature_is_told(key: Path, header: str, told: str) -> None:
    with pytest.raises(signatures.Invalid, match=told):
        _verify(header, key)


def test_without_openssl_nothing_is_trusted(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = _signed(key)
    monkeypatch.setenv("PATH", str(key.parent))
    with pytest.raises(signatures.Invalid, match=r"cannot be checked: .*openssl"):
        _verify(header, key)


def test_without_room_nothing_is_trusted(key: Path) -> None:
    with pytest.raises(signatures.Invalid, match="cannot be checked"):
        _verify(_signed(key), key, folder=key.parent / "nowhere")


def test_an_answer_that_does_not_come_is_none(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = _signed(key)
    monkeypatch.setattr(signatures, "_LIMIT", 0.0)
    with pytest.raises(signatures.Invalid, match="cannot be checked"):
        _verify(header, key)
