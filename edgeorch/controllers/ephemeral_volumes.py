"""Pods with generic ephemeral volumes → the claims of those, owned by their pod.

As pkg/controller/volume/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.core import claims, pod_facts
from edgeorch.model import errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_PODS, _CLAIMS = kinds.POD.resource, kinds.PERSISTENT_VOLUME_CLAIM.resource


class EphemeralVolumes(frame.Controller[index.Key]):
    name: ClassVar[str] = "ephemeral-volume-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self.wake_on(shared.pods, self._of_pod)

    def _of_pod(self, change: index.Change[pod_facts.PodFacts]) -> Iterable[index.Key]:
        new = change.new
        if new is not None and change.old is None and new.own_claims:
            yield change.key

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_PODS, *key)
        facts = self._world.pods.get(key)
        if stored is None or facts is None or not facts.active:
            return None
        pod = stored.decode()
        for volume in pod["spec"].get("volumes") or []:
            if volume.get("ephemeral") is not None:
                await self._ensure(pod, volume)
        return None

    async def _ensure(self, pod: Object, volume: Object) -> None:
        claim = _new_claim(pod, volume)
        namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
        if self._objects.find(_CLAIMS, namespace, name) is not None:
            return
        try:
            await self._objects.create(_CLAIMS, claim)
        except errors.StatusError as error:
            if error.code == 409 or frame.is_namespace_ending(error):
                return
            message = f"ephemeral volume {volume['name']}: create PVC {name}: {error}"
            self._events.event(pod, recorder.WARNING, "FailedCreate", message)
            raise


def _new_claim(pod: Object, volume: Object) -> Object:
    template = volume["ephemeral"].get("volumeClaimTemplate") or {}
    about, meta = template.get("metadata") or {}, pod["metadata"]
    made: Object = {
        "name": f"{meta['name']}-{volume['name']}",
        "namespace": meta["namespace"],
        "ownerReferences": [claims.reference(pod)],
    }
    for field in ("labels", "annotations"):
        if about.get(field):
            made[field] = dict(about[field])
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": made,
        "spec": dict(template.get("spec") or {}),
    }
