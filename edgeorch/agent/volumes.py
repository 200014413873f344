"""Volumes of pods: made before the first container starts, kept current while they run.

On disk under `<data_dir>/pods/UID/volumes`: emptyDir, configMap. On tmpfs under the sandbox's
directory: secret, projected, downwardAPI, and emptyDir of medium Memory. Files made from objects
are switched all at once through a `..data` symbolic link, as the kubelet's AtomicWriter does.

A version says which state of the referenced objects the volumes show; setting up again with
another version brings them up to date. Everything is repeatable after a crash at any point.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import pathlib
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgeorch.agent import linux
from edgeorch.core import env, oci_spec
from edgeorch.lib import json, quantity
from edgeorch.model import views

if TYPE_CHECKING:
    from edgeorch.agent.settings import Settings
    from edgeorch.store.objects import Objects

Files = dict[str, tuple[bytes, int]]
"""Path in the volume to content and mode."""
Reference = tuple[str, str]
"""Resource and name, in the pod's namespace."""

_MODE = 0o644
_ON_TMPFS = ("secret", "projected", "downwardAPI")
_MADE = ("configMap", *_ON_TMPFS)


class VolumeError(Exception):
    """A volume cannot be set up; the text is what the FailedMount event says."""


class Volumes:
    def __init__(self, objects: Objects, settings: Settings) -> None:
        self._objects = objects
        self._settings = settings

    # --- where ----------------------------------------------------------------------------------

    def path(self, uid: str, volume: Mapping[str, Any]) -> pathlib.Path:
        kind = source_kind(volume)
        if kind == "hostPath":
            return pathlib.Path(str(volume["hostPath"]["path"]))
        in_memory = kind in _ON_TMPFS or (
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
            read_only = mount.read_only or source_kind(volume) in _MADE
            found.append(oci_spec.Mount(str(source), target, read_only))
        return found

    # --- what is referred to --------------------------------------------------------------------

    def references(self, pod: views.Pod) -> set[Reference]:
        """Objects whose change concerns the pod: of its volumes and of its environment."""
        found = {ref for volume in pod.spec.volumes for ref in _volume_references(volume)}
        spec = pod.spec
        for container in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers):
            for source in container.env_from:
                found |= set(_key_references(source))
            for var in container.env:
                found |= set(_key_references(var.value_from or {}))
        found |= {("secrets", secret.name) for secret in pod.spec.image_pull_secrets}
        return found

    def version(self, pod: views.Pod) -> str:
        """Changes whenever setting up again would give something else."""
        parts: list[Any] = []
        for volume in pod.spec.volumes:
            for resource, name in _volume_references(volume):
                stored = self._objects.find(resource, pod.metadata.namespace, name)
                parts.append((resource, name, stored.version if stored else 0))
            if source_kind(volume) in ("downwardAPI", "projected"):
                parts.append((pod.metadata.labels, pod.metadata.annotations))
        return hashlib.sha256(json.canonical(parts)).hexdigest()[:16]

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
                made = self._made_files(pod, volume, facts)
                await asyncio.to_thread(self._set_up, pod, volume, made)
            except (VolumeError, env.ConfigError, OSError) as error:
                told = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise VolumeError(told) from error

    async def remove(self, uid: str) -> None:
        """Everything under both directories but the sandbox's own files. Raises OSError."""
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

    def _set_up(self, pod: views.Pod, volume: Mapping[str, Any], made: Files | None) -> None:
        kind = source_kind(volume)
        path = self.path(pod.metadata.uid, volume)
        group = pod.spec.security_context.fs_group if pod.spec.security_context else None
        if made is not None:
            write_atomically(path, made, group)
        elif kind == "emptyDir":
            _empty_dir(path, volume["emptyDir"], group)
        elif kind == "hostPath":
            _host_path(path, volume["hostPath"].get("type") or "")
        else:
            raise VolumeError(f"volumes of kind {kind or 'nothing'} are not supported on this node")

    def _made_files(
        self, pod: views.Pod, volume: Mapping[str, Any], facts: env.Facts
    ) -> Files | None:
        """What a volume made of objects holds; None for other kinds."""
        kind = source_kind(volume)
        if kind not in _MADE:
            return None
        source = volume[kind]
        mode = source.get("defaultMode") or _MODE
        if kind == "configMap":
            return self._of_object(pod, "configmaps", source.get("name", ""), source, mode)
        if kind == "secret":
            return self._of_object(pod, "secrets", source.get("secretName", ""), source, mode)
        if kind == "downwardAPI":
            return _downward(pod, source, mode, facts)
        files: Files = {}
        for part in source.get("sources") or []:
            if part.get("configMap"):
                inner = part["configMap"]
                files |= self._of_object(pod, "configmaps", inner.get("name", ""), inner, mode)
            elif part.get("secret"):
                inner = part["secret"]
                files |= self._of_object(pod, "secrets", inner.get("name", ""), inner, mode)
            elif part.get("downwardAPI"):
                files |= _downward(pod, part["downwardAPI"], mode, facts)
            else:
                named = ", ".join(part) or "nothing"
                raise VolumeError(f"projections of {named} are not supported on this node")
        return files

    def _of_object(
        self, pod: views.Pod, resource: str, name: str, source: Mapping[str, Any], mode: int
    ) -> Files:
        stored = self._objects.find(resource, pod.metadata.namespace, name)
        if stored is None:
            if source.get("optional"):
                return {}
            raise VolumeError(f'{resource[:-1]} "{name}" not found')
        payload = _payload(resource, stored.view(views.DataObject))
        items = source.get("items")
        if not items:
            return {key: (value, mode) for key, value in payload.items()}
        files: Files = {}
        for item in items:
            key = item.get("key", "")
            if key in payload:
                files[item["path"]] = (payload[key], item.get("mode") or mode)
            elif not source.get("optional"):
                raise VolumeError(f"references non-existent {resource[:-1]} key: {key}")
        return files


