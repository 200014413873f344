"""containerd's event stream as typed values.

Events are a hint, listing is the truth: the first value of every subscription is `Subscribed`,
yielded once the subscription is known to be in effect. Whoever lists then misses nothing. When the
stream breaks, EventsLost is raised; the owner subscribes again and lists again.

The deletion of a task is not among them: it is our own doing, and a 2.x shim that ends with its
last task does not always get to tell.

The server does not say when a subscription is in effect (it sends no headers before the first
event), so we publish an event of our own until it comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import AsyncGenerator, Callable
from typing import Any

from google.protobuf import any_pb2
from msgspec import Struct

from edgeorch.lib import tasks
from edgeorch.runtime import client, errors, stamps
from edgeorch.runtime.pb import events_pb2, images_pb2, task_events_pb2, types_pb2

_PROBE_INTERVAL = 0.2  # seconds between our own events until one comes back


class Subscribed(Struct, frozen=True):
    """The subscription is in effect: list now."""


class TaskStarted(Struct, frozen=True):
    container_id: str
    pid: int


class TaskExited(Struct, frozen=True):
    """`exec_id` is "" for the container's first process."""

    container_id: str
    exec_id: str
    pid: int
    exit_code: int
    exited_at: datetime.datetime | None


class TaskOOM(Struct, frozen=True):
    container_id: str


class TaskPaused(Struct, frozen=True):
    container_id: str
    paused: bool


class ImageChanged(Struct, frozen=True):
    name: str
    removed: bool


Event = Subscribed | TaskStarted | TaskExited | TaskOOM | TaskPaused | ImageChanged


class Events:
    def __init__(self, containerd: client.Client) -> None:
        self._client = containerd

    async def subscribe(self) -> AsyncGenerator[Event, None]:
        """Never ends by itself: raises EventsLost. Close the generator to unsubscribe."""
        probe_topic = f"/edgeorch/subscribed/{os.urandom(8).hex()}"
        request = events_pb2.SubscribeRequest(
            filters=[
                f'namespace=={self._client.namespace},topic~="^/(tasks|images)/"',
                f'topic=="{probe_topic}"',
            ]
        )
        probe: asyncio.Task[None] | None = None
        try:
            async with self._client.stream(
                self._client.services.events.Subscribe, deadline=None
            ) as stream:
                await stream.send_message(request, end=True)
                probe = asyncio.create_task(self._probe(probe_topic), name="events-probe")
                async for envelope in stream:
                    if envelope.topic != probe_topic:
                        event = decode(envelope)
                    elif probe is not None:
                        await tasks.cancel_and_wait(probe)
                        probe = None
                        event = Subscribed()
                    else:
                        event = None  # a second probe that was under way
                    if event is not None:
                        yield event
        except errors.ContainerdError as error:
            raise errors.EventsLost(str(error)) from error
        finally:
            if probe is not None:
                await tasks.cancel_and_wait(probe)
        raise errors.EventsLost("containerd ended the event stream")

    async def _probe(self, topic: str) -> None:
        request = events_pb2.PublishRequest(
            topic=topic, event=any_pb2.Any(type_url="google.protobuf.Empty")
        )
        while True:
            # Unavailable ends the stream itself; nothing is learnt from it twice.
            with contextlib.suppress(errors.Unavailable):
                await self._client.call(self._client.services.events.Publish, request)
            await asyncio.sleep(_PROBE_INTERVAL)


def decode(envelope: types_pb2.Envelope) -> Event | None:
    """None for an event nobody here acts on."""
    make = _DECODERS.get(envelope.topic)
    return make(envelope.event.value) if make else None


def _started(data: bytes) -> Event:
    event = task_events_pb2.TaskStart.FromString(data)
    return TaskStarted(event.container_id, event.pid)


def _exited(data: bytes) -> Event:
    event = task_events_pb2.TaskExit.FromString(data)
    exec_id = "" if event.id == event.container_id else event.id
    return TaskExited(
        event.container_id, exec_id, event.pid, event.exit_status, stamps.moment(event.exited_at)
    )


def _oom(data: bytes) -> Event:
    return TaskOOM(task_events_pb2.TaskOOM.FromString(data).container_id)


def _paused(data: bytes) -> Event:
    return TaskPaused(task_events_pb2.TaskPaused.FromString(data).container_id, paused=True)


def _resumed(data: bytes) -> Event:
    return TaskPaused(task_events_pb2.TaskResumed.FromString(data).container_id, paused=False)


def _image(message: Any, removed: bool) -> Callable[[bytes], Event]:
    return lambda data: ImageChanged(message.FromString(data).name, removed)


_DECODERS: dict[str, Callable[[bytes], Event]] = {
    "/tasks/start": _started,
    "/tasks/exit": _exited,
    "/tasks/oom": _oom,
    "/tasks/paused": _paused,
    "/tasks/resumed": _resumed,
    "/images/create": _image(images_pb2.ImageCreate, removed=False),
    "/images/update": _image(images_pb2.ImageUpdate, removed=False),
    "/images/delete": _image(images_pb2.ImageDelete, removed=True),
}
