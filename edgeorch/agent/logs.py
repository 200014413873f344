"""Logs of containers: what keeps them, and the file of the right attempt for `kubectl logs`."""

from __future__ import annotations

import asyncio
import datetime
import pathlib
from typing import TYPE_CHECKING

from edgeorch.core.observed import State
from edgeorch.model import errors, views
from edgeorch.runtime import logs, logspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edgeorch.agent import ports
    from edgeorch.agent.observer import Observer
    from edgeorch.agent.settings import Settings
    from edgeorch.lib import clock as clocks
    from edgeorch.runtime import stdio
    from edgeorch.store.recorder import Recorder


def output(fifos: stdio.StdioDir, settings: Settings, recorder: Recorder) -> logs.Logs:
    """Make it inside the running event loop. What the limit removes is told as a node's event."""
    loop = asyncio.get_running_loop()
    name = settings.node_name
    involved = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}

    def removed(told: str) -> None:
        loop.call_soon_threadsafe(recorder.event, involved, "Warning", "ContainerLogsRemoved", told)

    return logs.Logs(
        fifos,
        max_size=settings.log_max_bytes,
        max_files=settings.log_max_files,
        space=logspace.Space(settings.log_dir, settings.log_total_max_bytes, removed),
    )


class PodLogs:
    def __init__(
        self,
        output: ports.Output,
        observer: Observer,
        path_of: Callable[[views.Meta, str, int], pathlib.Path],
        clock: clocks.Clock,
    ) -> None:
        self._output = output
        self._observer = observer
        self._path_of = path_of
        self._clock = clock

    async def read(
        self,
        namespace: str,
        pod: str,
        uid: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        since_seconds: int | None = None,
        since_time: datetime.datetime | None = None,
        timestamps: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        stream: str = "",
    ) -> AsyncIterator[bytes]:
        """Raises StatusError before the first chunk."""
        attempt, container_id = self._attempt(pod, uid, container)
        if previous:
            attempt -= 1
            if attempt < 0:
                raise errors.bad_request(
                    f'previous terminated container "{container}" in pod "{pod}" not found'
                )
        if since_seconds is not None:
            since_time = _ago(self._clock.now(), since_seconds)
        meta = views.Meta(namespace=namespace, name=pod, uid=uid)
        chunks = self._output.read(
            self._path_of(meta, container, attempt),
            follow=follow and not previous,
            tail_lines=tail_lines,
            since=since_time,
            timestamps=timestamps,
            limit_bytes=limit_bytes,
            stream=stream,
        )
        try:
            async for chunk in chunks:
                yield chunk
        except FileNotFoundError:
            # The kubelet answers with this text, not with an error.
            yield f"unable to retrieve container logs for containerd://{container_id}".encode()

    def _attempt(self, pod: str, uid: str, name: str) -> tuple[int, str]:
        """The latest attempt that has run, and its id."""
        latest = None
        for container in self._observer.pod(uid):
            if container.name == name and (latest is None or container.attempt > latest.attempt):
                latest = container
        if latest is None:
            raise errors.bad_request(f'container "{name}" in pod "{pod}" is not available')
        if latest.state is State.CREATED and latest.last is not None:
            return latest.attempt - 1, latest.last.container_id
        return latest.attempt, latest.id


def _ago(now: datetime.datetime, seconds: int) -> datetime.datetime | None:
    """None where that was before all calendars."""
    try:
        return now - datetime.timedelta(seconds=seconds)
    except OverflowError:
        return None