def source_kind(volume: Mapping[str, Any]) -> str:
    return next((key for key, value in volume.items() if key != "name" and value is not None), "")


def _payload(resource: str, obj: views.DataObject) -> dict[str, bytes]:
    if resource == "secrets":
        return {key: base64.b64decode(value) for key, value in obj.data.items()}
    found = {key: value.encode() for key, value in obj.data.items()}
    found |= {key: base64.b64decode(value) for key, value in obj.binary_data.items()}
    return found


def _downward(pod: views.Pod, source: Mapping[str, Any], mode: int, facts: env.Facts) -> Files:
    files: Files = {}
    for item in source.get("items") or []:
        if item.get("fieldRef"):
            text = env.field_value(pod, item["fieldRef"].get("fieldPath", ""), facts)
        else:
            text = env.resource_value(pod, item.get("resourceFieldRef") or {}, facts)
        files[item["path"]] = (text.encode(), item.get("mode") or mode)
    return files


def _volume_references(volume: Mapping[str, Any]) -> Iterator[Reference]:
    if volume.get("configMap"):
        yield "configmaps", volume["configMap"].get("name", "")
    if volume.get("secret"):
        yield "secrets", volume["secret"].get("secretName", "")
    for part in (volume.get("projected") or {}).get("sources") or []:
        if part.get("configMap"):
            yield "configmaps", part["configMap"].get("name", "")
        if part.get("secret"):
            yield "secrets", part["secret"].get("name", "")


def _key_references(source: Mapping[str, Any]) -> Iterator[Reference]:
    for key, resource in (
        ("configMapRef", "configmaps"),
        ("secretRef", "secrets"),
        ("configMapKeyRef", "configmaps"),
        ("secretKeyRef", "secrets"),
    ):
        if source.get(key):
            yield resource, source[key].get("name", "")


# --- the file system ----------------------------------------------------------------------------


def write_atomically(folder: pathlib.Path, files: Files, group: int | None = None) -> None:
    """Readers see all of the old files or all of the new ones."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    link = folder / "..data"
    before = os.readlink(link) if link.is_symlink() else ""
    if before and _holds(folder / before, files):
        return
    stamp = f"..{os.urandom(8).hex()}"
    fresh = folder / stamp
    fresh.mkdir(mode=0o755)
    for path, (data, mode) in files.items():
        target = fresh / path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.write_bytes(data)
        if group is not None:
            os.chown(target, -1, group)
            mode |= 0o440
        target.chmod(mode)
    scratch = folder / "..data_tmp"
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(stamp)
    scratch.replace(link)
    _show(folder, {path.split("/", 1)[0] for path in files})
    for entry in folder.iterdir():
        if entry.name.startswith("..") and entry.name not in (stamp, "..data"):
            shutil.rmtree(entry, ignore_errors=True)


def _show(folder: pathlib.Path, names: set[str]) -> None:
    """Each first path component is a link through `..data`."""
    for name in names:
        entry = folder / name
        if not entry.is_symlink():
            entry.symlink_to(f"..data/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _holds(folder: pathlib.Path, files: Files) -> bool:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if there != set(files):
        return False
    return all((folder / path).read_bytes() == data for path, (data, _) in files.items())


def _empty_dir(path: pathlib.Path, source: Mapping[str, Any], group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and path not in linux.mount_points(path):
        limit = source.get("sizeLimit")
        size = f",size={quantity.parse(str(limit)).value()}" if limit else ""
        linux.mount_tmpfs(path, f"mode=0777{size}")
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(0o777 if group is None else 0o2777)


_WANTED = {
    "File": (stat.S_ISREG, "is not a file"),
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "Socket": (stat.S_ISSOCK, "is not a socket file"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


def _host_path(path: pathlib.Path, kind: str) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if not kind:
        if not path.exists():
            # As container runtimes do for a bind mount of what is not there.
            path.mkdir(mode=0o755, parents=True)
        return
    check, told = _WANTED[kind]
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if not check(mode):
        raise VolumeError(f"hostPath type check failed: {path} {told}")


def _beneath(root: pathlib.Path, sub_path: str) -> pathlib.Path:
    """A place inside a volume; no link in the volume leads out of it."""
    inside = root.resolve()
    target = (root / sub_path).resolve()
    if not target.is_relative_to(inside):
        raise VolumeError(f"subPath {sub_path} leads out of the volume")
    if not target.exists():
        target.mkdir(mode=0o755, parents=True)
    return target
