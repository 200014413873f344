"""Sets volumes up, says where they are, takes them down.

A version says which state of the referenced objects the volumes show; setting up again with
another version brings them up to date. Everything is repeatable after a crash at any point.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeorch.agent import linux
from edgeorch.agent.volumes import atomic, host_paths, payloads, sources, tokens
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import env, oci_spec
from edgeorch.lib import json, quantity
from edgeorch.model import views

if TYPE_CHECKING:
    from edgeorch.agent.settings import Settings
    from edgeorch.store.objects import Objects


class Volumes:
    def __init__(self, objects: Objects, settings: Settings, service_tokens: tokens.Tokens) -> None:
        self._objects = objects
        self._settings = settings
        self._tokens = service_tokens
        self._payloads = payloads.Payloads(objects, service_tokens)

    # --- where ----------------------------------------------------------------------------------

    def path(self, uid: str, volume: Mapping[str, Any]) -> pathlib.Path:
        kind = sources.kind_of(volume)
        if kind == "hostPath":
            return pathlib.Path(str(volume["hostPath"]["path"]))
        in_memory = kind in sources.ON_TMPFS or (
            kind == "emptyDir" and volume["emptyDir"].get("medium") == "Memory"
        )
        base = self._settings.sandboxes_dir if in_memory else self._settings.pods_dir
        return base / uid / "volumes" / kind / str(volume["name"])

    def mounts(self, pod: views.Pod, container: views.Container) -> list[oci_spec.Mount]:
        """The container's volume mounts; folders named by subPath are made.

        Raises VolumeError. Blocks.
        """
        by_name = {volume["name"]: volume for volume in pod.spec.volumes}
        found = []
        for mount in container.volume_mounts:
            volume = by_name.get(mount.name)
            if volume is None:
                raise VolumeError(f'volume "{mount.name}" is not in the pod')
            source = self.path(pod.metadata.uid, volume)
            if mount.sub_path:
                source = _beneath(source, mount.sub_path)
            target = mount.mount_path
            if not target.startswith("/"):
                target = f"/{target}"
            read_only = mount.read_only or sources.kind_of(volume) in sources.MADE
            found.append(oci_spec.Mount(str(source), target, read_only))
        return found

    # --- what is referred to --------------------------------------------------------------------

    def references(self, pod: views.Pod) -> set[sources.Reference]:
        """Objects whose change concerns the pod."""
        return sources.references(pod)

    def version(self, pod: views.Pod) -> str:
        """Changes whenever setting up again would give something else."""
        parts: list[Any] = self._tokens.version(pod)
        for volume in pod.spec.volumes:
            for resource, name in sources.of_volume(volume):
                stored = self._objects.find(resource, pod.metadata.namespace, name)
                parts.append((resource, name, stored.version if stored else 0))
            if sources.kind_of(volume) in ("downwardAPI", "projected"):
                parts.append((pod.metadata.labels, pod.metadata.annotations))
        return hashlib.sha256(json.canonical(parts)).hexdigest()[:16]

    def wake_at(self, uid: str) -> float | None:
        """When the version changes by itself, on the clock of decisions."""
        return self._tokens.wake_at(uid)

    def lookup(self, namespace: str) -> env.Lookup:
        def find(resource: str, name: str) -> views.DataObject | None:
            stored = self._objects.find(resource, namespace, name)
            return stored.view(views.DataObject) if stored else None

        return find

    # --- setting up and taking down -------------------------------------------------------------

    async def set_up(self, pod: views.Pod, facts: env.Facts) -> None:
        """Raises VolumeError for the first volume that cannot be had."""
        for volume in pod.spec.volumes:
            try:
                made = self._payloads.files(pod, volume, facts)
                await asyncio.to_thread(self._set_up, pod, volume, made)
            except (VolumeError, env.ConfigError, OSError) as error:
                told = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise VolumeError(told) from error

    async def remove(self, uid: str) -> None:
        """Everything under both directories but the sandbox's own files. Raises OSError."""
        self._tokens.forget(uid)
        await asyncio.to_thread(self._remove, uid)

    def uids(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in self._settings.pods_dir.iterdir()}
        return set()

    def _remove(self, uid: str) -> None:
        for folder in (
            self._settings.sandboxes_dir / uid / "volumes",
            self._settings.pods_dir / uid,
        ):
            for point in linux.mount_points(folder):
                linux.unmount(point)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)

    def _set_up(self, pod: views.Pod, volume: Mapping[str, Any], made: atomic.Files | None) -> None:
        kind = sources.kind_of(volume)
        path = self.path(pod.metadata.uid, volume)
        group = pod.spec.security_context.fs_group if pod.spec.security_context else None
        if made is not None:
            atomic.write(path, made, group)
        elif kind == "emptyDir":
            _empty_dir(path, volume["emptyDir"], group)
        elif kind == "hostPath":
            host_paths.prepare(path, volume["hostPath"].get("type") or "")
        else:
            raise VolumeError(f"volumes of kind {kind or 'nothing'} are not supported on this node")


def _empty_dir(path: pathlib.Path, source: Mapping[str, Any], group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and path not in linux.mount_points(path):
        limit = source.get("sizeLimit")
        size = f",size={quantity.parse(str(limit)).value()}" if limit else ""
        linux.mount_tmpfs(path, f"mode=0777{size}")
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(0o777 if group is None else 0o2777)


def _beneath(root: pathlib.Path, sub_path: str) -> pathlib.Path:
    """A place inside a volume; no link in the volume leads out of it."""
    inside = root.resolve()
    target = (root / sub_path).resolve()
    if not target.is_relative_to(inside):
        raise VolumeError(f"subPath {sub_path} leads out of the volume")
    if not target.exists():
        target.mkdir(mode=0o755, parents=True)
    return target
