"""Rules of PersistentVolumeClaims and their templates, after pkg/apis/core/validation."""

from __future__ import annotations

from typing import Any

from edgeorch.lib import quantity
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, resources
from edgeorch.model.validation.meta import Causes, invalid_each

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")


def claim(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    return found + claim_spec("spec", obj.get("spec") or {})


def claim_spec(path: str, spec: Object) -> Causes:
    found: Causes = []
    modes = spec.get("accessModes") or []
    if not modes:
        found.append(errors.required(f"{path}.accessModes", "at least 1 access mode is required"))
    found += meta.label_selector(f"{path}.selector", spec.get("selector"))
    found += access_modes(f"{path}.accessModes", modes)
    at = f"{path}.resources[storage]"
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is None:
        found.append(errors.required(at))
    else:
        found += positive(at, asked)
    found += class_name(f"{path}.storageClassName", spec.get("storageClassName"))
    found += volume_mode(f"{path}.volumeMode", spec.get("volumeMode"))
    for field in ("dataSource", "dataSourceRef"):
        if spec.get(field) is not None:
            found += _data_source(f"{path}.{field}", spec[field])
    at = f"{path}.volumeAttributesClassName"
    return found + class_name(at, spec.get("volumeAttributesClassName"))


def claim_template(path: str, template: Object) -> Causes:
    """Of a generic ephemeral volume."""
    found: Causes = []
    about = template.get("metadata") or {}
    found += meta.annotation_map(f"{path}.metadata.annotations", about.get("annotations"))
    found += meta.labels(f"{path}.metadata.labels", about.get("labels"))
    for field, value in about.items():
        if field not in ("annotations", "labels") and value not in (None, "", [], {}):
            why = "cannot be set for an ephemeral volume"
            found.append(errors.forbidden_field(f"{path}.metadata.{field}", why))
    return found + claim_spec(f"{path}.spec", template.get("spec") or {})


def claim_update(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + claim(new)
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None:
        # Once: by the controller, when there is a default class at last.
        before["storageClassName"] = spec.get("storageClassName")
    status = old.get("status") or {}
    if status.get("phase") == "Bound":
        before["resources"] = spec.get("resources")
        before["volumeAttributesClassName"] = spec.get("volumeAttributesClassName")
    if _set(spec) != _set(before):
        why = (
            "spec is immutable after creation except resources.requests and"
            " volumeAttributesClassName for bound claims"
        )
        found.append(errors.forbidden_field("spec", why))
    found += _shrinking(new, old, (status.get("capacity") or {}).get("storage"))
    annotations = [(each.get("metadata") or {}).get("annotations") or {} for each in (new, old)]
    if annotations[0].get(CLASS_ANNOTATION) != annotations[1].get(CLASS_ANNOTATION):
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        value = annotations[0].get(CLASS_ANNOTATION) or ""
        found.append(errors.invalid_value(path, value, meta.IMMUTABLE))
    return found


def _shrinking(new: Object, old: Object, held: Any) -> Causes:
    asked, before = storage_of(new), storage_of(old)
    if asked is None or before is None or before.nano <= asked.nano:
        return []
    path = "spec.resources.requests.storage"
    if held is None or asked.nano <= quantity.parse(str(held)).nano:
        return [errors.forbidden_field(path, "field can not be less than status.capacity")]
    return []


def storage_of(obj: Object) -> quantity.Quantity | None:
    """What the claim asks for; None when that cannot be said."""
    found = (((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    try:
        return quantity.parse(str(found)) if found is not None else None
    except quantity.QuantityError:
        return None


def claim_status(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    for name, amount in sorted(((new.get("status") or {}).get("capacity") or {}).items()):
        found += resources.amount_of(f"status.capacity[{name}]", name, amount)
    return found


# --- pieces -------------------------------------------------------------------------------------


def access_modes(path: str, modes: list[str]) -> Causes:
    found: Causes = []
    for mode in modes:
        if mode not in _ACCESS_MODES:
            found.append(errors.not_supported(path, mode, _ACCESS_MODES))
    if "ReadWriteOncePod" in modes and any(mode in _ACCESS_MODES[:3] for mode in modes):
        why = "may not use ReadWriteOncePod with other access modes"
        found.append(errors.forbidden_field(path, why))
    return found


def positive(path: str, amount: object) -> Causes:
    if quantity.parse(str(amount)).nano <= 0:
        return [errors.invalid_value(path, str(amount), "must be greater than zero")]
    return []


def class_name(path: str, name: str | None) -> Causes:
    return invalid_each(path, name, formats.dns1123_subdomain(name)) if name else []


def volume_mode(path: str, mode: str | None) -> Causes:
    if mode is not None and mode not in _VOLUME_MODES:
        return [errors.not_supported(path, mode, _VOLUME_MODES)]
    return []


def _data_source(path: str, source: Object) -> Causes:
    found = [
        errors.required(f"{path}.{field}") for field in ("name", "kind") if not source.get(field)
    ]
    if not source.get("apiGroup") and source.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(errors.invalid_value(path, source.get("kind") or "", why))
    return found


def _set(spec: Object) -> Object:
    """What is set; absent, null and empty are one and the same, but for a class named ""."""
    return {
        key: value
        for key, value in spec.items()
        if value not in (None, [], {}) and (value != "" or key == "storageClassName")
    }
