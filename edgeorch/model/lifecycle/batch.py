"""What a new Job is given: labels on its pods by which it finds them, unless it brings its own
selector (pkg/registry/batch/job/strategy.go).
"""

from __future__ import annotations

from edgeorch.model.kinds import Object

UID_LABEL = "batch.kubernetes.io/controller-uid"
NAME_LABEL = "batch.kubernetes.io/job-name"
LEGACY_UID_LABEL = "controller-uid"
LEGACY_NAME_LABEL = "job-name"


def with_selector(obj: Object, name: str, uid: str) -> Object:
    """The spec of a new Job; `obj` is not changed."""
    spec = dict(obj.get("spec") or {})
    if spec.get("manualSelector"):
        return spec
    template = dict(spec.get("template") or {})
    meta = dict(template.get("metadata") or {})
    # Labels that the author has set are left to validation, which refuses wrong ones.
    generated = {
        NAME_LABEL: name,
        LEGACY_NAME_LABEL: name,
        UID_LABEL: uid,
        LEGACY_UID_LABEL: uid,
    }
    meta["labels"] = {**generated, **(meta.get("labels") or {})}
    template["metadata"] = meta
    spec["template"] = template
    selector = dict(spec.get("selector") or {})
    selector["matchLabels"] = {UID_LABEL: uid, **(selector.get("matchLabels") or {})}
    spec["selector"] = selector
    return spec
