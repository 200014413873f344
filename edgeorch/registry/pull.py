"""Pulling an image: resolve, fetch what is missing from where it stopped, unpack as it comes.

Every blob goes into the content store under an ingest of its own name, so what has arrived stays:
a dropped connection, a restart of either side or a power cut costs the bytes in flight, no more.
Layers are fetched side by side, a few at a time, and unpacked in order while the next ones come;
memory is bounded by chunks, not by layers. What is there already is not asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from edgeorch.core import image_room
from edgeorch.lib import backoff, metrics
from edgeorch.registry import client, connection, errors, pace
from edgeorch.wire import oci

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edgeorch.registry import auth
    from edgeorch.registry.hosts import Host

log = logging.getLogger(__name__)

PARALLEL = 3
ATTEMPTS = 8
"""How often in a row a blob may fail without a byte of progress."""
RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=15.0)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Progress = Callable[[int, int], None]
"""Bytes that are here, bytes of the whole image."""


class PullError(Exception):
    """The image cannot be had; the text is what `describe` shows."""


class Unreachable(PullError):
    """The registry did not answer: nothing is known against a copy that is here already."""


class Ingest(Protocol):
    """Any of these raises ConnectionError when the store is away for the moment."""

    @property
    def offset(self) -> int: ...

    async def write(self, data: bytes) -> None: ...

    async def rewind(self) -> None: ...

    async def commit(self, labels: dict[str, str]) -> None:
        """Raises ValueError when what has arrived is not what was promised."""

    async def close(self) -> None: ...


class Sink(Protocol):
    """Where an image goes: the content store and what makes an image of its blobs."""

    async def read(self, digest: str) -> bytes:
        """A small blob. Raises KeyError when it is not there."""

    async def open(self, ref: str, size: int, digest: str) -> Ingest:
        """Raises KeyError when the blob is there already, ConnectionError."""

    async def room(self, blobs: Sequence[oci.Descriptor]) -> image_room.Room | None:
        """That there is for those of them that are not there; None when nobody can say."""

    async def unpack(self, manifest: oci.Descriptor, position: int) -> None:
        """This layer, with all below it unpacked. Manifest, configuration and layer are there."""

    async def finish(self, name: str, target: oci.Descriptor, manifest: oci.Descriptor) -> None:
        """All is there and unpacked: label it, and make the image known under `name`."""


class Sinks(Protocol):
    def hold(self, name: str) -> AbstractAsyncContextManager[Sink]:
        """A sink for the image `name`.

        What arrives is spared by garbage collection, also after a failure, so that the next try
        finds it.
        """


class Source(Struct, frozen=True):
    """What to pull. `reference` is a tag or a digest; `name` what the image will be called."""

    name: str
    path: str
    """The repository, as `library/nginx`."""
    reference: str
    hosts: Sequence[Host]
    """In the order in which they are asked."""
    credentials: Callable[[Host], Sequence[auth.Credential]] = lambda _: ()


class Limits(Struct, frozen=True):
    parallel_layers: int = PARALLEL
    stall_timeout: float = connection.STALL_TIMEOUT
    bytes_per_second: int = 0


class Puller:
    def __init__(self, sinks: Sinks, host: oci.Platform, limits: Limits | None = None) -> None:
        self._sinks = sinks
        self._host = host
        self._limits = limits or Limits()
        self._pace = pace.Pace(self._limits.bytes_per_second)
        self._coming = _Coming()
        self._figures = _Figures()

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._figures.received, self._figures.resumed)

    async def pull(self, source: Source, progress: Progress = lambda _have, _all: None) -> None:
        """Raises PullError."""
        async with self._transfer(source) as transfer:
            await transfer.run(progress)

    async def layers(self, source: Source) -> Sequence[oci.Descriptor]:
        """What would be fetched for this machine; only manifests are. Raises PullError."""
        async with self._transfer(source) as transfer:
            return (await transfer.described()).layers

    async def room(self, name: str, layers: Sequence[oci.Descriptor]) -> image_room.Room | None:
        """For those layers that are not here; None when nobody can say. Raises ConnectionError."""
        async with self._sinks.hold(name) as sink:
            return await sink.room(layers)

    @asynccontextmanager
    async def _transfer(self, source: Source) -> AsyncIterator[_Transfer]:
        """Raises PullError."""
        connections = [
            connection.Connection(
                host, source.path, source.credentials(host), self._limits.stall_timeout
            )
            for host in source.hosts
        ]
        try:
            async with (
                self._sinks.hold(source.name) as sink,
                client.Client(connections) as registry,
            ):
                yield _Transfer(
                    sink,
                    self._host,
                    registry,
                    source,
                    self._limits,
                    self._pace,
                    self._coming,
                    self._figures,
                )
        except (errors.RegistryError, oci.ManifestError, ConnectionError) as error:
            kind = Unreachable if isinstance(error, errors.Unreachable) else PullError
            raise kind(f'failed to pull and unpack image "{source.name}": {error}') from error


class _Figures:
    def __init__(self) -> None:
        self.received = metrics.Counter(
            "edgeorch_image_pull_received_bytes_total", "Bytes of blobs that registries have sent."
        )
        self.resumed = metrics.Counter(
            "edgeorch_image_pull_resumed_bytes_total",
            "Bytes of blobs that were here already when they were gone on with.",
        )


class _Coming:
    """Blobs under way: images that share a layer wait for the one that fetches it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, digest: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(digest, (asyncio.Lock(), 0))
        self._locks[digest] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(digest)
            if users > 1:
                self._locks[digest] = (lock, users - 1)


