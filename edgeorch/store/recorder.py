"""Events: what happened to an object, for `kubectl describe` and `kubectl get events`.

Kept in memory only and bounded. The same event again raises its count; many that differ only in
their message become one; a source that floods is cut off for a while. Numbers as in client-go
tools/record (events_cache.go).
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.lib import clock as clocks
from edgeorch.model import kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

NORMAL, WARNING = "Normal", "Warning"

MAX_EVENTS = 1000
_FEW_EVENTS, _AT_ONCE = 250, 128
TTL = 3600.0
"""Seconds an event is kept after it was last seen."""
_SIMILAR_LIMIT = 10
_SIMILAR_WINDOW = 600.0
_BURST = 25
_REFILL = 300.0
_MAX_MESSAGE = 1024


class _Known(Struct):
    """Where an event that has been seen is stored."""

    namespace: str
    name: str
    count: int
    first: str
    seen: float


class _Source(Struct):
    """How much one component has said of one object lately."""

    tokens: float = _BURST
    refilled: float = 0.0
    similar: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    window: float = 0.0


class Log:
    """All events of the device. One for the process; components record through a `Recorder`."""

    def __init__(self, objects: Objects, clock: clocks.Clock, node_name: str) -> None:
        self._objects = objects
        self._clock = clock
        self._node_name = node_name
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._sources: dict[tuple[str, str], _Source] = {}

    def recorder(self, component: str, *, on_node: bool = False) -> Recorder:
        return Recorder(self, component, self._node_name if on_node else "")

    def add(
        self,
        involved: Object,
        source: Object,
        kind: str,
        reason: str,
        message: str,
        *,
        latest: bool = False,
    ) -> None:
        """`latest`: of all with this reason only the newest is of interest, and whoever says them
        keeps to a measure; they are one event and use up nothing."""
        now = self._clock.monotonic()
        self._expire(now)
        message = message[:_MAX_MESSAGE]
        origin = (source["component"], involved.get("uid", ""))
        told = self._sources.setdefault(origin, _Source(refilled=now, window=now))
        similar = not latest and _is_similar(told, now, kind, reason, message)
        # Combined events are one event, whose message is the latest of them.
        same = "" if similar or latest else message
        message = f"(combined from similar events): {message}" if similar else message
        key = (*origin, involved.get("fieldPath", ""), kind, reason, same)
        if not latest and not _allowed(told, now):
            return
        known = self._known.get(key)
        stamp = clocks.rfc3339(self._clock.now())
        if known is None:
            suffix = f"{int(self._clock.now().timestamp() * 1e9):x}"
            namespace = involved.get("namespace") or "default"
            known = _Known(namespace, f"{involved['name']}.{suffix}", 0, stamp, now)
            self._known[key] = known
        known.count += 1
        known.seen = now
        self._known.move_to_end(key)
        self._objects.record(
            kinds.EVENT.resource, self._event(known, involved, source, kind, reason, message, stamp)
        )

    def _event(
        self,
        known: _Known,
        involved: Object,
        source: Object,
        kind: str,
        reason: str,
        message: str,
        stamp: str,
    ) -> Object:
        held = self._objects.find(kinds.EVENT.resource, known.namespace, known.name)
        if held is not None:
            obj = held.decode()
        else:
            obj = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": known.name,
                    "namespace": known.namespace,
                    "uid": str(uuid.uuid4()),
                    "creationTimestamp": stamp,
                },
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "source": source,
                "firstTimestamp": known.first,
                "type": kind,
                "eventTime": None,
                "reportingComponent": source["component"],
                "reportingInstance": source.get("host", ""),
            }
        # Set back meanwhile, the clock would have it end before it began.
        first = min(known.first, stamp)
        last = {"message": message, "lastTimestamp": stamp, "count": known.count}
        return {**obj, "firstTimestamp": first, **last}

    def forget_some(self) -> bool:
        """Memory is short: keep the newest, of which most is asked. True when there are more to go.

        Not all others at once, since every one that goes is a change: so many would end the history
        that whoever lists events page by page has to come back to.
        """
        for _ in range(min(_AT_ONCE, len(self._known) - _FEW_EVENTS)):
            self._drop_oldest()
        return len(self._known) > _FEW_EVENTS

    def _expire(self, now: float) -> None:
        while self._known:
            oldest = next(iter(self._known.values()))
            if len(self._known) < MAX_EVENTS and now - oldest.seen < TTL:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, oldest = self._known.popitem(last=False)
        self._sources.pop((key[0], key[1]), None)
        self._objects.forget(kinds.EVENT.resource, oldest.namespace, oldest.name)


class Recorder:
    """The voice of one component. `event` never waits and never fails the caller."""

    def __init__(self, log: Log, component: str, host: str) -> None:
        self._log = log
        self._source: Object = {"component": component}
        if host:
            self._source["host"] = host

    def event(
        self,
        obj: Object,
        kind: str,
        reason: str,
        message: str,
        *,
        field_path: str = "",
        latest: bool = False,
    ) -> None:
        """Say that `reason` happened to `obj` (decoded, or at least its metadata and kind).

        `latest` is for progress, said in measure: the newest message takes the place of all before.
        """
        meta = obj["metadata"]
        involved: Object = {
            "kind": obj["kind"],
            "namespace": meta.get("namespace", ""),
            "name": meta["name"],
            "uid": meta.get("uid", ""),
            "apiVersion": obj["apiVersion"],
            "resourceVersion": meta.get("resourceVersion", ""),
            "fieldPath": field_path,
        }
        involved = {name: value for name, value in involved.items() if value}
        self._log.add(involved, dict(self._source), kind, reason, message, latest=latest)


def _is_similar(told: _Source, now: float, kind: str, reason: str, message: str) -> bool:
    """Whether this source has lately said the same with too many different messages."""
    if now - told.window > _SIMILAR_WINDOW:
        told.similar.clear()
        told.window = now
    texts = told.similar.setdefault((kind, reason), set())
    if message not in texts and len(texts) >= _SIMILAR_LIMIT:
        return True
    texts.add(message)
    return False


def _allowed(told: _Source, now: float) -> bool:
    told.tokens = min(_BURST, told.tokens + (now - told.refilled) / _REFILL)
    told.refilled = now
    if told.tokens < 1:
        return False
    told.tokens -= 1
    return True
