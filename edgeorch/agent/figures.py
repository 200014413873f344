"""What work on pods counts, by the kubelet's names.

What is told of one pod is kept by its worker and goes with it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edgeorch.core import actions
from edgeorch.lib import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edgeorch.agent.pod_worker import PodWorker
    from edgeorch.core.actions import Action

_OPERATIONS: dict[type[Action], str] = {
    actions.EnsureSandbox: "run_podsandbox",
    actions.CreateContainer: "create_container",
    actions.StartContainer: "start_container",
    actions.RemoveContainer: "remove_container",
    actions.TearDown: "stop_podsandbox",
}
"""Actions that are what the kubelet asks its runtime for."""
RESULTS = {True: "successful", False: "failed", None: "unknown"}
"""Of probes."""


class Figures:
    """One for the agent."""

    def __init__(self) -> None:
        self._operations = metrics.Counter(
            "kubelet_runtime_operations_total",
            "Operations of the container runtime by type.",
            ("operation_type",),
        )
        self._errors = metrics.Counter(
            "kubelet_runtime_operations_errors_total",
            "Operations of the container runtime that failed, by type.",
            ("operation_type",),
        )
        self._took = metrics.Histogram(
            "kubelet_runtime_operations_duration_seconds",
            "Seconds that operations of the container runtime took, by type.",
            metrics.QUICK,
            ("operation_type",),
        )
        self.pod_start = metrics.Histogram(
            "kubelet_pod_start_duration_seconds",
            "Seconds from seeing a pod for the first time to its running.",
            metrics.SLOW,
        )
        self.turns = metrics.Histogram(
            "edgeorch_pod_worker_turn_duration_seconds",
            "Seconds that looking at a pod, deciding and telling its status took.",
        )
        self.probes = metrics.Histogram(
            "prober_probe_duration_seconds",
            "Seconds that probes took, by type.",
            metrics.QUICK,
            ("probe_type",),
        )

    @contextlib.contextmanager
    def performing(self, action: Action) -> Iterator[None]:
        operation = _OPERATIONS.get(type(action))
        if operation is None:
            yield
            return
        self._operations.add(operation)
        try:
            with self._took.timed(operation):
                yield
        except Exception:
            self._errors.add(operation)
            raise

    def measure(
        self, registry: metrics.Registry, workers: Callable[[], Iterable[PodWorker]]
    ) -> None:
        registry.add(self._operations, self._errors, self._took)
        registry.add(self.pod_start, self.turns, self.probes)
        registry.collected(
            "prober_probe_total",
            "Probes of each container by type and result.",
            lambda: {
                (kind.value.capitalize(), result, name, pod.name, pod.namespace, pod.uid): count
                for worker in workers()
                for pod in (worker.pod.metadata,)
                for (name, kind, result), count in worker.probed.items()
            },
            ("probe_type", "result", "container", "pod", "namespace", "pod_uid"),
            kind="counter",
        )
