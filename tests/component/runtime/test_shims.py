"""Which processes are taken for shims that containerd has lost."""

from __future__ import annotations

import asyncio
import sys

import pytest

from edgeorch.runtime import shims

ADDRESS, NAMESPACE = "/run/nobody.sock", "nobody"


@pytest.mark.parametrize(("before", "found"), [([], 1), (["unshare", "--mount"], 0)])
async def test_what_a_container_says_of_itself_is_not_believed(
    before: list[str], found: int
) -> None:
    """Its "program" would be run as root, and its "bundle" removed, on the host."""
    named = f"exec -a {shims.PROGRAM} {sys.executable} -c 'print(flush=True); input()' \"$@\""
    words = ["-namespace", NAMESPACE, "-address", ADDRESS, "-id", "x"]
    process = await asyncio.create_subprocess_exec(
        *before, "bash", "-c", named, "bash", *words,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        assert len(shims.running(ADDRESS, NAMESPACE)) == found
    finally:
        process.kill()
        await process.wait()
