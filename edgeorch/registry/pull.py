"""Pulling an image: resolve, fetch what is missing from where it stopped, hand over to unpack.

Every blob goes into the content store under an ingest of its own name, so what has arrived stays:
a dropped connection, a restart or a power cut costs the bytes in flight, no more. Layers are
fetched side by side, a few at a time; memory is bounded by chunks, not by layers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeorch.lib import backoff
from edgeorch.registry import auth, client
from edgeorch.wire import oci

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

log = logging.getLogger(__name__)

PARALLEL = 3
ATTEMPTS = 8
"""How often in a row a blob may fail without a byte of progress."""
RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=15.0)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PullError(Exception):
    """The image cannot be had; the text is what `describe` shows."""


class Unreachable(PullError):
    """The registry did not answer: nothing is known against a copy that is here already."""


class Ingest(Protocol):
    @property
    def offset(self) -> int: ...

    async def write(self, data: bytes) -> None: ...

    async def rewind(self) -> None: ...

    async def commit(self, labels: dict[str, str]) -> None: ...

    async def close(self) -> None: ...


class Sink(Protocol):
    """Where an image goes: the content store and what makes an image of its blobs."""

    async def exists(self, digest: str) -> bool: ...

    async def read(self, digest: str) -> bytes: ...

    async def open(self, ref: str, size: int, digest: str) -> Ingest:
        """Raises KeyError when the blob is there already."""

    async def finish(self, name: str, target: oci.Descriptor, manifest: oci.Descriptor) -> None:
        """All blobs are there: label, unpack, and make the image known under `name`."""


class Sinks(Protocol):
    def hold(self, name: str) -> AbstractAsyncContextManager[Sink]:
        """A sink for the image `name`.

        What arrives is spared by garbage collection, also after a failure, so that the next try
        finds it.
        """


@dataclass(frozen=True, slots=True)
class Source:
    """What to pull. `reference` is a tag or a digest; `name` what the image will be called."""

    name: str
    repository: client.Repository
    reference: str
    credential: auth.Credential | None = None


class Puller:
    def __init__(self, sinks: Sinks, host: oci.Platform) -> None:
        self._sinks = sinks
        self._host = host

    async def pull(
        self, source: Source, progress: Callable[[int, int], None] = lambda _have, _all: None
    ) -> None:
        """Raises PullError."""
        try:
            async with (
                self._sinks.hold(source.name) as sink,
                client.Client(source.repository, source.credential) as registry,
            ):
                await _Transfer(sink, self._host, registry, source).run(progress)
        except (client.RegistryError, oci.ManifestError) as error:
            kind = Unreachable if isinstance(error, client.Unreachable) else PullError
            raise kind(f'failed to pull and unpack image "{source.name}": {error}') from error


class _Transfer:
    """One pull under way."""

    def __init__(
        self, sink: Sink, host: oci.Platform, registry: client.Client, source: Source
    ) -> None:
        self._sink = sink
        self._host = host
        self._registry = registry
        self._source = source

    async def run(self, progress: Callable[[int, int], None]) -> None:
        target, manifest = await self._resolve()
        described = oci.manifest(await self._sink.read(manifest.digest))
        await self._fetch_all([described.config, *described.layers], progress)
        await self._sink.finish(self._source.name, target, manifest)

    async def _resolve(self) -> tuple[oci.Descriptor, oci.Descriptor]:
        """The image's target (index or manifest) and the manifest for this machine."""
        name = self._source.name
        try:
            target, raw = await self._manifest(self._source.reference)
        except client.NotFound:
            raise client.NotFound(
                f'failed to resolve reference "{name}": {name}: not found'
            ) from None
        except client.RegistryError as error:
            raise type(error)(f'failed to resolve reference "{name}": {error}') from error
        found = target
        for _ in range(3):  # an index may point to an index
            if not oci.is_index(raw, found.media_type):
                return target, found
            chosen = oci.select(raw, self._host)
            found, raw = await self._manifest(chosen.digest)
        raise oci.ManifestError("indexes are nested too deeply")

    async def _manifest(self, reference: str) -> tuple[oci.Descriptor, bytes]:
        by_digest = _DIGEST.fullmatch(reference) is not None
        fetched = await self._registry.manifest(reference)
        digest = "sha256:" + hashlib.sha256(fetched.raw).hexdigest()
        if by_digest and digest != reference:
            raise oci.ManifestError(f"the registry sent {digest} for {reference}")
        media_type = fetched.media_type
        if media_type not in oci.INDEXES | oci.MANIFESTS:
            media_type = oci.OCI_INDEX if oci.is_index(fetched.raw, "") else oci.OCI_MANIFEST
        found = oci.Descriptor(media_type, digest, len(fetched.raw))
        await self._store(found, fetched.raw)
        return found, fetched.raw

    async def _store(self, blob: oci.Descriptor, raw: bytes) -> None:
        try:
            ingest = await self._sink.open(_ref(blob), blob.size, blob.digest)
        except KeyError:
            return
        try:
            if ingest.offset:
                await ingest.rewind()
            await ingest.write(raw)
            await ingest.commit({})
        finally:
            await ingest.close()

    async def _fetch_all(
        self,
        blobs: list[oci.Descriptor],
        progress: Callable[[int, int], None],
    ) -> None:
        unique = {blob.digest: blob for blob in blobs}
        total = sum(blob.size for blob in unique.values())
        have = dict.fromkeys(unique, 0)
        gate = asyncio.Semaphore(PARALLEL)

        def arrived(digest: str, offset: int) -> None:
            have[digest] = offset
            progress(sum(have.values()), total)

        async def one(blob: oci.Descriptor) -> None:
            async with gate:
                await self._fetch(blob, arrived)

        try:
            async with asyncio.TaskGroup() as group:
                for blob in unique.values():
                    if _DIGEST.fullmatch(blob.digest) is None:
                        raise oci.ManifestError(f"unsupported digest {blob.digest!r}")
                    group.create_task(one(blob), name=f"fetch {blob.digest[:19]}")
        except* (client.RegistryError, oci.ManifestError) as caught:
            raise caught.exceptions[0] from None

    async def _fetch(self, blob: oci.Descriptor, arrived: Callable[[str, int], None]) -> None:
        failures = 0
        while True:
            try:
                ingest = await self._sink.open(_ref(blob), blob.size, blob.digest)
            except KeyError:
                arrived(blob.digest, blob.size)
                return
            start = ingest.offset
            try:
                await self._copy(blob, ingest, arrived)
                return
            except client.NotFound:
                raise
            except client.RegistryError as error:
                failures = 0 if ingest.offset > start else failures + 1
                if failures >= ATTEMPTS:
                    raise
                log.info("blob %s stopped at %d: %s", blob.digest, ingest.offset, error)
            finally:
                await ingest.close()
            await asyncio.sleep(RETRY.delay(failures))

    async def _copy(
        self,
        blob: oci.Descriptor,
        ingest: Ingest,
        arrived: Callable[[str, int], None],
    ) -> None:
        if ingest.offset < blob.size:
            async for part in self._registry.blob(blob.digest, ingest.offset):
                await ingest.write(part)
                arrived(blob.digest, ingest.offset)
        if ingest.offset != blob.size:
            raise client.RegistryError(
                f"blob {blob.digest} ended at {ingest.offset} of {blob.size} bytes"
            )
        try:
            await ingest.commit({})
        except ValueError as error:
            # What has arrived is not what was promised: begin this blob anew.
            await ingest.rewind()
            raise client.RegistryError(f"blob {blob.digest} is damaged: {error}") from error


def _ref(blob: oci.Descriptor) -> str:
    return f"pull-{blob.digest}"
