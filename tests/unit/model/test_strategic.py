"""Strategic merge patch does what apimachinery's strategicpatch does."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.lib import json
from edgeorch.model import errors, kinds, schema, strategic

TABLE = schema.load()


def merge(obj: Any, change: Any, kind: kinds.Kind = kinds.POD) -> Any:
    before = json.encode([obj, change])
    found = strategic.merge(TABLE, kind, obj, change)
    assert json.encode([obj, change]) == before
    return found


def containers(*items: Any, **more: Any) -> Any:
    return {"spec": {"containers": list(items), **more}}


A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}

CASES: list[tuple[str, Any, Any, Any]] = [
    ("lists with a merge key merge by it", containers(A, B),
     containers({"name": "b", "image": "2"}), containers(A, {"name": "b", "image": "2"})),
    ("new elements come first, in patch order", containers(A), containers(C, B),
     containers(C, B, A)),
    ("patch delete removes an element", containers(A, B),
     containers({"$patch": "delete", "name": "a"}), containers(B)),
    ("patch replace replaces the list", containers(A, B), containers({"$patch": "replace"}, C),
     containers(C)),
    ("null deletes a field", {"spec": {"nodeName": "n", "hostname": "h"}},
     {"spec": {"nodeName": None}}, {"spec": {"hostname": "h"}}),
    ("maps merge", {"metadata": {"labels": {"a": "1", "b": "2"}}},
     {"metadata": {"labels": {"b": None, "c": "3"}}},
     {"metadata": {"labels": {"a": "1", "c": "3"}}}),
    ("a map is replaced on demand", {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "replace", "c": "3"}}},
     {"metadata": {"labels": {"c": "3"}}}),
    ("a map is emptied on demand", {"metadata": {"labels": {"a": "1"}}},
     {"metadata": {"labels": {"$patch": "delete"}}}, {"metadata": {"labels": {}}}),
    ("lists without a merge key are replaced", {"spec": {"tolerations": [{"key": "a"}]}},
     {"spec": {"tolerations": [{"key": "b"}]}}, {"spec": {"tolerations": [{"key": "b"}]}}),
    ("sets of scalars unite", {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"finalizers": ["c", "a"]}}, {"metadata": {"finalizers": ["c", "a", "b"]}}),
    ("scalars are deleted from a set", {"metadata": {"finalizers": ["a", "b"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}},
     {"metadata": {"finalizers": ["b"]}}),
    ("the order is set", containers(A, B, C),
     containers({"name": "c", "image": "2"},
                **{"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}),
     containers({"name": "c", "image": "2"}, A, B)),
    ("the server's own elements keep their place", containers(A, B, C),
     {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}},
     containers(B, C, A)),
    ("retainKeys drops other sources of a volume",
     {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}},
     {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]}},
     {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
    ("nulls in what is new are dropped", {}, {"spec": {"nodeName": None, "hostname": "h"}},
     {"spec": {"hostname": "h"}}),
    ("nested lists merge", containers({**A, "env": [{"name": "X", "value": "1"}]}),
     containers({"name": "a", "env": [{"name": "Y", "value": "2"}]}),
     containers({**A, "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]})),
    ("another type replaces", {"spec": {"containers": "x"}}, containers(A), containers(A)),
    ("unknown maps merge, unknown lists are replaced", {"foo": {"a": 1}, "bar": [1]},
     {"foo": {"b": 2}, "bar": [2]}, {"foo": {"a": 1, "b": 2}, "bar": [2]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "change", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES]
)
def test_cases(obj: Any, change: Any, expected: Any) -> None:
    assert merge(obj, change) == expected


def test_what_kubectl_apply_sends() -> None:
    """Seen from kubectl 1.27 to 1.33: one container changed, one added, one deleted; a sidecar
    that somebody else had put in stays."""
    change = json.decode(
        b'{"spec":{"replicas":3,"template":{"spec":{"$setElementOrder/containers":[{"name":"a"},'
        b'{"name":"new"}],"containers":[{"image":"x:2","name":"a"},{"image":"w","name":"new"},'
        b'{"$patch":"delete","name":"old"}]}}}}'
    )
    live = {
        "spec": {
            "replicas": 2,
            "template": {
                "spec": {
                    "containers": [
                        {"name": "a", "image": "x:1", "tty": True},
                        {"name": "old", "image": "y"},
                        {"name": "sidecar", "image": "z"},
                    ]
                }
            },
        }
    }
    found = merge(live, change, kinds.DEPLOYMENT)
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["containers"] == [
        {"name": "a", "image": "x:2", "tty": True},
        {"name": "new", "image": "w"},
        {"name": "sidecar", "image": "z"},
    ]


def test_strategy_with_retain_keys() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    change = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert merge(live, change, kinds.DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


REFUSED: list[tuple[Any, str]] = [
    (containers({"image": "x"}), "map: map[image:x] does not contain declared merge key: name"),
    ({"metadata": {"$patch": "frob"}}, "unknown patch type: frob in map: map[$patch:frob]"),
    (containers({"$patch": "merge", "name": "a"}),
     "merging lists cannot yet be specified in the patch"),
    ({"metadata": {"$retainKeys": 1}}, "invalid patch format of retainKeys"),
    ({"metadata": {"$retainKeys": [], "name": "x"}}, "invalid patch format of retainKeys"),
    ({"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
     "invalid patch format of primitive list"),
    ({"spec": {"$setElementOrder/containers": {}}}, "invalid patch format of setElementOrder list"),
    (containers("x"), "list element types are not identical"),
    ([], "invalid JSON document"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_malformed_patches_are_bad_requests(change: Any, told: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        merge({**containers(A), "metadata": {"finalizers": ["a"]}}, change)
    assert (caught.value.code, caught.value.message) == (400, told)


def test_the_order_of_the_patch_must_match_the_order_it_sets() -> None:
    order = [{"name": "a"}, {"name": "b"}]
    with pytest.raises(errors.StatusError, match=r"doesn't match \$setElementOrder list"):
        merge(containers(A), containers(B, A, **{"$setElementOrder/containers": order}))


NAMES = st.sampled_from(["a", "b", "c", "d"])
ENV = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"value": st.sampled_from(["1", "2"])}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES}, optional={"image": NAMES, "env": ENV, "tty": st.booleans()}
    ),
    max_size=4,
    unique_by=lambda item: str(item["name"]),
)  # fmt: skip
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(NAMES, NAMES, max_size=3),
                "finalizers": st.lists(NAMES, unique=True, max_size=3),
            },
        ),
        "spec": st.fixed_dictionaries({"containers": CONTAINERS}, optional={"nodeName": NAMES}),
    }
)


@given(PODS, PODS)
def test_merging_twice_is_merging_once(obj: Any, change: Any) -> None:
    once = merge(obj, change)
    assert merge(once, change) == once


@given(PODS)
def test_an_object_merged_with_itself_or_nothing_stays(obj: Any) -> None:
    assert merge(obj, obj) == obj
    assert merge(obj, {}) == obj


def three_way(last: Any, live: Any, wanted: Any) -> Any:
    """The patch that kubectl apply would send for containers: what is wanted, deletions of what
    was applied last and is wanted no more, and the order."""
    names = [item["name"] for item in wanted["spec"]["containers"]]
    gone = [item for item in last["spec"]["containers"] if item["name"] not in names]
    deletions = [{"$patch": "delete", "name": item["name"]} for item in gone]
    return {
        "spec": {
            "$setElementOrder/containers": [{"name": name} for name in names],
            "containers": [*wanted["spec"]["containers"], *deletions],
        }
    }


@given(PODS, PODS, PODS)
def test_apply_keeps_what_others_added_and_orders_what_is_its_own(
    last: Any, live: Any, wanted: Any
) -> None:
    found = merge(live, three_way(last, live, wanted))["spec"]["containers"]
    mine = [item["name"] for item in wanted["spec"]["containers"]]
    applied = {item["name"] for item in last["spec"]["containers"]}
    others = [
        item for item in live["spec"]["containers"]
        if item["name"] not in mine and item["name"] not in applied
    ]  # fmt: skip
    assert [item["name"] for item in found if item["name"] in mine] == mine
    assert [item for item in found if item["name"] not in mine] == others


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | NAMES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "spec", "metadata", "containers", "env", "volumes", "finalizers", "$patch",
                 "$retainKeys", "$setElementOrder/containers", "$setElementOrder/finalizers",
                 "$deleteFromPrimitiveList/finalizers", "$setElementOrder",
                 "$deleteFromPrimitiveList"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)  # fmt: skip


@given(ANY, ANY)
def test_anything_merges_or_is_refused(obj: Any, change: Any) -> None:
    with contextlib.suppress(errors.StatusError):
        json.encode(merge(obj if isinstance(obj, dict) else {}, change))
