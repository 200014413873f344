"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396), as pure functions.

Nothing that is passed in is changed; results may share parts with it, so treat both as frozen.
Errors are worded as kube-apiserver words them (it uses evanphx/json-patch): a patch that is
malformed is 400, one that does not apply is 422.
"""

from __future__ import annotations

from typing import Any

from edgeorch.lib import json, jsonsyntax
from edgeorch.model import errors

Object = dict[str, Any]

MAX_OPERATIONS = 10_000
# Copies may not grow an object without end.
MAX_COPIED = 3 * 1024 * 1024

MISSING = "missing value"
_ABSENT: Any = object()


class _NotApplied(Exception):
    """An operation does not apply; the text is the whole message."""


class _NoValue(Exception):
    """What a path names is not there; the text is the cause."""


def json_patch(obj: Object, operations: Any) -> Any:
    """Raises StatusError 400 for what is no JSON patch, 413 for too many operations, 422 when an
    operation does not apply (and nothing of the patch is then done)."""
    checked = _operations(operations)
    document: Any = obj
    copied = 0
    try:
        for operation in checked:
            document = _apply(document, operation)
            if operation.get("op") == "copy":
                copied += len(json.encode(_read(document, operation["path"])))
                if copied > MAX_COPIED:
                    raise _NotApplied(
                        f"Unable to complete the copy, the accumulated size increase of copy is "
                        f"{copied}, exceeding the limit {MAX_COPIED}"
                    )
    except _NotApplied as why:
        raise _unprocessable(str(why)) from None
    if jsonsyntax.too_deep(document):
        raise _unprocessable("exceeded max depth")
    if not isinstance(document, dict):
        raise _unprocessable("the patched document is not an object")
    return document


def _unprocessable(message: str) -> errors.StatusError:
    return errors.StatusError(422, "Invalid", message)


def _operations(operations: Any) -> list[Object]:
    if not isinstance(operations, list):
        told = "object" if isinstance(operations, dict) else "value"
        raise errors.bad_request(
            f"json: cannot unmarshal {told} into Go value of type jsonpatch.Patch"
        )
    if len(operations) > MAX_OPERATIONS:
        raise errors.too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(operations)}"
        )
    for operation in operations:
        if not isinstance(operation, dict):
            raise errors.bad_request(
                "json: cannot unmarshal array into Go value of type jsonpatch.Operation"
            )
    return operations


def _apply(document: Any, operation: Object) -> Any:
    name = operation.get("op")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        raise _NotApplied(f"Unexpected kind: {name if isinstance(name, str) else 'unknown'}")
    return apply(document, operation)


def _pointer(operation: Object, field: str) -> str:
    """The text of `path` or `from`."""
    told = operation.get(field)
    if isinstance(told, str):
        return told
    name = operation["op"]
    if field == "from":
        raise _NotApplied(
            f"{name} operation failed to decode from: operation, missing from field: {MISSING}"
        )
    why = MISSING if name in ("add", "remove", "copy") \
        else f"operation missing path field: {MISSING}"  # fmt: skip
    raise _NotApplied(f"{name} operation failed to decode path: {why}")


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _index(key: str, size: int, *, growing: bool = False) -> int:
    """An array index; `-` is one past the end where that is allowed. Raises _NoValue."""
    if key == "-" and growing:
        return size
    if not key.isascii() or not key.removeprefix("-").isdigit():
        raise _NoValue(
            f"value was not a proper array index: '{key}': "
            f'strconv.Atoi: parsing "{key}": invalid syntax'
        )
    index = int(key) if len(key) < 10 else size + 1
    if not 0 <= index < size + growing:
        raise _NoValue(f"Unable to access invalid index: {key}: invalid index referenced")
    return index


def _get(container: Any, key: str) -> Any:
    """Raises _NoValue."""
    if isinstance(container, dict):
        if key not in container:
            raise _NoValue(f"unable to get nonexistent key: {key}: {MISSING}")
        return container[key]
    return container[_index(key, len(container))]


def _add(container: Any, key: str, value: Any) -> Any:
    """A new container with the value put in; in a list what follows moves up."""
    if isinstance(container, dict):
        return {**container, key: value}
    at = _index(key, len(container), growing=True)
    return [*container[:at], value, *container[at:]]


def _put(container: Any, key: str, value: Any) -> Any:
    if isinstance(container, dict):
        return {**container, key: value}
    at = _index(key, len(container))
    return [*container[:at], value, *container[at + 1 :]]


def _drop(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        if key not in container:
            raise _NoValue(f"Unable to remove nonexistent key: {key}: {MISSING}")
        return {name: item for name, item in container.items() if name != key}
    at = _index(key, len(container))
    return [*container[:at], *container[at + 1 :]]


def _parent(document: Any, tokens: list[str]) -> Any:
    """What holds the last token; _ABSENT when the way there is not."""
    if not tokens:
        return _ABSENT
    here = document
    for token in tokens[:-1]:
        try:
            here = _get(here, token) if isinstance(here, (dict, list)) else _ABSENT
        except _NoValue:
            return _ABSENT
    return here if isinstance(here, (dict, list)) else _ABSENT


def _replaced(document: Any, tokens: list[str], value: Any) -> Any:
    """The document with the container at `tokens` exchanged; only the way there is copied."""
    if not tokens:
        return value
    inner = _replaced(_get(document, tokens[0]), tokens[1:], value)
    return _put(document, tokens[0], inner)


def _changed(document: Any, pointer: str, change: Any, missing: str, fault: str) -> Any:
    """The document after `change(container, key)` at the pointer."""
    tokens = _tokens(pointer)
    container = _parent(document, tokens)
    if container is _ABSENT:
        raise _NotApplied(f"{missing}: {MISSING}")
    try:
        return _replaced(document, tokens[:-1], change(container, tokens[-1]))
    except _NoValue as why:
        raise _NotApplied(f"{fault}: {why}") from None


def _read(document: Any, pointer: str) -> Any:
    for key in _tokens(pointer):
        appended = key == "-" and isinstance(document, list)
        document = document[-1] if appended else _get(document, key)
    return document


def _op_add(document: Any, operation: Object) -> Any:
    path = _pointer(operation, "path")
    value = operation.get("value")
    if path == "":
        return value
    return _changed(
        document, path, lambda container, key: _add(container, key, value),
        f'add operation does not apply: doc is missing path: "{path}"',
        f"error in add for path: '{path}'",
    )  # fmt: skip


def _op_remove(document: Any, operation: Object) -> Any:
    path = _pointer(operation, "path")
    return _changed(
        document, path, _drop,
        f'remove operation does not apply: doc is missing path: "{path}"',
        f"error in remove for path: '{path}'",
    )  # fmt: skip


def _op_replace(document: Any, operation: Object) -> Any:
    path = _pointer(operation, "path")
    value = operation.get("value")
    if path == "":
        return value
    tokens = _tokens(path)
    container = _parent(document, tokens)
    if container is not _ABSENT:
        try:
            _get(container, tokens[-1])
        except _NoValue:
            raise _NotApplied(
                f"replace operation does not apply: doc is missing key: {path}: {MISSING}"
            ) from None
    return _changed(
        document, path, lambda container, key: _put(container, key, value),
        f"replace operation does not apply: doc is missing path: {path}",
        f"error in replace for path: '{path}'",
    )  # fmt: skip


def _taken(document: Any, operation: Object) -> Any:
    """The value at `from`."""
    source = _pointer(operation, "from")
    name = operation["op"]
    tokens = _tokens(source)
    container = _parent(document, tokens)
    if container is _ABSENT:
        raise _NotApplied(
            f"{name} operation does not apply: doc is missing from path: {source}: {MISSING}"
        )
    try:
        return _get(container, tokens[-1])
    except _NoValue as why:
        told = f"error in move for path: '{tokens[-1]}'" if name == "move" \
            else f"error in copy for from: '{source}'"  # fmt: skip
        raise _NotApplied(f"{told}: {why}") from None


def _op_move(document: Any, operation: Object) -> Any:
    value = _taken(document, operation)
    source, path = operation["from"], _pointer(operation, "path")
    if path == source:
        return document
    if path.startswith(source + "/"):
        raise _NotApplied(f"error in move for path: '{path}': cannot move a value into itself")
    fault = f"error in move for path: '{path}'"
    without = _changed(document, source, _drop, fault, fault)
    return _changed(
        without, path, lambda container, key: _add(container, key, value),
        f"move operation does not apply: doc is missing destination path: {path}", fault,
    )  # fmt: skip


def _op_copy(document: Any, operation: Object) -> Any:
    value = _taken(document, operation)
    path = _pointer(operation, "path")
    return _changed(
        document, path, lambda container, key: _add(container, key, value),
        f"copy operation does not apply: doc is missing destination path: {path}",
        "error while adding value during copy",
    )  # fmt: skip


def _op_test(document: Any, operation: Object) -> Any:
    path = _pointer(operation, "path")
    expected = operation.get("value")
    failed = _NotApplied(f"testing value {path} failed: test failed")
    if path == "":
        if not same(document, expected):
            raise failed
        return document
    tokens = _tokens(path)
    container = _parent(document, tokens)
    if container is _ABSENT:
        raise _NotApplied(f"test operation does not apply: is missing path: {path}: {MISSING}")
    try:
        found = _get(container, tokens[-1])
    except _NoValue as why:
        raise _NotApplied(f"error in test for path: '{path}': {why}") from None
    if not same(found, expected):
        raise failed
    return document


_OPERATIONS = {
    "add": _op_add,
    "remove": _op_remove,
    "replace": _op_replace,
    "move": _op_move,
    "copy": _op_copy,
    "test": _op_test,
}


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(same(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def merge_patch(obj: Object, patch: Any) -> Object:
    """RFC 7396. Raises StatusError 400 for a patch that is not an object."""
    if not isinstance(patch, dict):
        raise errors.bad_request("Invalid JSON Patch")
    return _merged(obj, patch)


def _merged(target: Any, patch: Object) -> Object:
    found = dict(target) if isinstance(target, dict) else {}
    for name, change in patch.items():
        if change is None:
            found.pop(name, None)
        elif isinstance(change, dict):
            found[name] = _merged(found.get(name), change)
        else:
            found[name] = change
    return found
