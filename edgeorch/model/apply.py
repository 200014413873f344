"""Server-side apply and field management: who owns which fields (KEP-555, structured-merge-diff).

`apply` merges a configuration into the live object by the schema, takes out what the same manager
applied before and no longer names, and refuses to change what another manager owns unless forced.
`update` keeps the books for every other write. Both give a new object with `managedFields` set;
nothing that is passed in is changed. The time of a change is an argument.
"""

from __future__ import annotations

import copy
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from edgeorch.model import defaults, errors, fieldset, kinds, schema

Object = dict[str, Any]
Paths = fieldset.Paths

_STRIPPED = frozenset(
    [("f:apiVersion",), ("f:kind",), ("f:metadata",)]
    + [
        ("f:metadata", "f:" + name)
        for name in (
            "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName",
            "generation", "managedFields", "resourceVersion",
        )
    ]
)  # fmt: skip
_MAX_UPDATERS = 10
_OLD_UPDATES = "ancient-changes"
_BEFORE_APPLY = "before-first-apply"


class Manager(Struct, frozen=True):
    """Who writes: one entry of managedFields without its fields."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class _Owned(Struct, frozen=True):
    paths: Paths
    time: str


_Managed = dict[Manager, _Owned]


def apply(
    table: schema.Schema,
    kind: kinds.Kind,
    live: Object,
    config: Object,
    manager: str,
    now: str,
    *,
    force: bool = False,
    subresource: str = "",
) -> Object:
    """`live` is {} for an object that is to be made. Gives `live` itself when nothing changes.

    Raises StatusError 409 naming every conflict, 400 when the configuration sets managedFields.
    """
    if config.get("metadata", {}).get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    struct = table.type_of(kind.api_version, kind.kind)
    me = Manager(manager, "Apply", kind.api_version, subresource)
    managed = _decoded(live)
    if live and not managed:
        # Written while nobody kept books: the first apply must not own what it did not make.
        before = Manager(_BEFORE_APPLY, "Update", kind.api_version)
        existing = fieldset.paths_of(live, struct) - _STRIPPED
        managed[before] = _Owned(existing, now)
    last = managed.get(me)
    mine = fieldset.paths_of(config, struct) - _STRIPPED
    merged = _merged(_unmanaged(live), config, struct)
    managed[me] = _Owned(mine, now)
    if last is not None:
        merged = _pruned(merged, struct, last.paths, managed)
    _settle(managed, me, live, merged, struct, force=force)
    if last is not None and last.paths == mine and _is_same(kind, merged, _unmanaged(live)):
        return live
    return _with_managed(merged, managed)


def update(
    table: schema.Schema,
    kind: kinds.Kind,
    live: Object,
    obj: Object,
    manager: str,
    now: str,
    *,
    subresource: str = "",
) -> Object:
    """The books of a create, update or patch; `obj` is what is to be stored."""
    struct = table.type_of(kind.api_version, kind.kind)
    given = obj.get("metadata", {}).get("managedFields")
    if given is not None and not subresource and given in ([], [{}]):
        return _with_managed(obj, {})
    managed = (_decoded(obj) if not subresource else {}) or _decoded(live)
    me = Manager(manager, "Update", kind.api_version, subresource)
    changed, _ = _compared(live, obj, struct)
    _settle(managed, None, live, obj, struct, force=True)
    mine = changed - _STRIPPED
    if mine:
        before = managed[me].paths if me in managed else frozenset()
        managed[me] = _Owned(before | mine, now)
    return _with_managed(obj, _capped(managed))


def _is_same(kind: kinds.Kind, merged: Object, live: Object) -> bool:
    """But for defaults, without which whatever is replaced as a whole (atomic maps and lists)
    comes."""
    if merged == live:
        return True
    found = copy.deepcopy(merged)
    defaults.apply(kind, found)
    return found == live


def _unmanaged(obj: Object) -> Object:
    metadata = obj.get("metadata", {})
    if "managedFields" not in metadata:
        return obj
    kept = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**obj, "metadata": kept}


def _decoded(obj: Object) -> _Managed:
    """Entries that cannot be read are as good as none."""
    found: _Managed = {}
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        who = Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )
        try:
            paths = fieldset.decode(entry.get("fieldsV1") or {})
        except ValueError:
            return {}
        if who in found:
            paths |= found[who].paths
        found[who] = _Owned(paths, entry.get("time") or "")
    return found


def _with_managed(obj: Object, managed: _Managed) -> Object:
    entries = []
    for who, owned in sorted(managed.items(), key=_rank):
        if not owned.paths:
            continue
        entry = {"manager": who.name, "operation": who.operation, "apiVersion": who.api_version}
        told: Object = {**entry, "time": owned.time, "fieldsType": "FieldsV1"}
        told["fieldsV1"] = fieldset.encode(owned.paths)
        if who.subresource:
            told["subresource"] = who.subresource
        entries.append(told)
    bare = _unmanaged(obj)
    if not entries:
        return bare
    return {**bare, "metadata": {**bare.get("metadata", {}), "managedFields": entries}}


def _rank(item: tuple[Manager, _Owned]) -> tuple[str, ...]:
    who, owned = item
    return (who.operation, owned.time, who.name, who.api_version, who.subresource)


def _capped(managed: _Managed) -> _Managed:
    """The oldest updates are put together, so that the list cannot grow without end."""
    updaters = sorted((i for i in managed.items() if i[0].operation == "Update"), key=_rank)
    surplus = len(updaters) - _MAX_UPDATERS
    if surplus <= 0:
        return managed
    found = dict(managed)
    for who, owned in updaters[: surplus + 1]:
        del found[who]
        bucket = Manager(_OLD_UPDATES, "Update", who.api_version)
        before = found[bucket].paths if bucket in found else frozenset()
        found[bucket] = _Owned(before | owned.paths, owned.time)
    return found


def _compared(old: Object, new: Object, struct: schema.Struct) -> tuple[Paths, Paths]:
    """Paths added or modified, and paths removed."""
    before = dict(fieldset.flatten(_unmanaged(old), struct))
    after = dict(fieldset.flatten(_unmanaged(new), struct))
    absent = object()
    changed = {path for path, value in after.items() if before.get(path, absent) != value}
    held = set(fieldset.holders(_unmanaged(old), struct))
    holds = set(fieldset.holders(_unmanaged(new), struct))
    removed = (before.keys() - after.keys()) | (held - holds)
    return frozenset(changed | (holds - held)), frozenset(removed)


def _settle(
    managed: _Managed,
    me: Manager | None,
    live: Object,
    new: Object,
    struct: schema.Struct,
    *,
    force: bool,
) -> None:
    """Takes from the others what this write changes or removes. Raises StatusError 409 when it
    may not."""
    changed, removed = _compared(live, new, struct)
    others = [who for who in managed if who != me]
    conflicts = {who: managed[who].paths & changed for who in others}
    if not force and any(conflicts.values()):
        raise _conflict({who: paths for who, paths in conflicts.items() if paths})
    for who in others:
        left = managed[who].paths - changed - removed
        if left:
            managed[who] = replace(managed[who], paths=left)
        else:
            del managed[who]


def _conflict(conflicts: dict[Manager, Paths]) -> errors.StatusError:
    found = [
        (who, fieldset.told(path))
        for who in sorted(conflicts, key=str)
        for path in sorted(conflicts[who])
    ]
    causes = [errors.Cause("FieldManagerConflict", at, f"conflict with {who}") for who, at in found]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines = []
        for who in sorted(conflicts, key=str):
            lines.append(f"conflicts with {who}:")
            lines += [f"- {at}" for other, at in found if other == who]
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return errors.StatusError(409, "Conflict", message, causes=causes)


def _merged(live: Object, config: Object, struct: schema.Struct | None) -> Object:
    found = dict(live)
    for name, value in config.items():
        field = struct.fields.get(name) if struct else None
        found[name] = value if field is None else _merged_value(found.get(name), value, field)
    return found


def _merged_value(live: Any, config: Any, field: schema.Field) -> Any:
    shape = field.shape
    if live is None or field.list_type == "atomic":
        return config
    if isinstance(live, dict) and isinstance(config, dict):
        if shape.kind == "ref" and not shape.struct.atomic:
            return _merged(live, config, shape.struct)
        if shape.kind == "map":
            return _merged_map(live, config, shape)
    if isinstance(live, list) and isinstance(config, list) and fieldset.is_keyed(field):
        return _merged_list(live, config, field)
    return config


def _merged_map(live: Object, config: Object, shape: schema.Shape) -> Object:
    inner = shape.fields()
    found = dict(live)
    for key, value in config.items():
        nested = inner is not None and isinstance(value, dict) and isinstance(live.get(key), dict)
        found[key] = _merged(live[key], value, inner) if nested else value
    return found


def _merged_list(live: list[Any], config: list[Any], field: schema.Field) -> list[Any]:
    """The configuration's elements in its order, the others between them where they were."""
    inner = field.shape.fields() if field.list_type == "map" else None
    before = {fieldset.element(item, field): item for item in live}
    wanted = []
    for item in config:
        at = fieldset.element(item, field)
        old = before.get(at)
        wanted.append((at, item if old is None or inner is None else _merged(old, item, inner)))
    order = {at: index for index, (at, _) in enumerate(wanted)}
    found: list[Any] = []
    done = 0
    for at, item in before.items():
        if at not in order:
            found.append(item)
        elif order[at] >= done:
            found += [value for _, value in wanted[done : order[at] + 1]]
            done = order[at] + 1
    return found + [value for _, value in wanted[done:]]


