"""The content store: blobs by digest, and ingests that can be taken up where they stopped.

containerd owns the bytes and checks each digest when an ingest is committed; here are the calls.
The methods of `Content` and `Ingest` are what a registry client needs as its sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import grpclib.client
import grpclib.exceptions
from google.protobuf import field_mask_pb2
from msgspec import Struct, field

from edgeorch.runtime import client, errors
from edgeorch.runtime.pb import content_pb2

CHUNK = 512 * 1024
# A blob (hundreds of MB on an SD card) is fsynced when it is committed.
COMMIT_TIMEOUT = 300.0
# containerd lets go of an ingest a moment after its writer went away.
LOCK_RETRIES = 20
LOCK_DELAY = 0.1


class BlobInfo(Struct, frozen=True):
    digest: str
    size: int
    labels: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where `Content.copy_in` takes a blob's bytes from; called in a thread."""

    def read(self, size: int, /) -> bytes: ...


class Content:
    def __init__(self, containerd: client.Client) -> None:
        self._client = containerd

    async def info(self, digest: str) -> BlobInfo:
        """Raises NotFound."""
        answer = await self._client.call(
            self._client.services.content.Info, content_pb2.InfoRequest(digest=digest)
        )
        return BlobInfo(answer.info.digest, answer.info.size, dict(answer.info.labels))

    async def exists(self, digest: str) -> bool:
        try:
            await self.info(digest)
        except errors.NotFound:
            return False
        return True

    async def read(self, digest: str, *, limit: int = 8 * 1024 * 1024) -> bytes:
        """A whole small blob (index, manifest, configuration). Raises NotFound."""
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks(digest):
            size += len(part)
            if size > limit:
                raise errors.BadImage(f"blob {digest} is larger than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def chunks(self, digest: str, offset: int = 0) -> AsyncIterator[bytes]:
        async with self._client.stream(
            self._client.services.content.Read, deadline=COMMIT_TIMEOUT
        ) as stream:
            await stream.send_message(
                content_pb2.ReadContentRequest(digest=digest, offset=offset), end=True
            )
            async for part in stream:
                yield part.data

    async def update_labels(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set these labels and leave the others. Raises NotFound."""
        request = content_pb2.UpdateRequest(
            info=content_pb2.Info(digest=digest, labels=labels),
            update_mask=field_mask_pb2.FieldMask(paths=[f"labels.{name}" for name in labels]),
        )
        await self._client.call(self._client.services.content.Update, request)

    async def delete(self, digest: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.content.Delete,
                content_pb2.DeleteContentRequest(digest=digest),
            )

    async def status(self, ref: str) -> int | None:
        """How many bytes the ingest `ref` holds; None when there is none."""
        try:
            answer = await self._client.call(
                self._client.services.content.Status, content_pb2.StatusRequest(ref=ref)
            )
        except errors.NotFound:
            return None
        return answer.status.offset

    async def abort(self, ref: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.content.Abort, content_pb2.AbortRequest(ref=ref)
            )

    async def open(self, ref: str, size: int, digest: str) -> Ingest:
        """Start an ingest, or take it up at its `offset`. Close it in any case.

        Raises AlreadyExists when the blob is in the store.
        """
        for _ in range(LOCK_RETRIES):
            ingest = Ingest(self._client, ref, size, digest)
            try:
                await ingest.start()
            except errors.Unavailable as error:
                if "locked" not in str(error):
                    raise
                await asyncio.sleep(LOCK_DELAY)
            else:
                return ingest
        raise errors.Unavailable(f"cannot write blob {digest}: another writer holds {ref}")

    async def copy_in(
        self, source: Source, digest: str, size: int, labels: Mapping[str, str]
    ) -> None:
        """Write a blob from its beginning; one that is there already only gets the labels."""
        # Nobody else's: two that bring the same blob must not throw away each other's half.
        ref = f"import-{os.urandom(4).hex()}-{digest}"
        try:
            ingest = await self.open(ref, size, digest)
        except errors.AlreadyExists:
            await self._relabel(digest, labels)
            return
        try:
            # All of it may be there, brought by another tenant of containerd or not yet collected.
            while ingest.offset < size and (data := await asyncio.to_thread(source.read, CHUNK)):
                await ingest.write(data)
            await ingest.commit(labels)
        except errors.AlreadyExists:
            await self._relabel(digest, labels)
        finally:
            await ingest.close()

    async def put(self, data: bytes, digest: str, labels: Mapping[str, str]) -> None:
        """Write a small blob."""
        await self.copy_in(io.BytesIO(data), digest, len(data), labels)

    async def _relabel(self, digest: str, labels: Mapping[str, str]) -> None:
        if labels:
            await self.update_labels(digest, labels)


class Ingest:
    """One blob being written. `offset` is where the next byte goes."""

    def __init__(self, containerd: client.Client, ref: str, size: int, digest: str) -> None:
        self._client = containerd
        self._ref = ref
        self._size = size
        self._digest = digest
        self._exit = contextlib.AsyncExitStack()
        self._stream: (
            grpclib.client.Stream[content_pb2.WriteContentRequest, content_pb2.WriteContentResponse]
            | None
        ) = None
        self.offset = 0

    async def start(self) -> None:
        try:
            self._stream = await self._exit.enter_async_context(
                self._client.stream(self._client.services.content.Write, deadline=None)
            )
            answer = await self._send(
                content_pb2.WriteContentRequest(
                    action=content_pb2.STAT,
                    ref=self._ref,
                    total=self._size,
                    expected=self._digest,
                )
            )
        except BaseException:
            await self.close()
            raise
        self.offset = answer.offset

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            answer = await self._send(
                content_pb2.WriteContentRequest(
                    action=content_pb2.WRITE, offset=self.offset, data=part
                )
            )
            self.offset = answer.offset

    async def rewind(self) -> None:
        """Throw away what an earlier writer left, and begin anew."""
        await self.close()
        content = Content(self._client)
        await content.abort(self._ref)
        fresh = await content.open(self._ref, self._size, self._digest)
        self._exit, self._stream, self.offset = fresh._exit, fresh._stream, fresh.offset

    async def commit(self, labels: Mapping[str, str]) -> None:
        """Raises FailedPrecondition when size or digest do not fit, AlreadyExists."""
        await self._send(
            content_pb2.WriteContentRequest(
                action=content_pb2.COMMIT,
                offset=self.offset,
                total=self._size,
                expected=self._digest,
                labels=labels,
            ),
            COMMIT_TIMEOUT,
            end=True,
        )

    async def close(self) -> None:
        """An ingest that was not committed stays as it is, to be taken up again."""
        self._stream = None
        # Leaving by an exception resets the stream; leaving plainly would wait for its end.
        closed = _Closed()
        with contextlib.suppress(_Closed, errors.ContainerdError):
            await self._exit.pop_all().__aexit__(_Closed, closed, None)

    async def _send(
        self,
        request: content_pb2.WriteContentRequest,
        deadline: float = client.TIMEOUT,
        *,
        end: bool = False,
    ) -> content_pb2.WriteContentResponse:
        if self._stream is None:
            raise errors.Unavailable(f"the ingest {self._ref} is closed")
        with client.native_errors("Write"):
            try:
                async with asyncio.timeout(deadline):
                    # Without our end, containerd resets the stream after a commit, and the
                    # answer may be lost.
                    await self._stream.send_message(request, end=end)
                    answer = await self._stream.recv_message()
                if answer is not None:
                    return answer
                raise grpclib.exceptions.StreamTerminatedError("ended by containerd")
            except grpclib.exceptions.StreamTerminatedError as error:
                # Carried out of the stream, it becomes the status containerd gave, if it did.
                self._stream = None
                await self._exit.pop_all().__aexit__(type(error), error, error.__traceback__)
                raise


class _Closed(Exception):
    """Carries `Ingest.close` out of the stream."""
