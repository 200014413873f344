"""Ed25519 signatures (RFC 8032), checked by the openssl program.

Rare, so no library stays in memory for it. Made with

    openssl pkeyutl -sign -rawin -inkey key.pem -in FILE | base64 -w0
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeorch.lib import programs

SIZE = 64
"""Bytes."""
MAX_SIGNATURES = 8
_LIMIT = 30.0


class Invalid(ValueError):
    """Not signed by anybody who is trusted; says why."""


def decoded(header: str) -> list[bytes]:
    """Signatures in base64, apart by commas. Raises Invalid."""
    parts = [part.strip() for part in header.split(",") if part.strip()]
    if not parts:
        raise Invalid("it is not signed")
    if len(parts) > MAX_SIGNATURES:
        raise Invalid(f"it has more than {MAX_SIGNATURES} signatures")
    found = []
    for part in parts:
        try:
            signature = base64.b64decode(part, validate=True)
        except binascii.Error:
            raise Invalid("its signature is not base64") from None
        if len(signature) != SIZE:
            raise Invalid(f"its signature has {len(signature)} bytes; one of Ed25519 has {SIZE}")
        found.append(signature)
    return found


async def verify(
    data: bytes, header: str, keys: Sequence[Path], folder: Path | None = None
) -> None:
    """`keys`: PEM files of public keys. `folder`: where files are put for openssl meanwhile, on a
    tmpfs. Raises Invalid, also when nothing can be told: what is not checked is not trusted."""
    signatures = decoded(header)
    try:
        await _check(data, signatures, keys, folder)
    except OSError as error:  # no openssl, no room for its files, no answer in time
        why = str(error) or "openssl does not answer"
        raise Invalid(f"its signature cannot be checked: {why}") from error


async def _check(
    data: bytes, signatures: Sequence[bytes], keys: Sequence[Path], parent: Path | None
) -> None:
    problems = []
    with tempfile.TemporaryDirectory(prefix="edgeorch-", dir=parent) as folder:
        signed = Path(folder) / "data"
        await asyncio.to_thread(signed.write_bytes, data)
        for number, signature in enumerate(signatures):
            file = Path(folder) / f"signature.{number}"
            file.write_bytes(signature)
            for key in keys:
                if (told := await _openssl(signed, file, key)) is None:
                    return
                if told:
                    problems.append(told)
    raise Invalid(problems[0] if problems else "its signature is by none of the trusted keys")


async def _openssl(data: Path, signature: Path, key: Path) -> str | None:
    """None for a good signature, "" for one that is not, else why it cannot be told."""
    if not await asyncio.to_thread(key.is_file):
        return f"the trusted key {key} is not there"
    done = await programs.run(
        "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin",
        "-in", data, "-sigfile", signature,
        limit=_LIMIT,
    )  # fmt: skip
    if done.code == 0:
        return None
    if b"Verification Failure" in done.out + done.wrong:
        return ""
    return f"the trusted key {key} cannot be used: {done.complaint[:200]}"
