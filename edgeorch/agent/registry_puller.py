"""The agent's `Puller`: the registry client, told in the agent's words."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from edgeorch.agent import ports
from edgeorch.registry import auth, client, pull
from edgeorch.runtime import errors
from edgeorch.wire import image_ref, oci

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESS_EVERY = 5.0
"""Seconds between two words on the progress of one pull."""


class RegistryPuller:
    def __init__(self, sinks: pull.Sinks) -> None:
        self._puller = pull.Puller(sinks, oci.host_platform(os.uname().machine))

    async def pull(self, ref: str, auths: list[bytes], progress: Callable[[str], None]) -> None:
        """Raises ports.PullError."""
        found = image_ref.parse(ref)
        repository = client.Repository(found.domain, found.path)
        known: dict[str, auth.Credential] = {}
        for text in auths:
            known |= auth.docker_config(text)
        source = pull.Source(
            name=str(found),
            repository=repository,
            reference=found.digest or found.tag,
            credential=auth.credential_for(found.name, known),
        )
        try:
            await self._puller.pull(source, _Progress(progress).arrived)
        except pull.Unreachable as error:
            raise ports.PullError(str(error), unreachable=True) from error
        except (pull.PullError, errors.ContainerdError) as error:
            raise ports.PullError(str(error)) from error


class _Progress:
    """Bytes as they arrive, as a sentence every few seconds."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._started = self._told = time.monotonic()
        self._first: int | None = None

    def arrived(self, have: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = have
        if now - self._told < PROGRESS_EVERY:
            return
        self._told = now
        rate = (have - self._first) / (now - self._started)
        share = 100 * have // total if total else 100
        self._tell(f"{_mega(have)} of {_mega(total)} MB ({share}%), {_mega(rate)} MB/s")


def _mega(count: float) -> str:
    return f"{count / 1e6:.1f}"
