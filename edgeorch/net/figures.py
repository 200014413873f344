"""What is counted of pods' networks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeorch.lib import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Figures:
    def __init__(self, pods: Callable[[], int]) -> None:
        """`pods`: how many have a network of their own now."""
        self._pods = pods
        self._operations = metrics.Counter(
            "edgeorch_pod_network_operations_total",
            "How often pods were attached to the network or detached, by result.",
            ("operation", "result"),
        )

    @contextlib.contextmanager
    def counted(self, operation: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._operations.add(operation, "error")
            raise
        self._operations.add(operation, "success")

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._operations)
        registry.one("edgeorch_pod_networks", "Pods that have a network of their own.", self._pods)
