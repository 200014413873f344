"""PodDisruptionBudget → its status: how many pods it speaks of are healthy, how many may go.

The decisions are core.disruption. Evictions (api.evictions) read and lower what stands there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import disruption, pod_facts
from edgeorch.lib import clock as clocks
from edgeorch.model import kinds, views, workloads
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_RESOURCE = kinds.POD_DISRUPTION_BUDGET.resource
_SCALED = {
    kind.kind: kind.resource
    for kind in (
        kinds.REPLICA_SET,
        kinds.DEPLOYMENT,
        kinds.STATEFUL_SET,
        kinds.REPLICATION_CONTROLLER,
    )
}


class DisruptionBudgets(frame.Controller[index.Key]):
    name: ClassVar[str] = "disruption-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder("controllermanager")
        self.wake_on(shared.budgets, frame.itself)
        self.wake_on(shared.pods, self._of_pod)
        for workload in (
            shared.deployments,
            shared.replica_sets,
            shared.stateful_sets,
            shared.replication_controllers,
        ):
            self.wake_on(workload, self._of_workload)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        for pod in (change.old, change.new):
            if pod is not None:
                for key in index.under_labels(pod.metadata.namespace, pod.metadata.labels):
                    yield from self._world.budgets.keys(key)

    def _of_workload(self, change: index.Change[projections.Selecting]) -> Iterable[index.Key]:
        """Its size may be another: whoever might select its pods looks."""
        found = change.new
        if found is not None:
            labels = found.spec.selector.match_labels
            for key in index.under_labels(found.metadata.namespace, labels):
                yield from self._world.budgets.keys(key)

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_RESOURCE, *key)
        if stored is None:
            return None
        budget, obj = stored.view(workloads.Budget), stored.decode()
        pods = self._pods(budget)
        noted = disruption.notes(budget, pods, self._age)
        for name in noted.given_up:
            message = f"Pod {key[0]}/{name} was expected by PDB {key[0]}/{key[1]} to be deleted "
            self._events.event(obj, recorder.WARNING, "NotDeleted", f"{message}but it wasn't")
        stamp = self._world.stamp()
        try:
            found = disruption.expected(budget, pods, partial(self._scale, key[0]))
        except disruption.ScaleError as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            reason = "CalculateExpectedPodCountFailed"
            self._events.event(obj, recorder.WARNING, reason, message)
            status = disruption.failed(budget, obj, str(error), stamp)
        else:
            if found.unmanaged:
                self._say_unmanaged(obj, found.unmanaged)
            status = disruption.status(budget, pods, found, noted.kept, stamp)
        if status != obj.get("status"):
            # An eviction noted meanwhile is seen by the next look, which its write has called for.
            version = obj["metadata"]["resourceVersion"]
            change = partial(_with_status, status=status, version=version)
            await frame.ignoring_absence(self._objects.update_status(_RESOURCE, *key, change))
        return noted.again

    def _pods(self, budget: workloads.Budget) -> list[pod_facts.PodFacts]:
        selector = budget.spec.selector
        if selector is None:
            return []
        under = index.under_selector(budget.metadata.namespace, selector.match_labels)
        pods = self._world.pods.find(under)
        return [pod for pod in pods if disruption.selects(budget, pod.metadata.labels)]

    def _scale(self, namespace: str, ref: views.OwnerReference) -> int | None:
        """Of the workload, or of the Deployment above it."""
        resource = _SCALED.get(ref.kind)
        if resource is None:
            return None
        stored = self._objects.find(resource, namespace, ref.name)
        if stored is None:
            return 0
        above = stored.view(projections.Owned).controller
        if above is not None and above.kind in _SCALED:
            return self._scale(namespace, above)
        found = stored.decode()["spec"].get("replicas")
        return 1 if found is None else int(found)

    def _say_unmanaged(self, obj: Object, names: tuple[str, ...]) -> None:
        message = (
            "Pods selected by this PodDisruptionBudget were found to be unmanaged: "
            f"{', '.join(sorted(names))}. As a result, the status of the PDB cannot be calculated "
            "correctly, which may result in undefined behavior. To account for these pods please "
            'set ".spec.minAvailable" field of the PDB to an integer value.'
        )
        self._events.event(obj, recorder.WARNING, "UnmanagedPods", message)

    def _age(self, noted: str) -> float:
        """A clock that was set back makes a note young, not eternal: it is looked at again."""
        seconds = (self._world.clock.now() - clocks.parse_rfc3339(noted)).total_seconds()
        return disruption.NOTE_SECONDS if seconds < -disruption.NOTE_SECONDS else seconds


def _with_status(obj: Object, status: Object, version: str) -> Object:
    meta = {**obj["metadata"], "resourceVersion": version}
    return {**obj, "metadata": meta, "status": status}
