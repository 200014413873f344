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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeorch.agent import linux
from edgeorch.agent.volumes import (
    atomic,
    claims,
    container_mounts,
    host_paths,
    image_mounts,
    ownership,
    payloads,
    removal,
    scratch,
    sources,
    sub_path_mounts,
    tokens,
)
from edgeorch.agent.volumes.errors import SubPathError, VolumeError
from edgeorch.core import env, oci_spec
from edgeorch.lib import json
from edgeorch.model import views

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.agent.settings import Settings
    from edgeorch.store.objects import Objects


class Volumes:
    def __init__(
        self,
        objects: Objects,
        settings: Settings,
        service_tokens: tokens.Tokens,
        image_views: ports.ImageViews,
    ) -> None:
        self._objects = objects
        self._settings = settings
        self._tokens = service_tokens
        self._image_views = image_views
        self._payloads = payloads.Payloads(objects, service_tokens)
        self._claims = claims.Claims(objects)
        self._memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    # --- where ----------------------------------------------------------------------------------

    def path(self, pod: views.Pod, volume: Mapping[str, Any]) -> pathlib.Path:
        """Raises VolumeError for one whose claim has no volume."""
        kind, name = sources.kind_of(volume), str(volume["name"])
        if kind == "hostPath":
            return pathlib.Path(str(volume["hostPath"]["path"]))
        if kind in sources.CLAIMED:
            return self._claims.place(pod, volume).path
        in_memory = kind in (*sources.ON_TMPFS, "image") or (
            kind == "emptyDir" and scratch.is_mounted(volume["emptyDir"])
        )
        base = self._settings.sandboxes_dir if in_memory else self._settings.pods_dir
        return base / pod.metadata.uid / "volumes" / kind / name

    def mounts(
        self, pod: views.Pod, container: views.Container, parts: Mapping[int, str]
    ) -> list[oci_spec.Mount]:
        """The container's volume mounts. `parts`: what they show of their volumes, by number; of
        those left out it is all. Raises VolumeError. Blocks.
        """
        by_name = {volume["name"]: volume for volume in pod.spec.volumes}
        found = []
        for number, mount in enumerate(container.volume_mounts):
            volume = by_name.get(mount.name)
            if volume is None:
                raise VolumeError(f'volume "{mount.name}" is not in the pod')
            source = self.path(pod, volume)
            part = parts.get(number, ".")
            if part != ".":
                source = self._pinned(pod, container, number, source, part)
            found.append(container_mounts.mount(mount, volume, source))
        return found

    def _pinned(
        self,
        pod: views.Pod,
        container: views.Container,
        number: int,
        source: pathlib.Path,
        part: str,
    ) -> pathlib.Path:
        folder = self._settings.sandboxes_dir / pod.metadata.uid / "volume-subpaths"
        mount = container.volume_mounts[number]
        target = folder / mount.name / container.name / str(number)
        try:
            sub_path_mounts.pin(source, part, target)
        except (VolumeError, OSError) as error:
            raise SubPathError(
                f'failed to prepare subPath for volumeMount "{mount.name}" of container'
                f' "{container.name}": {error}'
            ) from error
        return target

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
            if sources.kind_of(volume) in sources.CLAIMED:
                parts.append(self._claims.bound_to(pod, volume))
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

    async def set_up(
        self, pod: views.Pod, facts: env.Facts, images: Mapping[str, str] | None = None
    ) -> None:
        """`images`: chain ids of the images that volumes are to show, by the volume's name.

        Raises VolumeError for the first volume that cannot be had, ContainerdError.
        """
        for name, chain_id in (images or {}).items():
            await self._show_image(pod, name, chain_id)
        for volume in pod.spec.volumes:
            if sources.kind_of(volume) == "image":
                continue
            try:
                made = self._payloads.files(pod, volume, facts)
                await asyncio.to_thread(self._set_up, pod, volume, made)
            except (VolumeError, env.ConfigError, OSError) as error:
                if isinstance(error, VolumeError) and error.whole:
                    raise
                told = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise VolumeError(told) from error

    async def remove(self, uid: str, *, shows_images: bool = False) -> None:
        """Everything under both directories but the sandbox's own files.

        `shows_images`: its spec says so, whatever is left on the disk to tell it. Raises OSError,
        and ContainerdError for pods that show images.
        """
        self._tokens.forget(uid)
        if shows_images or self._held(uid).exists():
            await asyncio.to_thread(
                removal.remove_with_mounts, self._settings.sandboxes_dir / uid / "volumes"
            )
            await self._image_views.release(uid)
        await asyncio.to_thread(self._remove, uid)

    def mark(self, uid: str) -> None:
        """Leave a trace of the pod, so that a later start finds what is left of it. Blocks."""
        (self._settings.pods_dir / uid).mkdir(parents=True, exist_ok=True)

    def uids(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in self._settings.pods_dir.iterdir()}
        return set()

    def _remove(self, uid: str) -> None:
        for folder in (
            self._settings.sandboxes_dir / uid / "volume-subpaths",
            self._settings.sandboxes_dir / uid / "volumes",
            self._settings.pods_dir / uid,
        ):
            removal.remove_with_mounts(folder)

    def unshown_images(self, pod: views.Pod) -> list[Mapping[str, Any]]:
        """Volumes of kind image that are not mounted. Blocks."""
        found = [volume for volume in pod.spec.volumes if sources.kind_of(volume) == "image"]
        if not found:
            return []
        points = set(linux.mount_points(self._settings.sandboxes_dir / pod.metadata.uid))
        return [volume for volume in found if self.path(pod, volume) not in points]

    def _held(self, uid: str) -> pathlib.Path:
        """There while snapshots of images may be held for the pod, also after the next boot."""
        return self._settings.pods_dir / uid / "volumes" / "image"

    async def _show_image(self, pod: views.Pod, name: str, chain_id: str) -> None:
        uid = pod.metadata.uid
        target = self._settings.sandboxes_dir / uid / "volumes" / "image" / name
        await asyncio.to_thread(self._held(uid).mkdir, parents=True, exist_ok=True)
        layers = await self._image_views.hold(uid, name, chain_id)
        try:
            await asyncio.to_thread(image_mounts.mount, layers, target)
        except OSError as error:
            told = f'MountVolume.SetUp failed for volume "{name}" : {error}'
            raise VolumeError(told) from error

    def _set_up(self, pod: views.Pod, volume: Mapping[str, Any], made: atomic.Files | None) -> None:
        kind = sources.kind_of(volume)
        if kind in sources.CLAIMED:
            self._set_up_claim(pod, volume)
            return
        path = self.path(pod, volume)
        if made is not None:
            security = pod.spec.security_context
            atomic.write(path, made, security.fs_group if security else None)
        elif kind == "emptyDir":
            scratch.make(path, volume["emptyDir"], pod, self._memory)
        elif kind == "hostPath":
            host_paths.prepare(path, volume["hostPath"].get("type") or "")
        else:
            raise VolumeError(f"volumes of kind {kind or 'nothing'} are not supported on this node")

    def _set_up_claim(self, pod: views.Pod, volume: Mapping[str, Any]) -> None:
        place = self._claims.place(pod, volume)
        claims.check(place)
        security = pod.spec.security_context
        if security is None or security.fs_group is None or place.host_type is not None:
            return
        if (volume.get("persistentVolumeClaim") or {}).get("readOnly"):
            return
        # Once for the pod: going through many files again would wear the medium for nothing.
        done = self._settings.sandboxes_dir / pod.metadata.uid / "volumes" / "owned"
        mark = done / str(volume["name"])
        if not mark.exists():
            ownership.give(place.path, security.fs_group, security.fs_group_change_policy)
            done.mkdir(parents=True, exist_ok=True)
            mark.touch()
