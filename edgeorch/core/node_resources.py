"""What the node has, what of it pods may ask for, and what the cgroup of all pods holds at.

Allocatable is capacity less what is reserved for the device itself (its system, containerd, this
process), as the kubelet's Node Allocatable; huge pages are memory that nobody else can use.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeorch.core import cgroups
from edgeorch.lib import quantity
from edgeorch.model import pod_resources

_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


def huge_pages(pools: Mapping[int, int]) -> dict[str, str]:
    """Capacity by resource, of pools given as size of a page in bytes and number of pages."""
    return {f"{pod_resources.HUGE_PAGES}{binary(s)}": binary(s * n) for s, n in pools.items()}


def binary(amount: int) -> str:
    """Bytes as a quantity, by the largest unit that leaves a whole number."""
    for name, unit in _UNITS:
        if amount and amount % unit == 0:
            return f"{amount // unit}{name}"
    return str(amount)


def allocatable(capacity: Mapping[str, str], reserved: Mapping[str, str]) -> dict[str, str]:
    """`reserved`: quantities, or shares of the capacity like `10%`."""
    huge = sum(
        quantity.parse(amount).nano
        for name, amount in capacity.items()
        if name.startswith(pod_resources.HUGE_PAGES)
    )
    found = {}
    for name, text in capacity.items():
        amount = quantity.parse(text)
        kept = _amount(reserved.get(name, "0"), amount.nano)
        if name == pod_resources.MEMORY:
            kept += huge
        found[name] = text if not kept else _rest(amount, kept)
    return found


def _amount(text: str, whole: int) -> int:
    if text.endswith("%"):
        return int(whole * float(text[:-1]) / 100)
    return quantity.parse(text).nano


def _rest(amount: quantity.Quantity, kept: int) -> str:
    """In whole Ki and m, rounded down: nothing is promised that is not there."""
    step = 1024 * quantity.NANO if amount.format == "BinarySI" else quantity.NANO // 1000
    left = max(0, amount.nano - kept) // step
    if amount.format == "BinarySI":
        return f"{left}Ki"
    return quantity.of_nano(left * step, amount.format).text


def pods_limits(amounts: Mapping[str, str]) -> cgroups.Limits:
    """Of the group of all pods, which may use what is allocatable."""
    cpu = quantity.parse(amounts.get("cpu", "0")).milli()
    memory = quantity.parse(amounts.get("memory", "0")).value()
    return cgroups.Limits(cgroups.shares(cpu), None, memory or None)
