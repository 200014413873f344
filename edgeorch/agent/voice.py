"""Events about pods and their containers, as the kubelet records them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeorch.core.observed import Kind

if TYPE_CHECKING:
    from edgeorch.model import views
    from edgeorch.model.kinds import Object
    from edgeorch.store.recorder import Recorder

_FIELDS = {
    Kind.MAIN: "containers",
    Kind.INIT: "initContainers",
    Kind.SIDECAR: "initContainers",
    Kind.EPHEMERAL: "ephemeralContainers",
}

Say = Callable[[str, str, str], None]
"""Event type, reason, message."""


class Voice:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pod(self, pod: views.Pod, kind: str, reason: str, message: str) -> None:
        self._recorder.event(_involved(pod), kind, reason, message)

    def container(self, pod: views.Pod, name: str, kind: Kind) -> Say:
        field = _FIELDS[kind]

        def say(event_type: str, reason: str, message: str) -> None:
            self._recorder.event(
                _involved(pod), event_type, reason, message, field_path=f"spec.{field}{{{name}}}"
            )

        return say

    def progress(self, pod: views.Pod, name: str, kind: Kind, reason: str, message: str) -> None:
        """What takes long and is not over: one event, whose message is the newest."""
        path = f"spec.{_FIELDS[kind]}{{{name}}}"
        self._recorder.event(
            _involved(pod), "Normal", reason, message, field_path=path, latest=True
        )


def _involved(pod: views.Pod) -> Object:
    meta = pod.metadata
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
    }
