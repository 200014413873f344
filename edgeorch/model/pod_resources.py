"""What a pod asks for and may use as a whole, from its containers and from itself, in nano units.

Main containers and sidecars run side by side, init containers one after another beside the sidecars
started before them (KEP-753); what the pod says of itself replaces the sum of the resources that it
may say it of (KEP-2837); the overhead of the runtime comes on top. Arithmetic of
k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from edgeorch.lib import quantity

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
HUGE_PAGES = "hugepages-"

Amounts = dict[str, int]
"""Nano units by resource."""


class Resources(Protocol):
    @property
    def limits(self) -> Mapping[str, str]: ...
    @property
    def requests(self) -> Mapping[str, str]: ...


class Container(Protocol):
    @property
    def resources(self) -> Resources: ...
    @property
    def restart_policy(self) -> str: ...


class Spec(Protocol):
    @property
    def containers(self) -> Sequence[Container]: ...
    @property
    def init_containers(self) -> Sequence[Container]: ...
    @property
    def resources(self) -> Resources | None:
        """Of the pod itself."""

    @property
    def overhead(self) -> Mapping[str, str]: ...


def requests(spec: Spec) -> Amounts:
    found = _together(spec, lambda resources: resources.requests)
    if spec.resources is not None:
        found |= _own(spec.resources.requests)
    _add(found, spec.overhead)
    return found


def limits(spec: Spec) -> Amounts:
    """A container without a limit adds nothing: that the pod is bounded is not said here."""
    found = _together(spec, lambda resources: resources.limits)
    if spec.resources is not None:
        found |= _own(spec.resources.limits)
    for name, amount in spec.overhead.items():
        if found.get(name):
            found[name] += quantity.parse(amount).nano
    return found


def pod_level(name: str) -> bool:
    """Whether a pod may say of itself how much it needs of this resource."""
    return name in (CPU, MEMORY) or name.startswith(HUGE_PAGES)


def is_extended(name: str) -> bool:
    """Neither Kubernetes' own nor a share of the machine: devices, mostly."""
    return "/" in name and "kubernetes.io/" not in name


def _own(amounts: Mapping[str, str]) -> Amounts:
    return {n: quantity.parse(a).nano for n, a in amounts.items() if pod_level(n)}


def _together(spec: Spec, pick: Callable[[Resources], Mapping[str, str]]) -> Amounts:
    inits = [(pick(c.resources), c.restart_policy == "Always") for c in spec.init_containers]
    return combine([pick(container.resources) for container in spec.containers], inits)


def combine(
    mains: Iterable[Mapping[str, str]], inits: Iterable[tuple[Mapping[str, str], bool]]
) -> Amounts:
    """Of all containers together. `inits` in their order: amounts, and whether it is a sidecar."""
    running: Amounts = {}
    for amounts in mains:
        _add(running, amounts)
    sidecars: Amounts = {}
    initial: Amounts = {}
    for amounts, sidecar in inits:
        if sidecar:
            _add(running, amounts)
            _add(sidecars, amounts)
            peak = sidecars
        else:
            peak = dict(sidecars)
            _add(peak, amounts)
        for name, amount in peak.items():
            initial[name] = max(initial.get(name, 0), amount)
    names = sorted(running.keys() | initial.keys())
    return {name: max(running.get(name, 0), initial.get(name, 0)) for name in names}


def _add(total: Amounts, amounts: Mapping[str, str]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + quantity.parse(amount).nano
