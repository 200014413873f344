"""JSON patch (RFC 6902) and merge patch (RFC 7396), with kube-apiserver's errors."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import json
from edgeorch.model import errors, patch

# After the examples of RFC 6902, appendix A.
APPLIED: list[tuple[str, Any, list[Any], Any]] = [
    ("add a member", {"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
    ("add an element", {"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}],
     {"a": [1, 2, 3]}),
    ("append", {"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
    ("add over", {"a": 1}, [{"op": "add", "path": "/a", "value": None}], {"a": None}),
    ("add the whole", {"a": 1}, [{"op": "add", "path": "", "value": {"b": 1}}], {"b": 1}),
    ("remove a member", {"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
    ("remove an element", {"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
    ("replace", {"a": {"b": 1}}, [{"op": "replace", "path": "/a/b", "value": 2}], {"a": {"b": 2}}),
    ("replace in a list", {"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}],
     {"a": [9, 2]}),
    ("move", {"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}],
     {"a": {}, "b": {"y": 1}}),
    ("move in a list", {"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}],
     {"a": [2, 3, 1]}),
    ("copy-to-a-dash", {"a": 1}, [{"op": "copy", "from": "/a", "path": "/-"}], {"a": 1, "-": 1}),
    ("copy-to-the-end", {"a": [1]}, [{"op": "copy", "from": "/a/0", "path": "/a/-"}],
     {"a": [1, 1]}),
    ("copy", {"a": {"x": [1]}}, [{"op": "copy", "from": "/a/x", "path": "/b"}],
     {"a": {"x": [1]}, "b": [1]}),
    ("test passes", {"a": {"b": [1, None]}},
     [{"op": "test", "path": "/a", "value": {"b": [1, None]}}], {"a": {"b": [1, None]}}),
    ("escapes", {"a/b": 1, "m~n": 2}, [{"op": "remove", "path": "/a~1b"},
     {"op": "replace", "path": "/m~0n", "value": 3}], {"m~n": 3}),
    ("the empty key", {"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ("a number as key", {"a": {"0": 1}}, [{"op": "remove", "path": "/a/0"}], {"a": {}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "operations", "expected"),
    [row[1:] for row in APPLIED],
    ids=[row[0] for row in APPLIED],
)
def test_operations(obj: Any, operations: Any, expected: Any) -> None:
    before = json.encode(obj)
    assert patch.json_patch(obj, operations) == expected
    assert json.encode(obj) == before


BAD_INDEX = (
    "error in {} for path: '/l/{}': Unable to access invalid index: {}: invalid index referenced"
)
REFUSED: list[tuple[Any, str]] = [
    ({"op": "add", "path": "/x/y", "value": 1},
     'add operation does not apply: doc is missing path: "/x/y": missing value'),
    ({"op": "remove", "path": "/x"},
     "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value"),
    ({"op": "replace", "path": "/x", "value": 1},
     "replace operation does not apply: doc is missing key: /x: missing value"),
    ({"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
    ({"op": "test", "path": "/a", "value": True}, "testing value /a failed: test failed"),
    ({"op": "add", "path": "/l/5", "value": 1}, BAD_INDEX.format("add", 5, 5)),
    ({"op": "remove", "path": "/l/-1"}, BAD_INDEX.format("remove", -1, -1)),
    ({"op": "move", "from": "/x", "path": "/y"},
     "error in move for path: 'x': unable to get nonexistent key: x: missing value"),
    ({"op": "add", "value": 1}, "add operation failed to decode path: missing value"),
    ({"op": "frob", "path": "/a"}, "Unexpected kind: frob"),
    ({"path": "/a"}, "Unexpected kind: unknown"),
    ({"op": "move", "from": "/l", "path": "/l/0"},
     "error in move for path: '/l/0': cannot move a value into itself"),
    ({"op": "add", "path": "", "value": [1]}, "the patched document is not an object"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "told"), REFUSED, ids=[told[:44] for _, told in REFUSED])
def test_operations_that_do_not_apply_are_unprocessable(operation: Any, told: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        patch.json_patch({"a": 1, "l": [1, 2]}, [operation])
    assert (caught.value.code, caught.value.message) == (422, told)


@pytest.mark.parametrize("operations", [{}, 5, [1], ["x"], None])
def test_what_is_no_patch_is_a_bad_request(operations: Any) -> None:
    with pytest.raises(errors.StatusError) as caught:
        patch.json_patch({}, operations)
    assert caught.value.code == 400


def test_size_is_bounded() -> None:
    with pytest.raises(errors.StatusError) as caught:
        patch.json_patch({}, [{"op": "test", "path": "", "value": {}}] * 10_001)
    assert caught.value.code == 413
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(60)]
    with pytest.raises(errors.StatusError, match="accumulated size") as caught:
        patch.json_patch({"a": {"x": "y" * 100}}, doubling)
    assert caught.value.code == 422


# After the examples of RFC 7396, appendix A.
MERGED: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("obj", "change", "expected"), MERGED, ids=[str(c) for _, c, _ in MERGED])
def test_merge_patch(obj: Any, change: Any, expected: Any) -> None:
    assert patch.merge_patch(obj, change) == expected


def test_a_merge_patch_must_be_an_object() -> None:
    with pytest.raises(errors.StatusError, match="Invalid JSON Patch"):
        patch.merge_patch({}, [1])


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "0", "~/"]), inner, max_size=3)
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)


def has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(item is None or has_null(item) for item in value.values())
    return False


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(obj: Any, change: Any) -> None:
    once = patch.merge_patch(obj, change)
    assert patch.same(patch.merge_patch(once, change), once)


@given(OBJECTS.filter(lambda obj: not has_null(obj)))
def test_merging_into_nothing_gives_the_patch(obj: Any) -> None:
    assert patch.same(patch.merge_patch({}, obj), obj)
    assert patch.same(patch.merge_patch(obj, {}), obj)


@given(OBJECTS, OBJECTS)
def test_inputs_are_never_changed(obj: Any, change: Any) -> None:
    before = json.encode([obj, change])
    patch.merge_patch(obj, change)
    assert json.encode([obj, change]) == before


PATHS = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0~1"]), max_size=3).map(
    lambda tokens: "".join("/" + token for token in tokens)
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": PATHS},
    optional={"from": PATHS, "value": VALUES},
)


@given(OBJECTS, st.lists(OPERATIONS, max_size=4))
def test_any_patch_applies_or_is_refused_and_leaves_its_input(obj: Any, operations: Any) -> None:
    before = json.encode([obj, operations])
    with contextlib.suppress(errors.StatusError):
        json.encode(patch.json_patch(obj, operations))
    assert json.encode([obj, operations]) == before


@given(OBJECTS, PATHS.filter(bool), VALUES)
def test_what_was_added_can_be_tested_and_removed(obj: Any, path: str, value: Any) -> None:
    add = {"op": "add", "path": path, "value": value}
    try:
        added = patch.json_patch(obj, [add])
    except errors.StatusError:
        return
    if not path.endswith("/-"):
        test = {"op": "test", "path": path, "value": value}
        assert patch.json_patch(obj, [add, test]) == added
