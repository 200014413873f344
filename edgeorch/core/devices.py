"""Devices that containers get without being privileged: what there is, and who gets which.

The configuration maps a name to device nodes. What one container can be given at once is a unit: a
node that a pattern matches, a group of nodes that belong together, or all nodes of one USB device.
A unit may be shared by as many containers as its `count` says. How much there is of a name is
advertised in the node's capacity as devices.edgeorch.io/NAME; the scheduler counts, this chooses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from edgeorch.core.admission import DEVICES
from edgeorch.lib import quantity
from edgeorch.model import views


class Selector(Struct, frozen=True):
    """What the configuration says of one name."""

    paths: tuple[str, ...] = ()
    """Patterns; each node that matches is a unit of its own."""
    group: tuple[str, ...] = ()
    """Patterns whose matches are one unit, which is there when each has a match."""
    usb: tuple[str, ...] = ()
    """`vendor:product` or `vendor:product:serial`; each device is a unit of all its nodes."""
    container_path: str = ""
    permissions: str = "rw"
    count: int = 1


class Unit(Struct, frozen=True):
    id: str
    """Stays the same while the device does: its path, or what USB calls it."""
    nodes: tuple[str, ...]
    """Paths on the host."""
    numbers: tuple[str, ...] = ()
    """What the nodes lead to, as the kernel numbers it: `c188:0`."""


Inventory = Mapping[str, Sequence[Unit]]
"""By name, without the prefix."""


def capacity(selectors: Mapping[str, Selector], inventory: Inventory) -> dict[str, str]:
    """Names whose devices are not there stand with nothing, so that pods wait and say why."""
    return {
        f"{DEVICES}{name}": str(len(inventory.get(name, ())) * selector.count)
        for name, selector in sorted(selectors.items())
    }


def wanted(container: views.Container) -> dict[str, int]:
    """Names to how many."""
    return {
        name.removeprefix(DEVICES): quantity.parse(amount).value()
        for name, amount in sorted(container.resources.limits.items())
        if name.startswith(DEVICES) and quantity.parse(amount).nano
    }


def choose(
    units: Sequence[Unit], count: int, busy: Mapping[str, int], number: int, mine: Sequence[str]
) -> list[Unit] | None:
    """`number` units, those that the container had before first, then the least busy.

    `busy`: by how many others a unit is used. None when there are not enough.
    """
    by_id = {unit.id: unit for unit in units}
    used = dict(busy)
    chosen: list[Unit] = []
    order = {unit.id: index for index, unit in enumerate(units)}
    while len(chosen) < number:
        free = [each for each in by_id if used.get(each, 0) < count]
        if not free:
            return None
        best = min(free, key=lambda each: (each not in mine, used.get(each, 0), order[each]))
        mine = [each for each in mine if each != best]
        used[best] = used.get(best, 0) + 1
        chosen.append(by_id[best])
    return chosen


def identity(inventory: Inventory, given: Mapping[str, Sequence[str]]) -> str | None:
    """Another one when what was unplugged has come back as other nodes; None while it is gone.

    `given`: ids of units by name.
    """
    known = {(name, unit.id): unit for name, units in inventory.items() for unit in units}
    found = [known.get((name, id_)) for name, ids in sorted(given.items()) for id_ in sorted(ids)]
    if not all(found):
        return None
    text = "\n".join(word for unit in found if unit for word in (*unit.nodes, *unit.numbers))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def places(selector: Selector, chosen: Sequence[Unit]) -> list[tuple[str, str]]:
    """Path on the host and in the container of each node, each once.

    With a `container_path` the first node has it, the others have it with a number behind.
    """
    nodes = list(dict.fromkeys(node for unit in chosen for node in unit.nodes))
    if not selector.container_path:
        return [(node, node) for node in nodes]
    return [
        (node, selector.container_path + (str(index) if index else ""))
        for index, node in enumerate(nodes)
    ]
