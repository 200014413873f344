"""What two objects of one bundle cannot both have.

Each of them alone could be created, so that trying them one by one tells nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from edgeorch.model import kinds
from edgeorch.model.bundles import Item
from edgeorch.model.kinds import Object

CLAIMING = (kinds.SERVICE, kinds.PRIORITY_CLASS)
"""Kinds whose objects may ask for something."""
_ADDRESS, _PORT = "clusterIP ", "nodePort "
_EXPOSED = ("NodePort", "LoadBalancer")


class Claim(Struct, frozen=True):
    """Something that there is once. `what` names it, `path` is the field that asks for it."""

    what: str
    path: str


class Conflict(Struct, frozen=True):
    place: str
    told: str


def conflicts(items: Sequence[Item]) -> list[Conflict]:
    found = []
    taken: dict[str, Item] = {}
    for item in items:
        for claim in claims(item):
            holder = taken.setdefault(claim.what, item)
            # Within one object validation tells; a Service may have a port for TCP and for UDP.
            if holder is not item:
                told = f"{claim.what} is what {holder.place} asks for, too"
                found.append(Conflict(f"{item.place} {claim.path}", told))
    return found


def claims(item: Item) -> list[Claim]:
    """What the object asks for by name, and nothing else can have then."""
    if item.kind is kinds.SERVICE:
        return list(_service(item.obj.get("spec") or {}))
    if item.kind is kinds.PRIORITY_CLASS and item.obj.get("globalDefault"):
        return [Claim("being the default PriorityClass", "globalDefault")]
    return []


def without(item: Item, freed: Collection[str]) -> Item:
    """The object as it can be tried while somebody who is to go still has what it asks for."""
    asked = {claim.what for claim in claims(item) if claim.what in freed}
    if not asked:
        return item
    if item.kind is not kinds.SERVICE:
        return Item(item.kind, {**item.obj, "globalDefault": False}, item.place)
    obj = copy.deepcopy(item.obj)
    spec = obj["spec"]
    if any(what.startswith(_ADDRESS) for what in asked):
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    ports = ((port, "nodePort") for port in spec.get("ports") or ())
    for holder, name in ((spec, "healthCheckNodePort"), *ports):
        if f"{_PORT}{holder.get(name)}" in asked:
            del holder[name]
    return Item(item.kind, obj, item.place)


def _service(spec: Object) -> Iterator[Claim]:
    kind = spec.get("type") or "ClusterIP"
    if kind != "ExternalName":
        for path, address in _addresses(spec):
            yield Claim(f"{_ADDRESS}{address}", path)
    if kind not in _EXPOSED:
        return
    for index, port in enumerate(spec.get("ports") or ()):
        if number := port.get("nodePort"):
            yield Claim(f"{_PORT}{number}", f"spec.ports[{index}].nodePort")
    is_checked = kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
    if is_checked and (number := spec.get("healthCheckNodePort")):
        # Of the same range as node ports.
        yield Claim(f"{_PORT}{number}", "spec.healthCheckNodePort")


def _addresses(spec: Object) -> Iterable[tuple[str, str]]:
    first, more = spec.get("clusterIP"), spec.get("clusterIPs") or ()
    named = [("spec.clusterIP", first)] if first else []
    named += [(f"spec.clusterIPs[{n}]", each) for n, each in enumerate(more) if each != first]
    return [(path, address) for path, address in named if address not in (None, "", "None")]