class _Transfer:
    """One pull under way."""

    def __init__(
        self,
        sink: Sink,
        host: oci.Platform,
        registry: client.Client,
        source: Source,
        limits: Limits,
        pacing: pace.Pace,
        coming: _Coming,
        counted: _Figures,
    ) -> None:
        self._sink = sink
        self._host = host
        self._registry = registry
        self._source = source
        self._gate = asyncio.Semaphore(limits.parallel_layers)
        self._pace = pacing
        self._coming = coming
        self._figures = counted
        self._have: dict[str, int] = {}
        self._total = 0
        self._progress: Progress = lambda _have, _all: None

    async def run(self, progress: Progress) -> None:
        target, manifest = await self._resolve()
        described = await self._described(manifest)
        blobs = {blob.digest: blob for blob in (described.config, *described.layers)}
        for digest in blobs:
            if _DIGEST.fullmatch(digest) is None:
                raise oci.ManifestError(f"unsupported digest {digest!r}")
        self._have = dict.fromkeys(blobs, 0)
        self._total = sum(blob.size for blob in blobs.values())
        self._progress = progress
        room = await self._sink.room(described.layers)
        if room is not None and (short := image_room.shortage(room)):
            # Before it fills what others need, too.
            raise errors.RegistryError(short)
        await self._fetch(described.config)
        await self._fetch_layers(manifest, described.layers)
        await self._sink.finish(self._source.name, target, manifest)

    async def described(self) -> oci.Manifest:
        _, manifest = await self._resolve()
        return await self._described(manifest)

    async def _described(self, manifest: oci.Descriptor) -> oci.Manifest:
        return oci.manifest(await self._sink.read(manifest.digest))

    # --- what to fetch --------------------------------------------------------------------------

    async def _resolve(self) -> tuple[oci.Descriptor, oci.Descriptor]:
        """The image's target (index or manifest) and the manifest for this machine."""
        name = self._source.name
        try:
            target, raw = await self._target()
        except errors.NotFound:
            raise errors.NotFound(
                f'failed to resolve reference "{name}": {name}: not found'
            ) from None
        except errors.RegistryError as error:
            told = f'failed to resolve reference "{name}": {error}'
            raise _retold(error, told) from error
        found = target
        for _ in range(3):  # an index may point to an index
            if not oci.is_index(raw, found.media_type):
                return target, found
            chosen = oci.select(raw, self._host)
            found, raw = await self._manifest(chosen.digest, chosen.media_type)
        raise oci.ManifestError("indexes are nested too deeply")

    async def _target(self) -> tuple[oci.Descriptor, bytes]:
        """What the tag points at is asked for without fetching it: registries count fetches."""
        reference = self._source.reference
        if _DIGEST.fullmatch(reference):
            return await self._manifest(reference)
        head = client.Head("", "", 0)
        try:
            head = await self._registry.head(reference)
        except (errors.NotFound, errors.Denied, errors.Unreachable):
            raise
        except errors.RegistryError as error:
            log.debug("No answer to HEAD of %s: %s", self._source.name, error)
        if _DIGEST.fullmatch(head.digest):
            return await self._manifest(head.digest, head.media_type)
        return await self._manifest(reference)

    async def _manifest(self, reference: str, told: str = "") -> tuple[oci.Descriptor, bytes]:
        """`told` is the media type as somebody else said it."""
        by_digest = _DIGEST.fullmatch(reference) is not None
        if by_digest:
            try:
                raw = await self._sink.read(reference)
            except KeyError:
                pass
            else:
                found = oci.Descriptor(_media_type(raw, told), reference, len(raw))
                await self._store(found, raw)  # for the lease
                return found, raw
        fetched = await self._registry.manifest(reference)
        digest = "sha256:" + hashlib.sha256(fetched.raw).hexdigest()
        if by_digest and digest != reference:
            raise oci.ManifestError(f"the registry sent {digest} for {reference}")
        media_type = _media_type(fetched.raw, fetched.media_type)
        found = oci.Descriptor(media_type, digest, len(fetched.raw))
        await self._store(found, fetched.raw)
        return found, fetched.raw

    async def _store(self, blob: oci.Descriptor, raw: bytes) -> None:
        try:
            ingest = await self._sink.open(_ref(blob), blob.size, blob.digest)
        except KeyError:
            return
        try:
            if ingest.offset not in (0, blob.size):
                await ingest.rewind()
            if ingest.offset < blob.size:
                await ingest.write(raw)
            await ingest.commit({})
        finally:
            await ingest.close()

    # --- fetching -------------------------------------------------------------------------------

    async def _fetch_layers(
        self, manifest: oci.Descriptor, layers: tuple[oci.Descriptor, ...]
    ) -> None:
        here = {layer.digest: asyncio.Event() for layer in layers}

        async def one(layer: oci.Descriptor) -> None:
            async with self._gate:
                await self._fetch(layer)
            here[layer.digest].set()

        async def unpack() -> None:
            for position, layer in enumerate(layers):
                await here[layer.digest].wait()
                await self._sink.unpack(manifest, position)

        unique = {layer.digest: layer for layer in layers}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(unpack(), name=f"unpack {self._source.name}")
                for layer in unique.values():
                    group.create_task(one(layer), name=f"fetch {layer.digest[:19]}")
        except* Exception as caught:
            raise _plain(caught) from None

    async def _fetch(self, blob: oci.Descriptor) -> None:
        """Until it is there, from wherever it stopped, as long as it gets on."""
        async with self._coming.turn(blob.digest):
            failures = 0
            while True:
                start = self._have[blob.digest]
                try:
                    await self._go_on(blob)
                    return
                except (errors.NotFound, errors.Denied):
                    raise
                except (errors.RegistryError, ConnectionError) as error:
                    at = self._have[blob.digest]
                    failures = 0 if at > start else failures + 1
                    if failures >= ATTEMPTS:
                        raise
                    log.info("blob %s stopped at %d: %s", blob.digest, at, error)
                    said = error.after if isinstance(error, errors.Busy) else 0.0
                await asyncio.sleep(max(said, RETRY.delay(failures)))

    async def _go_on(self, blob: oci.Descriptor) -> None:
        try:
            ingest = await self._sink.open(_ref(blob), blob.size, blob.digest)
        except KeyError:
            self._arrived(blob, blob.size)
            return
        try:
            if ingest.offset > blob.size:
                await ingest.rewind()
            self._arrived(blob, ingest.offset)
            self._figures.resumed.add(by=ingest.offset)
            await self._copy(blob, ingest)
        finally:
            await ingest.close()

    async def _copy(self, blob: oci.Descriptor, ingest: Ingest) -> None:
        if ingest.offset < blob.size:
            async for part in self._registry.blob(blob.digest, ingest.offset, blob.urls):
                if ingest.offset + len(part) > blob.size:
                    await ingest.rewind()
                    raise errors.RegistryError(
                        f"blob {blob.digest} is larger than its {blob.size} bytes"
                    )
                self._figures.received.add(by=len(part))
                await ingest.write(part)
                self._arrived(blob, ingest.offset)
                await self._pace.take(len(part))
        if ingest.offset != blob.size:
            raise errors.RegistryError(
                f"blob {blob.digest} ended at {ingest.offset} of {blob.size} bytes"
            )
        try:
            await ingest.commit({})
        except ValueError as error:
            # What has arrived is not what was promised: begin this blob anew.
            await ingest.rewind()
            raise errors.RegistryError(f"blob {blob.digest} is damaged: {error}") from error

    def _arrived(self, blob: oci.Descriptor, offset: int) -> None:
        self._have[blob.digest] = offset
        self._progress(sum(self._have.values()), self._total)


def _media_type(raw: bytes, told: str) -> str:
    """As somebody said, or as the document shows."""
    if told in oci.INDEXES | oci.MANIFESTS:
        return told
    return oci.own_media_type(raw)


def _ref(blob: oci.Descriptor) -> str:
    return f"pull-{blob.digest}"


def _plain(group: BaseExceptionGroup[Exception]) -> Exception:
    """The first of what went wrong side by side."""
    first = group.exceptions[0]
    return _plain(first) if isinstance(first, BaseExceptionGroup) else first


def _retold(error: errors.RegistryError, told: str) -> errors.RegistryError:
    if isinstance(error, errors.Busy):
        return errors.Busy(told, error.after)
    return type(error)(told)
