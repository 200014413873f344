"""The files of volumes that are made from objects: configMap, secret, downwardAPI, projected."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeorch.agent.volumes import sources
from edgeorch.agent.volumes.atomic import File, Files
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.core import env
from edgeorch.model import views

if TYPE_CHECKING:
    from edgeorch.agent.volumes.tokens import Tokens
    from edgeorch.store.objects import Objects

_MODE = 0o644


class Payloads:
    def __init__(self, objects: Objects, tokens: Tokens) -> None:
        self._objects = objects
        self._tokens = tokens

    def files(self, pod: views.Pod, volume: Mapping[str, Any], facts: env.Facts) -> Files | None:
        """What the volume holds; None when it is not of a kind made from objects.

        Raises VolumeError, env.ConfigError.
        """
        kind = sources.kind_of(volume)
        if kind not in sources.MADE:
            return None
        source = volume[kind]
        given = source.get("defaultMode")
        mode = _MODE if given is None else given
        if kind == "projected":
            return self._projected(pod, volume["name"], source, mode, facts)
        return self._of_source(pod, kind, source, mode, facts)

    def _projected(
        self, pod: views.Pod, name: str, source: Mapping[str, Any], mode: int, facts: env.Facts
    ) -> Files:
        files: Files = {}
        for part in source.get("sources") or []:
            kind = next((key for key, value in part.items() if value is not None), "nothing")
            if kind == "serviceAccountToken":
                token = part[kind]
                files[token["path"]] = self._tokens.file(pod, name, token, mode)
            else:
                files |= self._of_source(pod, kind, part.get(kind) or {}, mode, facts)
        return files

    def _of_source(
        self, pod: views.Pod, kind: str, source: Mapping[str, Any], mode: int, facts: env.Facts
    ) -> Files:
        match kind:
            case "configMap":
                return self._of_object(pod, "configmaps", source.get("name", ""), source, mode)
            case "secret":
                name = source.get("secretName") or source.get("name", "")
                return self._of_object(pod, "secrets", name, source, mode)
            case "downwardAPI":
                return _downward(pod, source, mode, facts)
            case _:
                raise VolumeError(f"projections of {kind} are not supported on this node")

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
            return {key: File(value, mode) for key, value in payload.items()}
        files: Files = {}
        for item in items:
            key = item.get("key", "")
            if key in payload:
                files[item["path"]] = File(payload[key], _mode_of(item, mode))
            elif not source.get("optional"):
                what = "config" if resource == "configmaps" else "secret"
                raise VolumeError(f"references non-existent {what} key: {key}")
        return files


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
        files[item["path"]] = File(text.encode(), _mode_of(item, mode))
    return files


def _mode_of(item: Mapping[str, Any], usual: int) -> int:
    own = item.get("mode")
    return usual if own is None else int(own)
