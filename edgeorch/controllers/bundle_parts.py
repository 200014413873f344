"""What a version of a bundle consists of, and what of it is missing on the device."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from edgeorch.controllers import bundle_objects
from edgeorch.core import bundle_plan, readiness
from edgeorch.model import bundles, kinds
from edgeorch.store.objects import Objects
from edgeorch.store.stored import Stored


class Part(Struct, frozen=True):
    """What has to be remembered of an object of a version. `passes`: a Job that goes by itself."""

    kind: kinds.Kind
    key: bundle_objects.Key
    passes: bool

    @property
    def runs_pods(self) -> bool:
        return self.kind.resource in (*readiness.OF_PODS, kinds.POD.resource)


def of(items: Iterable[bundles.Item]) -> list[Part]:
    return [
        Part(
            item.kind,
            item.key,
            item.kind is kinds.JOB and "ttlSecondsAfterFinished" in (item.obj.get("spec") or {}),
        )
        for item in items
    ]


def missing(
    objects: Objects,
    parts: Sequence[Part],
    *,
    finished: Collection[bundle_objects.Key],
    believed: bool,
) -> list[bundle_plan.Missing]:
    """`finished`: Jobs that were seen complete. `believed`: the version was ready once, so that all
    were."""
    found = []
    for part in parts:
        stored = objects.find(*part.key)
        leaves = stored is None or b'"deletionTimestamp"' in stored.raw
        if part.passes and leaves and (believed or part.key in finished):
            continue  # complete, and gone when its time to live was over
        if stored is None:
            told = "is not there"
        elif told := readiness.missing(part.kind.resource, stored.decode()):
            told = "; ".join(filter(None, (told, _trouble(objects, part.kind, stored))))
        if told:
            _, namespace, name = part.key
            absent = stored is None and not _is_ending(objects, namespace)
            found.append(bundle_plan.Missing(part.kind.kind, namespace, name, told, absent))
    return found


def _is_ending(objects: Objects, namespace: str) -> bool:
    """Whether nothing can be made there any more."""
    found = objects.find(kinds.NAMESPACE.resource, "", namespace) if namespace else None
    return found is not None and b'"deletionTimestamp"' in found.raw


def _trouble(objects: Objects, kind: kinds.Kind, owner: Stored) -> str:
    """Of the first pod that is known to be in any."""
    if kind.resource not in readiness.OF_PODS:
        return ""
    selector = (owner.decode().get("spec") or {}).get("selector") or {}
    wanted = selector.get("matchLabels", selector if kind is kinds.REPLICATION_CONTROLLER else {})
    for stored in objects.list(kinds.POD.resource, owner.namespace).items:
        pod = stored.decode()
        labels = pod["metadata"].get("labels") or {}
        if wanted and wanted.items() <= labels.items() and (told := readiness.trouble(pod)):
            return f"pod {stored.name}: {told}"
    return ""
