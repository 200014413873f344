"""Who owns which fields: managedFields of every write that comes in by the API.

Writes of edgeorch's own parts (status, bindings, what controllers make) are not recorded: there is
one process, nobody else applies those fields, and the books of 110 pods would cost more than the
pods. What they change is simply nobody's; a field they take from a manager stays that manager's
until the next write by the API settles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.lib import clock as clocks
from edgeorch.model import apply, defaults, lifecycle

if TYPE_CHECKING:
    from edgeorch.api.call import Call
    from edgeorch.model import schema
    from edgeorch.model.kinds import Kind, Object

_LONGEST = 128
_UNRESET = ("nodes",)


def manager(call: Call) -> str:
    """fieldManager, or the program's name from the User-Agent, as Kubernetes has it."""
    if given := call.query.get("fieldManager", ""):
        return given
    program = call.header("User-Agent").partition("/")[0]
    printable = "".join(letter for letter in program if letter.isprintable())
    return printable.encode()[:_LONGEST].decode(errors="ignore") or "unknown"


class Books:
    def __init__(self, table: schema.Schema, clock: clocks.Clock) -> None:
        self._table = table
        self._clock = clock

    def created(self, call: Call, kind: Kind, obj: Object) -> Object:
        """`obj`, defaulted, with its first entry."""
        defaults.apply(kind, obj)
        shown = obj
        if kind.has_status and kind.resource not in _UNRESET:
            shown = {name: value for name, value in obj.items() if name != "status"}
        booked = apply.update(self._table, kind, {}, shown, manager(call), self._now())
        return _with_entries(obj, booked)

    def changed(
        self, call: Call, kind: Kind, live: Object, obj: Object, subresource: str = ""
    ) -> Object:
        """`obj`, which is to take the place of `live`, with the entries that follow from it."""
        new = lifecycle.prepare_update(kind, obj, live, subresource=subresource)
        if subresource != "status":
            defaults.apply(kind, new)
        booked = apply.update(
            self._table, kind, live, new, manager(call), self._now(), subresource=subresource
        )
        return _with_entries(obj, booked)

    def applied(
        self,
        kind: Kind,
        live: Object,
        config: Object,
        by: str,
        *,
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply; `live` is {} when there is none yet. Raises StatusError (400, 409)."""
        return apply.apply(
            self._table,
            kind,
            live,
            _reset(kind, config, subresource),
            by,
            self._now(),
            force=force,
            subresource=subresource,
        )

    def _now(self) -> str:
        return clocks.rfc3339(self._clock.now())


def _reset(kind: Kind, config: Object, subresource: str) -> Object:
    """Only the half that this door may write."""
    if subresource == "status":
        kept = ("apiVersion", "kind", "metadata", "status")
        return {name: config[name] for name in kept if name in config}
    if kind.has_status and kind.resource not in _UNRESET:
        return {name: value for name, value in config.items() if name != "status"}
    return config


def _with_entries(obj: Object, booked: Object) -> Object:
    meta = {**obj.get("metadata", {})}
    entries = booked["metadata"].get("managedFields")
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)
    return {**obj, "metadata": meta}
