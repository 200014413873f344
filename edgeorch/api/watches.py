"""Watches: what has changed, as it changes, one JSON event a line.

A watch is a cursor on the store and a few words of state; events go out as the store's own bytes.
An object that enters or leaves the selection is told as ADDED or DELETED. A client that cannot keep
up, or asks for history that is gone, is told 410 and lists again.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ (watches, bookmarks,
streaming lists, KEP-3157)
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from aiohttp import web

from edgeorch.api import negotiation, options, rendering, responses, selection
from edgeorch.lib import json
from edgeorch.model import errors
from edgeorch.store import watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeorch.api import longrunning, sockets
    from edgeorch.api.call import Call
    from edgeorch.api.negotiation import Format
    from edgeorch.api.paths import Target
    from edgeorch.lib import clock as clocks
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

BOOKMARK_EVERY = 60.0
"""Seconds between bookmarks of a quiet watch."""
_LEAST, _MOST = 1800.0, 3600.0
"""Seconds that a watch lasts when the client does not say."""
_WRITE_FROM = 64 * 1024
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


async def serve(
    call: Call,
    objects: Objects,
    target: Target,
    clock: clocks.Clock,
    running: longrunning.LongRunning,
) -> web.StreamResponse:
    shape = negotiation.choose(call.header("Accept"), stream=True)
    asked = options.listing(call, watch=True)
    encoder = _Encoder(target, shape, rendering.included(call), clock)
    stream = _Stream(objects, target, asked, selection.Selection(target, asked), encoder)
    seconds = asked.timeout or random.uniform(_LEAST, _MOST)  # noqa: S311
    response = web.StreamResponse(headers=responses.headers(call, negotiation.JSON))
    with running.hold(call, seconds) as deadline:
        if call.asks_for_socket:
            from edgeorch.api import sockets  # rare

            return await sockets.events(call, lambda out: stream.run(out, deadline))
        await response.prepare(call.request)
        await stream.run(response, deadline)
    await response.write_eof()
    return response


class _Encoder:
    """Events in the shape that the client asked for."""

    def __init__(self, target: Target, shape: Format, include: str, clock: clocks.Clock) -> None:
        self._kind = target.kind
        self._shape = shape
        self._include = include
        self._clock = clock

    def event(self, kind: str, raw: bytes) -> bytes:
        if self._shape.shape:
            raw = rendering.one(self._kind, raw, self._shape, self._include, self._clock.now())
        return _line(kind, raw.rstrip())

    def bookmark(self, version: int, annotations: dict[str, str]) -> bytes:
        body = rendering.bookmark(self._kind, version, self._shape, annotations)
        return _line("BOOKMARK", body.rstrip())


def _of_the_future(asked: options.ListOptions, objects: Objects) -> bool:
    return asked.version is not None and asked.version > objects.version


def _gone(why: str) -> bytes:
    return _line("ERROR", json.encode(errors.expired(why).status()))


def _line(kind: str, raw: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)


class _Stream:
    """One watch. The cursor is taken, and the initial state listed, in one step."""

    def __init__(
        self,
        objects: Objects,
        target: Target,
        asked: options.ListOptions,
        chosen: selection.Selection,
        encoder: _Encoder,
    ) -> None:
        """A history that is gone is told by the stream's only event, as Kubernetes' cache does."""
        self._objects = objects
        self._chosen = chosen
        self._encoder = encoder
        self._bookmarks = asked.bookmarks
        self._initial: list[Stored] = []
        resource = target.kind.resource
        from_now = asked.initial_events is not None or not asked.version
        self._watch: watch.Watch | None = None
        self._gone = ""
        try:
            since = asked.version if not from_now or _of_the_future(asked, objects) else None
            self._watch = objects.watch(resource, since)
        except watch.Expired as error:
            self._gone = str(error)
        self._version = objects.version
        self._tell_end = asked.bookmarks and asked.initial_events is True
        if from_now and asked.initial_events is not False:
            self._initial = objects.list(resource, target.namespace).items

    async def run(self, response: sockets.Outlet, deadline: longrunning.Deadline) -> None:
        if self._watch is None:
            await response.write(_gone(self._gone))
            return
        async with self._watch as news:
            try:
                await deadline.within(self._begin(response))
                while not deadline.passed:
                    pause = BOOKMARK_EVERY if self._bookmarks else None
                    batch = await deadline.within(anext(news), pause)
                    # What came in the moment in which time was up goes before the bookmark.
                    if lines := [*self._told(batch or news.take())]:
                        await deadline.within(_write(response, lines))
                    elif batch is None and self._bookmarks:
                        mark = self._encoder.bookmark(self._objects.version, {})
                        await deadline.within(response.write(mark))
            except watch.Expired as error:
                await response.write(_gone(str(error)))

    async def _begin(self, response: sockets.Outlet) -> None:
        initial, self._initial = self._initial, []
        chosen = (stored.raw for stored in initial if self._chosen.matches(stored))
        await _write(response, (self._encoder.event(watch.ADDED, raw) for raw in chosen))
        if self._tell_end:
            await response.write(self._encoder.bookmark(self._version, _INITIAL_END))

    def _told(self, batch: Iterable[watch.Event]) -> Iterable[bytes]:
        for event in batch:
            is_in = event.type != watch.DELETED and self._chosen.matches(event.stored)
            was_in = event.previous is not None and self._chosen.matches(event.previous)
            if is_in:
                kind = watch.MODIFIED if was_in else watch.ADDED
                yield self._encoder.event(kind, event.stored.raw)
            elif was_in:
                yield self._encoder.event(watch.DELETED, _last_seen(event))


def _last_seen(event: watch.Event) -> bytes:
    """The object as it was when it was last in the selection, at the version of the change."""
    if event.type == watch.DELETED or event.previous is None:
        return event.stored.raw
    obj = event.previous.decode()
    obj["metadata"]["resourceVersion"] = str(event.stored.version)
    return json.encode(obj)


async def _write(response: sockets.Outlet, lines: Iterable[bytes]) -> None:
    """Many small lines in few writes."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _WRITE_FROM:
            await response.write(b"".join(gathered))
            gathered, size = [], 0
    if gathered:
        await response.write(b"".join(gathered))
