"""An object at rest: its key, its version and its JSON bytes."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from edgeorch.lib import json
from edgeorch.model import kinds, views

V = TypeVar("V", bound=views.View)


class Stored(Struct, frozen=True):
    """`raw` carries metadata.resourceVersion equal to `version`."""

    resource: str
    namespace: str
    name: str
    version: int
    raw: bytes

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    def decode(self) -> kinds.Object:
        """A fresh copy as plain dicts, for whoever changes it."""
        found: kinds.Object = json.decode(self.raw)
        return found

    def view(self, view: type[V]) -> V:
        return views.decode(self.raw, view)
