"""PersistentVolumeClaims ↔ PersistentVolumes, and the volumes of class `local-path` themselves.

The decision is core.volume_binding, about all of them at once: one may be had by one only. The
directories are somebody else's (`Folders`): made before the volume that names them, removed before
the volume goes, so that a crash leaves nothing that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, Protocol, assert_never

from edgeorch.controllers import frame, index, world
from edgeorch.core import garbage, local_path, storage_protection, volume_binding
from edgeorch.model import errors, kinds, storage, views
from edgeorch.model.kinds import Object
from edgeorch.store import recorder

_CLAIMS, _VOLUMES = kinds.PERSISTENT_VOLUME_CLAIM.resource, kinds.PERSISTENT_VOLUME.resource
_ALL = "all"
_RETRY = 15.0
"""Seconds until a directory that could not be made or removed is tried again."""


class Folders(Protocol):
    """The directories of volumes, by name."""

    @property
    def root(self) -> str: ...

    async def make(self, name: str) -> None:
        """It may be there already. Raises OSError."""

    async def remove(self, name: str) -> None:
        """With all that is in it; it may be gone already. Raises OSError."""


class PersistentVolumes(frame.Controller[str]):
    name: ClassVar[str] = "persistentvolume-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World, folders: Folders) -> None:
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._events = shared.events.recorder(self.name)
        self._provisioner = shared.events.recorder(local_path.PROVISIONER)
        self._folders = folders
        self._told: dict[str, set[tuple[str, str]]] = {}
        """By uid: reasons and messages of the events there have been."""
        self.wake_on(shared.claims, self._of_any)
        self.wake_on(shared.volumes, self._of_any)
        self.wake_on(shared.storage_classes, self._of_any)
        self.wake_on(shared.nodes, self._of_node)

    def _of_any(self, change: index.Change[Any]) -> Iterable[str]:
        if change.new is None and change.old is not None:
            self._told.pop(change.old.metadata.uid, None)
        yield _ALL

    def _of_node(self, change: index.Change[views.Node]) -> Iterable[str]:
        old, new = change.old, change.new
        if old is None or new is None or old.metadata.labels != new.metadata.labels:
            yield _ALL

    async def reconcile(self, key: str) -> float | None:
        shared = self._world
        seen = volume_binding.Seen(
            claims=list(shared.claims.all()),
            volumes=sorted(shared.volumes.all(), key=lambda each: each.metadata.name),
            classes={each.metadata.name: each for each in shared.storage_classes.all()},
            node=shared.nodes.get(("", shared.node_name)),
            root=self._folders.root,
        )
        again = None
        for action in volume_binding.plan(seen):
            try:
                await frame.ignoring_absence(self._carry_out(action, seen))
            except OSError:
                again = _RETRY
        return again

    async def _carry_out(self, action: volume_binding.Action, seen: volume_binding.Seen) -> None:
        match action:
            case volume_binding.AssignClass():
                await self._change_claim(action.claim, partial(_with_class, name=action.name))
            case volume_binding.BindVolume():
                await self._change_volume(action.volume, partial(_bound_volume, action=action))
            case volume_binding.BindClaim():
                await self._change_claim(action.claim, partial(_bound_claim, action=action))
                await self._show_claim(action.claim, "Bound", action.volume)
            case volume_binding.ShowClaim():
                await self._show_claim(action.claim, action.phase, action.volume)
            case volume_binding.ShowVolume():
                await self._show_volume(action.volume, action.phase, action.message)
            case volume_binding.Unbind():
                await self._change_volume(action.volume, partial(_unbound, action=action))
            case volume_binding.MarkProvisioner():
                change = partial(_marked, provisioner=action.provisioner)
                await self._change_claim(action.claim, change)
            case volume_binding.Provision():
                await self._provision(action, seen.node)
            case volume_binding.Expand():
                await self._expand(action)
            case volume_binding.Reclaim():
                await self._reclaim(action.volume)
            case volume_binding.Tell():
                kind = (
                    _CLAIMS if isinstance(action.about, storage.PersistentVolumeClaim) else _VOLUMES
                )
                self._tell(self._events, kind, action.about.metadata, action)
            case _:
                assert_never(action)

    # --- objects --------------------------------------------------------------------------------

    async def _change_claim(
        self, claim: storage.PersistentVolumeClaim, change: frame.Change
    ) -> None:
        meta = claim.metadata
        same = partial(_if_same, uid=meta.uid, change=change)
        await self._objects.update(_CLAIMS, meta.namespace, meta.name, same)

    async def _change_volume(self, volume: storage.PersistentVolume, change: frame.Change) -> None:
        same = partial(_if_same, uid=volume.metadata.uid, change=change)
        await self._objects.update(_VOLUMES, "", volume.metadata.name, same)

    async def _show_claim(
        self,
        claim: storage.PersistentVolumeClaim,
        phase: str,
        volume: storage.PersistentVolume | None,
    ) -> None:
        meta = claim.metadata
        status: Object = {"phase": phase}
        if volume is not None:
            status["accessModes"] = list(volume.spec.access_modes)
            status["capacity"] = dict(volume.spec.capacity)
        change = partial(_with_status, uid=meta.uid, status=status)
        await self._objects.update_status(_CLAIMS, meta.namespace, meta.name, change)

    async def _show_volume(
        self, volume: storage.PersistentVolume, phase: str, message: str
    ) -> None:
        status = {"phase": phase, "lastPhaseTransitionTime": self._world.stamp()}
        if message:
            status["message"] = message
        change = partial(_with_status, uid=volume.metadata.uid, status=status)
        await self._objects.update_status(_VOLUMES, "", volume.metadata.name, change)

    # --- volumes of our own ---------------------------------------------------------------------

    async def _provision(self, action: volume_binding.Provision, node: views.Node | None) -> None:
        claim = action.claim
        if node is None:
            return
        meta, name = claim.metadata, local_path.volume_name(claim)
        begun = (
            f'External provisioner is provisioning volume for claim "{meta.namespace}/{meta.name}"'
        )
        self._say(claim, recorder.NORMAL, "Provisioning", begun)
        try:
            await self._folders.make(local_path.folder_name(claim))
        except OSError as error:
            class_name = action.storage_class.metadata.name
            told = f'failed to provision volume with StorageClass "{class_name}": {error}'
            self._say(claim, recorder.WARNING, "ProvisioningFailed", told)
            raise
        made = local_path.new_volume(claim, action.storage_class, node, self._folders.root)
        try:
            await self._objects.create(_VOLUMES, made)
        except errors.StatusError as error:
            if error.code != 409:
                raise
        self._say(
            claim,
            recorder.NORMAL,
            "ProvisioningSucceeded",
            f"Successfully provisioned volume {name}",
        )

    async def _expand(self, action: volume_binding.Expand) -> None:
        asked = action.claim.spec.resources.requests["storage"]
        await self._change_volume(action.volume, partial(_grown, size=asked))
        self._say(
            action.claim, recorder.NORMAL, "VolumeResizeSuccessful", "Resize volume succeeded"
        )

    async def _reclaim(self, volume: storage.PersistentVolume) -> None:
        name = volume.metadata.name
        folder = local_path.owns(volume, self._folders.root)
        try:
            await self._folders.remove(folder)
        except OSError as error:
            tell = volume_binding.Tell(
                volume, recorder.WARNING, "VolumeFailedDelete", f"cannot remove its data: {error}"
            )
            self._tell(self._provisioner, _VOLUMES, volume.metadata, tell)
            raise
        options = {"preconditions": {"uid": volume.metadata.uid}}
        if not volume.metadata.deletion_timestamp:
            await self._objects.delete(_VOLUMES, "", name, options)
        await self._change_volume(volume, _unprotected)

    # --- saying ---------------------------------------------------------------------------------

    def _say(
        self, claim: storage.PersistentVolumeClaim, kind: str, reason: str, message: str
    ) -> None:
        tell = volume_binding.Tell(claim, kind, reason, message)
        self._tell(self._provisioner, _CLAIMS, claim.metadata, tell)

    def _tell(
        self,
        voice: recorder.Recorder,
        resource: str,
        meta: views.Meta,
        tell: volume_binding.Tell,
    ) -> None:
        stored = self._objects.find(resource, meta.namespace, meta.name)
        if stored is None:
            return
        said = self._told.setdefault(meta.uid, set())
        if (tell.reason, tell.message) in said:
            return
        said.add((tell.reason, tell.message))
        voice.event(stored.decode(), tell.kind, tell.reason, tell.message)


# --- changes ------------------------------------------------------------------------------------


def _if_same(obj: Object, uid: str, change: frame.Change) -> Object:
    return change(obj) if obj["metadata"]["uid"] == uid else obj


def _with_annotations(obj: Object, given: dict[str, str]) -> Object:
    meta = obj["metadata"]
    annotations = {**(meta.get("annotations") or {}), **given}
    return {**obj, "metadata": {**meta, "annotations": annotations}}


def _with_class(obj: Object, name: str) -> Object:
    if obj["spec"].get("storageClassName") is not None:
        return obj
    return {**obj, "spec": {**obj["spec"], "storageClassName": name}}


def _bound_volume(obj: Object, action: volume_binding.BindVolume) -> Object:
    """Unless another claim has got it meanwhile."""
    meta = action.claim.metadata
    held = obj["spec"].get("claimRef") or {}
    if held.get("uid") not in (None, "", meta.uid):
        return obj
    ref = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
    if action.chosen:
        obj = _with_annotations(obj, {volume_binding.BOUND_BY_CONTROLLER: "yes"})
    return {**obj, "spec": {**obj["spec"], "claimRef": ref}}


def _bound_claim(obj: Object, action: volume_binding.BindClaim) -> Object:
    given = {volume_binding.BIND_COMPLETED: "yes"}
    if action.chosen:
        given[volume_binding.BOUND_BY_CONTROLLER] = "yes"
    obj = _with_annotations(obj, given)
    return {**obj, "spec": {**obj["spec"], "volumeName": action.volume.metadata.name}}


def _unbound(obj: Object, action: volume_binding.Unbind) -> Object:
    spec = dict(obj["spec"])
    if not action.wholly:
        kept = ("kind", "apiVersion", "namespace", "name")
        spec["claimRef"] = {
            name: spec["claimRef"][name] for name in kept if name in spec["claimRef"]
        }
        return {**obj, "spec": spec}
    spec.pop("claimRef", None)
    meta = dict(obj["metadata"])
    annotations = dict(meta.get("annotations") or {})
    annotations.pop(volume_binding.BOUND_BY_CONTROLLER, None)
    meta["annotations"] = annotations
    return {**obj, "metadata": meta, "spec": spec}


def _marked(obj: Object, provisioner: str) -> Object:
    names = (volume_binding.STORAGE_PROVISIONER, volume_binding.BETA_STORAGE_PROVISIONER)
    return _with_annotations(obj, dict.fromkeys(names, provisioner))


def _grown(obj: Object, size: str) -> Object:
    capacity = {**(obj["spec"].get("capacity") or {}), "storage": size}
    return {**obj, "spec": {**obj["spec"], "capacity": capacity}}


def _unprotected(obj: Object) -> Object:
    return garbage.without_finalizer(obj, storage_protection.OF_VOLUMES)


def _with_status(obj: Object, uid: str, status: Object) -> Object:
    if obj["metadata"]["uid"] != uid:
        return obj
    return {**obj, "status": {**(obj.get("status") or {}), **status}}
