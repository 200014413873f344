"""ControllerRevisions: the history of a StatefulSet's or DaemonSet's template.

A revision's data is a strategic merge patch that puts the template back, which is what `kubectl
rollout undo` applies; equal data is the same revision. The current template has the highest number:
one that comes back is numbered anew, not made twice. As pkg/controller/history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from edgeorch.core import template_hash
from edgeorch.lib import json
from edgeorch.model import workloads
from edgeorch.model.kinds import Object

LABEL = "controller-revision-hash"
"""On a pod: of which revision it is."""
_LONGEST_PREFIX = 223


class Create(Struct, frozen=True):
    """A revision of a template that is in none yet."""

    revision: int
    hash: str


class Renumber(Struct, frozen=True):
    """The current template is that of an earlier revision: it becomes the latest again."""

    name: str
    revision: int


def plan(
    template: Object, known: Sequence[workloads.ControllerRevision], collision_count: int | None
) -> Create | Renumber | workloads.ControllerRevision:
    """What makes the current template the latest revision; the revision itself when it is."""
    data = json.canonical(data_of(template))
    latest = max((each.revision for each in known), default=0)
    same = [each for each in known if json.canonical(each.data) == data]
    if not same:
        return Create(latest + 1, hash_of(template, collision_count))
    found = max(same, key=lambda each: (each.revision, each.metadata.name))
    # Two may share the highest number after a restore from elsewhere; the current one must lead.
    leads = found.revision == latest and sum(each.revision == latest for each in known) == 1
    return found if leads else Renumber(found.metadata.name, latest + 1)


def data_of(template: Object) -> Object:
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def hash_of(template: Object, collision_count: int | None) -> str:
    data = json.canonical(data_of(template))
    if collision_count is not None:
        data += str(collision_count).encode()
    return template_hash.safe_encode(str(template_hash.fnv32a(data)))


def name_of(owner: str, hashed: str) -> str:
    return f"{owner[:_LONGEST_PREFIX]}-{hashed}"


def new_revision(owner: Object, action: Create, reference: Object, hash_label: str) -> Object:
    meta, template = owner["metadata"], owner["spec"]["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), hash_label: action.hash}
    made: Object = {
        "name": name_of(meta["name"], action.hash),
        "namespace": meta["namespace"],
        "labels": labels,
        "ownerReferences": [reference],
    }
    if meta.get("annotations"):
        made["annotations"] = dict(meta["annotations"])
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": made,
        "data": data_of(template),
        "revision": action.revision,
    }


def renumbered(obj: Object, revision: int) -> Object:
    """Numbers only grow, whoever else changes them."""
    return {**obj, "revision": max(revision, obj.get("revision") or 0)}


def excess(
    known: Iterable[workloads.ControllerRevision], live: Collection[str], limit: int
) -> list[str]:
    """Names of the oldest revisions beyond `limit`; those in `live` neither count nor go."""
    history = [each for each in known if each.metadata.name not in live]
    history.sort(key=lambda each: (each.revision, each.metadata.name))
    return [each.metadata.name for each in history[: max(0, len(history) - limit)]]


def template_of(revision: workloads.ControllerRevision) -> Object:
    """The template as it was."""
    template = dict((revision.data.get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template
