"""What may be forgotten at any moment: every cache that can be dropped is named in one place."""

from __future__ import annotations

from collections.abc import Callable


class Caches:
    """Made by whoever builds the house, who knows what there is to drop."""

    def __init__(self) -> None:
        self._drops: dict[str, Callable[[], object]] = {}
        self.more = False
        """Whether the last drop has left something that the next one would forget."""

    def add(self, name: str, drop: Callable[[], object]) -> None:
        """`drop` forgets all that can be found out again, or a part of it and returns True."""
        self._drops[name] = drop

    def drop(self) -> list[str]:
        """Forget everything; whose caches they were."""
        answers = [drop() for drop in self._drops.values()]
        self.more = True in answers
        return list(self._drops)
