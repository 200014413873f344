"""Owners and dependents in memory: whatever the graph, deletions end as their policy says."""

from __future__ import annotations

import random
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from edgeorch.core import garbage
from edgeorch.model import views

Object = dict[str, Any]
POLICIES = ("Background", "Foreground", "Orphan")
_FINALIZERS = {"Foreground": garbage.FOREGROUND, "Orphan": garbage.ORPHAN}


class World:
    """Objects by name, which is also their uid. The store is told to delete as the API does."""

    def __init__(self, owners: dict[str, set[str]], blocking: bool) -> None:
        self.objects: dict[str, Object] = {}
        self.orphaned: set[str] = set()
        for name, above in owners.items():
            refs = [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": each,
                    "uid": each,
                    "blockOwnerDeletion": blocking,
                }
                for each in sorted(above)
            ]
            meta: Object = {"name": name, "uid": name}
            if refs:
                meta["ownerReferences"] = refs
            self.objects[name] = {"metadata": meta}

    def meta(self, name: str) -> views.Meta | None:
        found = self.objects.get(name)
        return msgspec.convert(found["metadata"], views.Meta) if found else None

    def delete(self, name: str, policy: str) -> None:
        meta = self.objects[name]["metadata"]
        finalizer = _FINALIZERS.get(policy)
        if finalizer is None and not meta.get("finalizers"):
            del self.objects[name]
            return
        if finalizer and not meta.get("deletionTimestamp"):
            meta["finalizers"] = [finalizer]
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    def dependents(self, uid: str) -> list[garbage.Dependent]:
        kept = [garbage.remember(meta) for name in self.objects if (meta := self.meta(name))]
        return [each for each in kept if each and any(ref.uid == uid for ref in each.owners)]

    def plan(self, name: str) -> list[garbage.Action]:
        meta = self.meta(name)
        if meta is None:
            return []
        state = lambda ref: garbage.state(self.meta(ref.name), ref.uid)  # noqa: E731
        return garbage.plan(meta, state, self.dependents(meta.uid))

    def carry_out(self, name: str, action: garbage.Action) -> None:
        obj = self.objects.get(name)
        if obj is None:
            return
        match action:
            case garbage.Delete(policy):
                self.delete(name, policy)
            case garbage.DropOwners(uids):
                self.objects[name] = garbage.without_owners(obj, uids)
            case garbage.OrphanDependents():
                for each in self.dependents(name):
                    self.orphaned.add(each.uid)
                    freed = garbage.without_owners(self.objects[each.uid], frozenset((name,)))
                    self.objects[each.uid] = freed
            case garbage.RemoveFinalizer(finalizer):
                self.objects[name] = garbage.without_finalizer(obj, finalizer)
                if not self.objects[name]["metadata"].get("finalizers"):
                    del self.objects[name]
            case garbage.Unblock():
                self.objects[name] = garbage.unblocking(obj)
            case garbage.DeleteDependents():
                pass

    def settle(self, dice: random.Random) -> None:
        """In any order, each plan perhaps cut short by a kill."""
        for _ in range(300):
            names = sorted(self.objects)
            dice.shuffle(names)
            busy = False
            for name in names:
                actions = self.plan(name)
                assert actions == self.plan(name)
                busy = busy or any(
                    not isinstance(each, garbage.DeleteDependents) for each in actions
                )
                kept = len(actions) if dice.random() < 0.8 else dice.randint(0, len(actions))
                for action in actions[:kept]:
                    self.carry_out(name, action)
            if not busy:
                return
        raise AssertionError(f"never came to rest: {self.objects}")


_NAMES = "abcdef"
_GRAPHS = st.dictionaries(
    st.sampled_from(_NAMES), st.sets(st.sampled_from(_NAMES), max_size=3), min_size=1
)


@hypothesis.settings(deadline=None)
@hypothesis.example({"a": {"a"}}, True, "Foreground", "a", 0)
@hypothesis.given(
    _GRAPHS, st.booleans(), st.sampled_from(POLICIES), st.sampled_from(_NAMES), st.integers(0, 999)
)
def test_it_comes_to_rest_with_nothing_left_that_nobody_owns(
    owners: dict[str, set[str]], blocking: bool, policy: str, victim: str, seed: int
) -> None:
    dice = random.Random(seed)
    world = World(owners, blocking)
    world.settle(dice)
    before = {name: meta for name in world.objects if (meta := world.meta(name))}
    if victim not in before:
        return
    world.delete(victim, policy)
    world.settle(dice)
    assert victim not in world.objects
    for name, obj in world.objects.items():
        # Nothing is left half deleted, and every reference leads to what is there.
        assert "deletionTimestamp" not in obj["metadata"]
        refs = obj["metadata"].get("ownerReferences", [])
        assert all(ref["uid"] in world.objects for ref in refs)
        assert refs or not before[name].owner_references or name in world.orphaned
    gone = set(before) - set(world.objects)
    for name in gone - {victim}:
        # Only what had an owner that went with it.
        assert {ref.uid for ref in before[name].owner_references} & gone
    if policy == "Orphan":
        assert gone == {victim}


@hypothesis.given(st.integers(0, 999), st.booleans())
def test_an_owner_in_the_foreground_goes_last(seed: int, cyclic: bool) -> None:
    owners = {"a": {"d"} if cyclic else set(), "b": {"a"}, "c": {"b"}, "d": {"c"}}
    world, dice = World(owners, blocking=True), random.Random(seed)
    world.delete("a", "Foreground")
    order: list[str] = []
    for _ in range(60):
        names = sorted(world.objects)
        dice.shuffle(names)
        for name in names:
            there = set(world.objects)
            for action in world.plan(name):
                world.carry_out(name, action)
            order += sorted(there - set(world.objects))
    assert set(order) == set(owners)
    assert cyclic or order == ["d", "c", "b", "a"]


@hypothesis.given(st.integers(0, 999), st.booleans())
def test_two_that_own_each_other_both_go_in_the_foreground(seed: int, blocking: bool) -> None:
    world, dice = World({"a": {"b"}, "b": {"a"}}, blocking), random.Random(seed)
    for name in ("a", "b"):
        world.delete(name, "Foreground")
    world.settle(dice)
    assert not world.objects
