"""Strategic merge patch, as Kubernetes defines it (apimachinery util/strategicpatch).

Maps merge field by field, null deletes; lists are replaced unless the schema gives them the merge
strategy, and then merge by their merge key (objects) or as sets (scalars). Directives in the
patch: `$patch: replace|delete|merge`, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`,
`$retainKeys`. What the schema does not know is merged (maps) or replaced (lists).

Nothing that is passed in is changed; results may share parts with it, so treat both as frozen.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors, kinds, schema

Object = dict[str, Any]

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"

_BAD_DELETE = "invalid patch format of primitive list"
_BAD_RETAIN = "invalid patch format of retainKeys"
_BAD_ORDER = "invalid patch format of setElementOrder list"


class _BadPatch(Exception):
    """The patch is malformed."""


def merge(table: schema.Schema, kind: kinds.Kind, obj: Object, patch: Any) -> Object:
    """Raises StatusError 400 for a malformed patch, 415 for kinds without a schema of their own."""
    if not isinstance(patch, dict):
        raise errors.bad_request("invalid JSON document")
    struct = table.type_of(kind.api_version, kind.kind)
    if struct.preserve_unknown:
        raise errors.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, "
            "application/apply-patch+yaml"
        )
    try:
        return _map(obj, patch, struct)
    except _BadPatch as why:
        raise errors.bad_request(str(why)) from None


def _map(original: Object, patch: Object, struct: schema.Struct | None) -> Object:
    if _PATCH in patch:
        return _directed(patch)
    found = _retained(original, patch)
    ordered = _orders(patch)
    for name, change in patch.items():
        if name == _RETAIN or name.startswith(_ORDER + "/"):
            continue
        if name.startswith(_DELETE):
            _delete_scalars(found, name, change)
        elif change is None:
            found.pop(name, None)
        else:
            field = struct.fields.get(name) if struct else None
            merged = _value(found.get(name), change, field, name)
            if merged is _DROPPED:
                found.pop(name, None)
            else:
                found[name] = merged
    for name, order in ordered.items():
        field = struct.fields.get(name) if struct else None
        _reorder(found, original, patch, name, order, field)
    return found


def _directed(patch: Object) -> Object:
    """What a map with a `$patch` directive becomes."""
    match patch[_PATCH]:
        case "replace":
            return {name: item for name, item in patch.items() if name != _PATCH}
        case "delete":
            return {}
        case other:
            raise _BadPatch(f"unknown patch type: {other} in map: {_go_map(patch)}")


def _retained(original: Object, patch: Object) -> Object:
    """A copy of the original, cut down to `$retainKeys` where the patch has them."""
    if _RETAIN not in patch:
        return dict(original)
    keys = patch[_RETAIN]
    if not isinstance(keys, list):
        raise _BadPatch(_BAD_RETAIN)
    for name, change in patch.items():
        plain = name == _RETAIN or name.startswith((_DELETE, _ORDER))
        if not plain and change is not None and name not in keys:
            raise _BadPatch(_BAD_RETAIN)
    return {name: item for name, item in original.items() if name in keys}


def _orders(patch: Object) -> dict[str, list[Any]]:
    """Field name to the order that `$setElementOrder/FIELD` asks for."""
    found = {}
    for name, order in patch.items():
        if name.startswith(_ORDER):
            field = name[len(_ORDER) + 1 :]
            if not name.startswith(_ORDER + "/") or not isinstance(order, list):
                raise _BadPatch(_BAD_ORDER)
            found[field] = order
    return found


def _delete_scalars(found: Object, name: str, values: Any) -> None:
    if not name.startswith(_DELETE + "/") or not isinstance(values, list):
        raise _BadPatch(_BAD_DELETE)
    field = name[len(_DELETE) + 1 :]
    current = found.get(field)
    if isinstance(current, list):
        found[field] = [item for item in current if item not in values]


_DROPPED: Any = object()


def _value(original: Any, change: Any, field: schema.Field | None, name: str) -> Any:
    """The new value of a field; _DROPPED when it is to vanish."""
    if isinstance(change, dict) and isinstance(original, dict):
        if field is not None and "replace" in field.strategy:
            return change
        return _map(original, change, field.shape.fields() if field else None)
    if isinstance(change, list) and isinstance(original, list):
        if field is None or "merge" not in field.strategy:
            return change
        return _list(original, change, field, name)
    return _without_directives(change)


def _without_directives(value: Any) -> Any:
    """A patch value that nothing is merged into: nulls and directives are taken out."""
    if isinstance(value, dict):
        if _PATCH in value:
            return _DROPPED
        kept = {
            name: _without_directives(item)
            for name, item in value.items()
            if item is not None and not name.startswith((_RETAIN, _DELETE + "/", _ORDER + "/"))
        }
        return {name: item for name, item in kept.items() if item is not _DROPPED}
    if isinstance(value, list):
        items = map(_without_directives, value)
        return [item for item in items if item is not _DROPPED]
    return value


def _list(original: list[Any], change: list[Any], field: schema.Field, name: str) -> list[Any]:
    if not original and not change:
        return original
    _same_types([*original, *change])
    if not isinstance((original or change)[0], dict):
        return _ordered_scalars(_unique([*original, *change]), change, original)
    key = field.merge_key
    if not key:
        raise _BadPatch(f"cannot merge lists without merge key for {name}")
    base, elements = _special(original, change, key)
    merged = list(base)
    for element in elements:
        at = _find(merged, key, _key_of(element, key))
        if at is None:
            merged.append(_without_directives(element))
        else:
            merged[at] = _map(merged[at], element, field.shape.fields())
    return _ordered_maps(merged, elements, original, key)


def _same_types(items: list[Any]) -> None:
    kinds_seen = {_json_type(item) for item in items}
    if "list" in kinds_seen:
        raise _BadPatch("lists of lists are not supported")
    if len(kinds_seen) > 1:
        raise _BadPatch("list element types are not identical")


def _json_type(item: Any) -> str:
    return type(item).__name__


def _special(original: list[Any], change: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """The list to merge into and the elements to merge, after `$patch` elements are obeyed."""
    elements = []
    base = original
    replaces = False
    for element in change:
        match element.get(_PATCH):
            case None if _PATCH not in element:
                elements.append(element)
            case "delete":
                value = _key_of(element, key)
                base = [item for item in base if item.get(key, _DROPPED) != value]
            case "replace":
                replaces = True
            case "merge":
                raise _BadPatch("merging lists cannot yet be specified in the patch")
            case other:
                raise _BadPatch(f"unknown patch type: {other} in map: {_go_map(element)}")
    if replaces:
        return [_without_directives(element) for element in elements], []
    return base, elements


def _key_of(element: Any, key: str) -> Any:
    if not isinstance(element, dict):
        raise _BadPatch("expected a map[string]interface {}, but received another type")
    if key not in element:
        raise _BadPatch(f"map: {_go_map(element)} does not contain declared merge key: {key}")
    return element[key]


def _go_map(value: Object) -> str:
    """A map as Go prints it."""
    cells = " ".join(f"{name}:{_go(item)}" for name, item in sorted(value.items()))
    return f"map[{cells}]"


def _go(value: Any) -> str:
    match value:
        case dict():
            return _go_map(value)
        case list():
            return f"[{' '.join(map(_go, value))}]"
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _find(items: list[Any], key: str, value: Any) -> int | None:
    for index, item in enumerate(items):
        if key in item and item[key] == value:
            return index
    return None


def _unique(items: list[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


def _reorder(
    found: Object,
    original: Object,
    patch: Object,
    name: str,
    order: list[Any],
    field: schema.Field | None,
) -> None:
    """Obeys `$setElementOrder`: listed elements in that order, the server's own in between."""
    changes = patch.get(name) or []
    key = field.merge_key if field else ""
    _check_order(changes, order, key)
    current = found.get(name)
    if not isinstance(current, list):
        return
    before = original.get(name)
    before = before if isinstance(before, list) else []
    if key:
        found[name] = _ordered_maps(current, order, before, key)
    else:
        found[name] = _ordered_scalars(current, order, before)


