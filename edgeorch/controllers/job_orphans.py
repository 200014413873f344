"""Pods that a Job left behind: without a Job to count them, the tracking finalizer goes.

Otherwise a pod whose Job was deleted, or that was taken from its Job, could never go. A Job that is
there and not finished looks after its own pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from edgeorch.controllers import frame, index, projections, world
from edgeorch.core import job_pods, pod_facts
from edgeorch.model import kinds

_JOBS, _PODS = kinds.JOB.resource, kinds.POD.resource


class JobOrphans(frame.Controller[index.Key]):
    name: ClassVar[str] = "job-orphans"

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self.wake_on(shared.pods, _of_pod)
        self.wake_on(shared.jobs, self._of_job)

    def _of_job(self, change: index.Change[projections.Selecting]) -> Iterable[index.Key]:
        """A Job that is gone."""
        if change.new is None and change.old is not None:
            yield from self._world.pods.keys(projections.owner_key(change.old.metadata.uid))

    async def reconcile(self, key: index.Key) -> float | None:
        pod = self._world.pods.get(key)
        if pod is None or job_pods.FINALIZER not in pod.metadata.finalizers:
            return None
        if not self._has_job(pod):
            work = self._objects.update(_PODS, *key, job_pods.without_finalizer)
            await frame.ignoring_absence(work)
        return None

    def _has_job(self, pod: pod_facts.PodFacts) -> bool:
        refs = pod.metadata.owner_references
        ref = next((ref for ref in refs if ref.controller), None)
        if ref is None or ref.kind != kinds.JOB.kind:
            return False
        job = self._world.jobs.get((pod.metadata.namespace, ref.name))
        return job is not None and job.metadata.uid == ref.uid


def _of_pod(change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
    if change.new is not None and job_pods.FINALIZER in change.new.metadata.finalizers:
        yield change.key