def _pruned(obj: Object, struct: schema.Struct, last: Paths, managed: _Managed) -> Object:
    """Without what was applied last time and nobody claims any more."""
    owned = frozenset[fieldset.Path]().union(*(entry.paths for entry in managed.values()))
    held = {path[:size] for path in owned for size in range(1, len(path) + 1)}
    gone = last - held
    return _without(obj, struct, (), gone, held) if gone else obj


def _without(
    obj: Object,
    struct: schema.Struct | None,
    at: fieldset.Path,
    gone: Paths,
    held: set[fieldset.Path],
) -> Object:
    found: Object = {}
    for name, value in obj.items():
        path = (*at, "f:" + name)
        if path in gone:
            continue
        field = struct.fields.get(name) if struct else None
        touched = any(other[: len(path)] == path for other in gone)
        if touched:
            value = _without_value(value, field, path, gone, held)
            if not value and path not in held:
                continue
        found[name] = value
    return found


def _without_element(
    item: Object,
    field: schema.Field,
    at: fieldset.Path,
    gone: Paths,
    held: set[fieldset.Path],
) -> Object:
    """An element that stays keeps its key, whoever named it."""
    key = {name: item[name] for name in field.list_keys if name in item}
    return key | _without(item, field.shape.fields(), at, gone, held)


def _without_value(
    value: Any,
    field: schema.Field | None,
    path: fieldset.Path,
    gone: Paths,
    held: set[fieldset.Path],
) -> Any:
    inner = field.shape.fields() if field else None
    if isinstance(value, dict):
        if field is not None and field.shape.kind == "map":
            return {
                key: _without(item, inner, (*path, "f:" + key), gone, held)
                if inner is not None and isinstance(item, dict)
                else item
                for key, item in value.items()
                if (*path, "f:" + key) not in gone
            }
        return _without(value, inner, path, gone, held)
    if isinstance(value, list) and field is not None and fieldset.is_keyed(field):
        kept = []
        for item in value:
            at = (*path, fieldset.element(item, field))
            if at not in gone:
                nested = isinstance(item, dict) and inner is not None
                kept.append(_without_element(item, field, at, gone, held) if nested else item)
        return kept
    return value
