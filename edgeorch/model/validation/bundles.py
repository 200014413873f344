"""Rules of Bundles."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from edgeorch.model import bundles, errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import meta
from edgeorch.model.validation.meta import Causes

_MAX_NAME = 63
_VERSION = re.compile(r"sha256:[0-9a-f]{64}")


def bundle(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    if len((obj.get("metadata") or {}).get("name") or "") > _MAX_NAME:
        found.append(errors.too_long("metadata.name", _MAX_NAME))
    spec = obj.get("spec") or {}
    version, deadline = spec.get("version") or "", spec.get("deadlineSeconds")
    if version and not _VERSION.fullmatch(version):
        why = "must be sha256: and 64 hexadecimal digits; it is set by a PUT of manifests"
        found.append(errors.invalid_value("spec.version", version, why))
    if deadline is not None and not 1 <= deadline <= bundles.MAX_DEADLINE:
        why = f"must be between 1 and {bundles.MAX_DEADLINE}, inclusive"
        found.append(errors.invalid_value("spec.deadlineSeconds", deadline, why))
    min_ready = spec.get("minReadySeconds")
    if min_ready is not None and not 0 <= min_ready <= bundles.MAX_MIN_READY:
        why = f"must be between 0 and {bundles.MAX_MIN_READY}, inclusive"
        found.append(errors.invalid_value("spec.minReadySeconds", min_ready, why))
    return found + health_url("spec.healthURL", spec.get("healthURL"))


def health_url(path: str, url: Any) -> Causes:
    if not url:
        return []
    if _is_url(url):
        return []
    return [errors.invalid_value(path, url, "must be an http or https URL with a host")]


def _is_url(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    fits = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return fits and "@" not in parts.netloc and url.isprintable() and " " not in url