def _check_order(changes: Any, order: list[Any], key: str) -> None:
    """What the patch adds must come in the order it asks for."""
    if not isinstance(changes, list):
        raise _BadPatch(_BAD_ORDER)
    if not order:
        return
    wanted = iter([_key_of(item, key) if key else item for item in order])
    for change in changes:
        if key and isinstance(change, dict) and _PATCH in change:
            continue
        value = _key_of(change, key) if key else change
        if not any(value == other for other in wanted):
            raise _BadPatch(
                f"The order in patch list:\n{_go(changes)}\n "
                f"doesn't match {_ORDER} list:\n{_go(order)}\n"
            )


def _ordered_scalars(items: list[Any], order: list[Any], before: list[Any]) -> list[Any]:
    return _interleaved(items, order, before, lambda item: item)


def _ordered_maps(items: list[Any], order: list[Any], before: list[Any], key: str) -> list[Any]:
    return _interleaved(items, order, before, lambda item: _key_of(item, key))


def _interleaved(items: list[Any], order: list[Any], before: list[Any], name: Any) -> list[Any]:
    """Elements the patch names, in its order; those only the server has keep their place before
    the next named element that followed them in the live list."""
    rank = {_hashable(name(item)): at for at, item in reversed(list(enumerate(order)))}
    place = {_hashable(name(item)): at for at, item in reversed(list(enumerate(before)))}
    named = [item for item in items if _hashable(name(item)) in rank]
    named.sort(key=lambda item: rank[_hashable(name(item))])
    own = [item for item in items if _hashable(name(item)) not in rank]
    own.sort(key=lambda item: place.get(_hashable(name(item)), len(before)))
    merged: list[Any] = []
    while named and own:
        left, right = place.get(_hashable(name(named[0]))), place.get(_hashable(name(own[0])))
        server_first = left is not None and right is not None and right < left
        merged.append(own.pop(0) if server_first else named.pop(0))
    return merged + named + own


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, (dict, list)) else value
