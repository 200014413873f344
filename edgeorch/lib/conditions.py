"""What is the matter with the device, told by whoever finds it out.

Anybody holds a condition on the board of the process; the node's status shows it (agent.node), and
an event says that it came or went (agent.assembly). As in node-problem-detector a condition names a
problem: it is True while there is one. In memory only: whoever holds one says it again after a
restart, and the node's status keeps since when it is so.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Condition(Struct, frozen=True):
    type: str
    wrong: bool
    """True is a problem; False says that somebody looks and there is none."""
    reason: str
    """One word in CamelCase."""
    message: str
    """For people; for a problem with what mends it."""

    def told_by(self, other: Condition | None) -> bool:
        """Whether `other` says the same, but for the words."""
        return other is not None and (other.wrong, other.reason) == (self.wrong, self.reason)


Listener = Callable[[Condition | None, Condition], None]
"""Gets what stood before and what stands now; called in the event loop's thread, never waits."""


class Board:
    """All conditions of the device beyond those that every node has."""

    def __init__(self) -> None:
        self._held: dict[str, Condition] = {}
        self._listeners: list[Listener] = []

    def hold(self, kind: str, wrong: bool, reason: str, message: str) -> None:
        """From now on this is so. Saying the same again costs nothing."""
        before, now = self._held.get(kind), Condition(kind, wrong, reason, message)
        if before == now:
            return
        self._held[kind] = now
        for listener in self._listeners:
            listener(before, now)

    def find(self, kind: str) -> Condition | None:
        return self._held.get(kind)

    def all(self) -> list[Condition]:
        """In the order in which they were first told."""
        return list(self._held.values())

    def listen(self, listener: Listener) -> None:
        """Hear of everything that is held, and of each change."""
        for condition in self._held.values():
            listener(None, condition)
        self._listeners.append(listener)


def event(before: Condition | None, now: Condition) -> tuple[str, str, str] | None:
    """Type, reason and message of the event that a change is worth: a problem that came, became
    another, or went."""
    if now.told_by(before) or (before is None and not now.wrong):
        return None
    return ("Warning" if now.wrong else "Normal"), now.reason, now.message
