"""What a list, a watch or a collection delete is about: namespace, labels, fields.

Decides on the key alone wherever that suffices; objects are decoded only for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.model import selectors

if TYPE_CHECKING:
    from edgeorch.api.options import ListOptions
    from edgeorch.api.paths import Target
    from edgeorch.store.stored import Stored

_KEY_FIELDS = ("metadata.name", "metadata.namespace")


class Selection:
    def __init__(self, target: Target, options: ListOptions) -> None:
        """Raises StatusError (400)."""
        self.namespace = target.namespace
        self._keys: list[tuple[str, bool, str]] = []
        self._labels = selectors.labels(options.labels) if options.labels else None
        self._fields: selectors.Match | None = None
        if options.fields:
            self._fields = selectors.fields(target.kind, options.fields)
            terms = selectors.parse_fields(options.fields)
            self._keys = [term for term in terms if term[0] in _KEY_FIELDS]
            if len(self._keys) == len(terms):
                self._fields = None

    @property
    def is_all(self) -> bool:
        """Whether everything of the namespace is selected."""
        return self._labels is None and self._fields is None and not self._keys

    def matches(self, stored: Stored) -> bool:
        if self.namespace is not None and stored.namespace != self.namespace:
            return False
        for field, equal, value in self._keys:
            actual = stored.name if field == "metadata.name" else stored.namespace
            if (actual == value) != equal:
                return False
        if self._labels is None and self._fields is None:
            return True
        obj = stored.decode()
        return (self._labels is None or self._labels(obj)) and (
            self._fields is None or self._fields(obj)
        )
