"""What containerd says about our containers: the only owner of that knowledge.

Events are a hint, listing is the truth: the observer subscribes, lists once the subscription is in
effect, and from then on follows the events; when the stream breaks it subscribes and lists again.
It never polls. What the executor has just done is noted at once (`created`, `running`, …), so that
decisions need not wait for an event to come round. Observation only moves on success: a list that
fails leaves everything as it was.

Same roles as the kubelet's pod lifecycle event generator (pleg/generic.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from edgeorch.core import container_labels
from edgeorch.core.observed import Container, Exit, State
from edgeorch.lib import backoff
from edgeorch.lib import clock as clocks
from edgeorch.runtime import errors, events

if TYPE_CHECKING:
    import datetime

    from edgeorch.agent import endings, ports
    from edgeorch.runtime import containers as records

log = logging.getLogger(__name__)

_RETRY = backoff.Policy(initial=0.1, factor=2.0, cap=10.0)


class Identity(Struct, frozen=True):
    """The pod a container says it belongs to."""

    uid: str
    namespace: str
    name: str


class _Known(Struct):
    identity: Identity
    labels: dict[str, str]
    container: Container


class Observer:
    def __init__(
        self,
        containers: ports.Containers,
        stream: ports.Events,
        details: endings.Endings,
        clock: clocks.Clock,
        boot: str,
    ) -> None:
        self._containers = containers
        self._stream = stream
        self._details = details
        self._clock = clock
        self._boot = boot
        self._known: dict[str, _Known] = {}
        self._by_pod: dict[str, set[str]] = {}
        self._oom: set[str] = set()
        self._starting: set[str] = set()
        self._disregarded: set[tuple[str, int]] = set()
        self._touched: set[str] | None = None
        """What has changed since the list under way began."""
        self._trouble: str | None = "containerd has not been asked yet"
        self.listed = asyncio.Event()
        self.on_change: Callable[[str], None] = lambda uid: None
        self.on_health: Callable[[], None] = lambda: None
        self.on_listed: Callable[[], None] = lambda: None
        self.on_image: Callable[[str], None] = lambda name: None

    def health(self) -> str | None:
        return self._trouble

    # --- what others read -----------------------------------------------------------------------

    def pod(self, uid: str) -> tuple[Container, ...]:
        return tuple(self._known[id_].container for id_ in sorted(self._by_pod.get(uid, ())))

    def pods(self) -> dict[str, Identity]:
        return {
            uid: self._known[next(iter(ids))].identity for uid, ids in self._by_pod.items() if ids
        }

    def container(self, container_id: str) -> Container | None:
        known = self._known.get(container_id)
        return known.container if known else None

    def label(self, container_id: str, key: str) -> str:
        known = self._known.get(container_id)
        return known.labels.get(key, "") if known else ""

    def accepted_at(self, uid: str) -> float | None:
        """When an earlier process of this boot first saw the pod."""
        found = (
            container_labels.accepted_at(self._known[id_].labels, self._boot)
            for id_ in self._by_pod.get(uid, ())
        )
        return min((at for at in found if at is not None), default=None)

    # --- what the executor tells ----------------------------------------------------------------

    def created(self, container_id: str, labels: dict[str, str]) -> None:
        self._put(container_id, labels, container_labels.decode(container_id, labels, self._boot))

    @contextlib.contextmanager
    def starting(self, container_id: str) -> Iterator[None]:
        """The answer to its start is awaited: its end may come before that."""
        self._starting.add(container_id)
        try:
            yield
        finally:
            self._starting.discard(container_id)

    def disregard(self, container_id: str, pid: int) -> None:
        """This task is cleared away before it has run; the word of that is not its end."""
        self._disregarded.add((container_id, pid))

    def running(self, container_id: str, pid: int, at: float, shown: str) -> None:
        known = self._known.get(container_id)
        ended = known.container.exit if known is not None else None
        if known is None or ended is None:
            self._update(container_id, state=State.RUNNING, pid=pid, started_at=at, started=shown)
            return
        # A short life may be over before the word of its beginning comes.
        began = known.container.started or min(shown, ended.finished)
        ended = structs.replace(ended, started=began)
        self._update(container_id, exit=ended, started_at=at, started=began)

    def failed_to_start(self, container_id: str, ended: Exit) -> None:
        self._update(container_id, state=State.ENDED, exit=ended)

    def settled(self, container_id: str) -> None:
        self._update(container_id, settled=True)

    def removed(self, container_id: str) -> None:
        self._drop(container_id)

    # --- following containerd -------------------------------------------------------------------

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                async for event in self._stream.subscribe():
                    if isinstance(event, events.Subscribed):
                        await self._list()
                        failures = 0
                        self._told(None)
                    else:
                        await self._apply(event)
            except errors.ContainerdError as error:
                if self._trouble != str(error):
                    log.warning("Cannot follow containerd: %s", error)
                self._told(str(error))
            await asyncio.sleep(_RETRY.delay(failures))
            failures += 1

    def _told(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self.on_health()

    async def _apply(self, event: events.Event) -> None:
        match event:
            case events.TaskStarted():
                known = self._known.get(event.container_id)
                if known is not None and known.container.state is State.CREATED:
                    now = self._clock.monotonic()
                    self.running(event.container_id, event.pid, now, self._shown())
            case events.TaskExited(exec_id=""):
                if (event.container_id, event.pid) in self._disregarded:
                    self._disregarded.discard((event.container_id, event.pid))
                else:
                    await self._exited(event.container_id, event.exit_code, event.exited_at)
            case events.TaskOOM():
                self._out_of_memory(event.container_id)
            case events.ImageChanged():
                self.on_image(event.name)
            case _:
                pass

    async def _exited(self, container_id: str, code: int, at: datetime.datetime | None) -> None:
        known = self._known.get(container_id)
        if known is None or known.container.state is State.ENDED:
            return
        if known.container.state is State.CREATED and container_id not in self._starting:
            # It never ran: what a start left that a death broke off has been cleared away.
            return
        ended = await self._ended(known, code, at, self._clock.monotonic())
        latest = self.container(container_id)
        if latest is not None:
            ended = structs.replace(ended, started=latest.started)
            self._update(container_id, state=State.ENDED, exit=ended, pid=0)

    async def _ended(
        self, known: _Known, code: int, at: datetime.datetime | None, monotonic: float
    ) -> Exit:
        container = known.container
        reason, message = await self._details.describe(
            known.identity.uid, container, code, known.labels, oom=container.id in self._oom
        )
        return Exit(
            code=code,
            reason=reason,
            message=message,
            started=container.started,
            finished=self._finished(at, container.started),
            at=monotonic,
            container_id=container.id,
        )

    def _out_of_memory(self, container_id: str) -> None:
        """The word may come before or after the exit that it explains."""
        known = self._known.get(container_id)
        if known is None:
            return
        self._oom.add(container_id)
        ended = known.container.exit
        if ended is not None and ended.reason in ("Error", "Completed"):
            told = structs.replace(ended, reason="OOMKilled")
            self._update(container_id, exit=told, settled=False)

    # --- listing --------------------------------------------------------------------------------

    async def _list(self) -> None:
        """Raises ContainerdError."""
        self._touched = set()
        try:
            found = await self._containers.list()
            listed = [record for record in found if container_labels.is_ours(record.labels)]
            adopted = [await self._adopt(record) for record in listed]
            self._merge({known.container.id: known for known in adopted})
        finally:
            self._touched = None
        self.listed.set()
        self.on_listed()
        await self._stamp_started(listed)

    def _merge(self, adopted: dict[str, _Known]) -> None:
        touched = self._touched or set()
        for container_id in [*self._known]:
            if container_id not in adopted and container_id not in touched:
                self._drop(container_id)
        for container_id, known in adopted.items():
            if container_id not in touched:
                self._put(container_id, known.labels, known.container)

    async def _adopt(self, record: records.ContainerRecord) -> _Known:
        labels = dict(record.labels)
        container = container_labels.decode(record.id, labels, self._boot)
        identity = _identity(labels)
        before = self._known.get(record.id)
        if before is not None:
            # What this process knows beyond the labels.
            container = structs.replace(
                container,
                started_at=before.container.started_at,
                started=before.container.started,
                exit=before.container.exit or container.exit,
            )
        known = _Known(identity, labels, container)
        task = record.task
        if task is None and container.exit is None and self._was_running(before, labels):
            # The list leaves out what did not answer in time; asked by name, containerd knows.
            task = await self._containers.task(record.id)
        if task is not None and task.status in ("running", "paused", "unknown"):
            known.container = self._as_running(container, task.pid)
        elif task is not None and task.status == "stopped":
            known.container = await self._as_stopped(known, task)
        elif task is None and container.exit is None and self._was_running(before, labels):
            known.container = self._as_lost(container)
        elif task is None and container.exit is not None:
            known.container = structs.replace(
                container, state=State.ENDED, settled=container_labels.ENDED in labels
            )
        return known

    def _was_running(self, before: _Known | None, labels: dict[str, str]) -> bool:
        seen = before is not None and before.container.state is State.RUNNING
        return seen or container_labels.has_started(labels)

    def _as_running(self, container: Container, pid: int) -> Container:
        at = container.started_at
        if at is None:
            at = _process_start(pid)
        return structs.replace(
            container,
            state=State.RUNNING,
            pid=pid,
            exit=None,
            settled=False,
            started_at=at if at is not None else self._clock.monotonic(),
            started=container.started or self._shown(),
        )

    async def _as_stopped(self, known: _Known, task: records.TaskState) -> Container:
        ended = known.container.exit
        if ended is None:
            at = self._monotonic_of(task.exited_at)
            ended = await self._ended(known, task.exit_code, task.exited_at, at)
        return structs.replace(known.container, state=State.ENDED, exit=ended, settled=False, pid=0)

    def _as_lost(self, container: Container) -> Container:
        lost = Exit(
            code=container_labels.LOST_CODE,
            reason=container_labels.LOST_REASON,
            started=container.started,
            finished=self._shown(),
            container_id=container.id,
        )
        return structs.replace(container, state=State.ENDED, exit=lost, settled=False, pid=0)

    async def _stamp_started(self, listed: Iterable[records.ContainerRecord]) -> None:
        """Put the start on record where the process before this one did not come to it."""
        for record in listed:
            known = self._known.get(record.id)
            if known is None or known.container.state is not State.RUNNING:
                continue
            if container_labels.has_started(known.labels):
                continue
            at = known.container.started_at or self._clock.monotonic()
            text = container_labels.encode_started(at, known.container.started)
            known.labels[container_labels.STARTED] = text
            await self._containers.update_labels(record.id, {container_labels.STARTED: text})

    # --- beneath --------------------------------------------------------------------------------

    def _put(self, container_id: str, labels: dict[str, str], container: Container) -> None:
        identity = _identity(labels)
        before = self._known.get(container_id)
        self._known[container_id] = _Known(identity, labels, container)
        self._by_pod.setdefault(identity.uid, set()).add(container_id)
        self._touch(container_id)
        if before is None or before.container != container:
            self.on_change(identity.uid)

    def _update(self, container_id: str, **changes: object) -> None:
        known = self._known.get(container_id)
        if known is not None:
            container = structs.replace(known.container, **changes)
            self._put(container_id, known.labels, container)

    def _drop(self, container_id: str) -> None:
        known = self._known.pop(container_id, None)
        self._touch(container_id)
        self._oom.discard(container_id)
        self._disregarded = {pair for pair in self._disregarded if pair[0] != container_id}
        if known is not None:
            siblings = self._by_pod.get(known.identity.uid, set())
            siblings.discard(container_id)
            if not siblings:
                self._by_pod.pop(known.identity.uid, None)
            self.on_change(known.identity.uid)

    def _touch(self, container_id: str) -> None:
        if self._touched is not None:
            self._touched.add(container_id)

    def _shown(self) -> str:
        return clocks.rfc3339(self._clock.now())

    def _finished(self, moment: datetime.datetime | None, started: str) -> str:
        """containerd goes by the system's clock, which may be in 1970, or have been set since."""
        now = self._shown()
        told = clocks.rfc3339(moment) if moment is not None else now
        return told if started <= told <= now else max(now, started)

    def _monotonic_of(self, moment: datetime.datetime | None) -> float:
        """A wall time of the near past on the clock that decisions use."""
        now = self._clock.monotonic()
        if moment is None:
            return now
        ago = (self._clock.now() - moment).total_seconds()
        return now - ago if 0 <= ago <= now else now


def _identity(labels: dict[str, str]) -> Identity:
    return Identity(
        labels.get(container_labels.POD_UID, ""),
        labels.get(container_labels.POD_NAMESPACE, ""),
        labels.get(container_labels.POD_NAME, ""),
    )


def _process_start(pid: int) -> float | None:
    """Seconds since boot at which the process began (proc(5), field 22 of stat)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
