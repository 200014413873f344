"""Rules of Namespaces, Nodes, ConfigMaps, Secrets, ServiceAccounts and Events."""

from __future__ import annotations

import base64
import binascii

from edgeorch.lib import json
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta, resources, scheduling
from edgeorch.model.validation.meta import Causes, invalid_each

MAX_DATA = 1024 * 1024
_REDACTED = "<secret contents redacted>"


def namespace(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.label_name)
    for name in (obj.get("spec") or {}).get("finalizers") or []:
        found += finalizer("spec.finalizers", name)
    return found


def finalizer(path: str, name: str) -> Causes:
    return invalid_each(path, name, formats.qualified_name(name)) + meta.kube_finalizer(path, name)


def node(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    spec = obj.get("spec") or {}
    found += scheduling.taints("metadata.taints", spec.get("taints") or [])
    found += node_resources(obj)
    ranges = spec.get("podCIDRs") or []
    for index, value in enumerate(ranges):
        found += invalid_each(f"spec.podCIDRs[{index}]", value, formats.cidr(value))
    if len(ranges) > 1:
        families = {":" in value for value in ranges}
        if len(families) < 2 or len(ranges) > 2:
            why = "may specify no more than one CIDR for each IP family"
            found.append(errors.invalid_value("spec.podCIDRs", ranges, why))
        for index, value in enumerate(ranges):
            if value in ranges[:index]:
                found.append(errors.duplicate(f"spec.podCIDRs[{index}]", value))
    return found


def node_resources(obj: Object) -> Causes:
    found: Causes = []
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        for name, amount in sorted((status.get(field) or {}).items()):
            found += resources.amount_of(f"status.{field}.{name}", name, amount)
    return found


def service_account(obj: Object) -> Causes:
    return meta.validate(obj, True, meta.subdomain_name)


def config_map(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, text in sorted(data.items()):
        found += invalid_each(f"data[{key}]", key, formats.config_key(key))
        if key in binary:
            why = "duplicate of key present in binaryData"
            found.append(errors.invalid_value(f"data[{key}]", key, why))
        size += len(text.encode())
    for key, encoded in sorted(binary.items()):
        found += invalid_each(f"binaryData[{key}]", key, formats.config_key(key))
        decoded = decode(encoded)
        if decoded is None:
            found.append(_not_base64(f"binaryData[{key}]"))
        size += len(decoded or b"")
    if size > MAX_DATA:
        found.append(errors.too_long("", MAX_DATA))
    return found


def secret(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    data: dict[str, bytes] = {}
    size = 0
    for key, encoded in sorted((obj.get("data") or {}).items()):
        found += invalid_each(f"data[{key}]", key, formats.config_key(key))
        decoded = decode(encoded)
        if decoded is None:
            found.append(_not_base64(f"data[{key}]"))
        data[key] = decoded or b""
        size += len(data[key])
    if size > MAX_DATA:
        found.append(errors.too_long("data", MAX_DATA))
    return found + _secret_type(obj, data)


def decode(encoded: str | None) -> bytes | None:
    """Standard base64 as Go's decoder takes it: line breaks are skipped, padding is required."""
    text = (encoded or "").replace("\n", "").replace("\r", "")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _not_base64(path: str) -> errors.Cause:
    # The value may be a secret typed into the wrong field: it is not repeated.
    return errors.invalid_value(path, _REDACTED, "must be base64 encoded")


def _secret_type(obj: Object, data: dict[str, bytes]) -> Causes:
    match obj.get("type"):
        case "kubernetes.io/service-account-token":
            name = "kubernetes.io/service-account.name"
            annotations = (obj.get("metadata") or {}).get("annotations") or {}
            path = f"metadata.annotations[{name}]"
            return [] if annotations.get(name) else [errors.required(path)]
        case "kubernetes.io/dockercfg":
            return _json_key(data, ".dockercfg")
        case "kubernetes.io/dockerconfigjson":
            return _json_key(data, ".dockerconfigjson")
        case "kubernetes.io/basic-auth":
            if "username" in data or "password" in data:
                return []
            return [errors.required("data[username]"), errors.required("data[password]")]
        case "kubernetes.io/ssh-auth":
            key = "ssh-privatekey"
            return [] if data.get(key) else [errors.required(f"data[{key}]")]
        case "kubernetes.io/tls":
            names = ("tls.crt", "tls.key")
            return [errors.required(f"data[{name}]") for name in names if name not in data]
        case _:
            return []


def _json_key(data: dict[str, bytes], key: str) -> Causes:
    if key not in data:
        return [errors.required(f"data[{key}]")]
    try:
        parsed = json.decode(data[key])
    except json.DecodeError as problem:
        return [errors.invalid_value(f"data[{key}]", _REDACTED, str(problem))]
    if isinstance(parsed, dict) or parsed is None:
        return []
    return [errors.invalid_value(f"data[{key}]", _REDACTED, "must be a JSON object")]


def event(obj: Object) -> Causes:
    """Events are held to little more than belonging where their object is."""
    details = obj.get("metadata") or {}
    namespace_ = details.get("namespace") or ""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    found: Causes = []
    new_style = bool(obj.get("eventTime"))
    if about:
        astray = not new_style and namespace_ != about
    else:
        homes = ("default", "kube-system") if new_style else ("", "default")
        astray = namespace_ not in homes
    if astray:
        why = "does not match event.namespace"
        found.append(errors.invalid_value("involvedObject.namespace", about, why))
    if new_style:
        found += _new_style_event(obj)
    found += invalid_each("namespace", namespace_, formats.dns1123_subdomain(namespace_))
    name = details.get("name") or ""
    if not name:
        why = "name or generateName is required"
        return [*found, errors.required("metadata.name", why)]
    return found + invalid_each("metadata.name", name, formats.path_segment(name))


def _new_style_event(obj: Object) -> Causes:
    found: Causes = []
    controller = obj.get("reportingComponent") or ""
    if not controller:
        found.append(errors.required("reportingController"))
    found += invalid_each("reportingController", controller, formats.qualified_name(controller))
    for field, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        text = obj.get(field) or ""
        if not text:
            found.append(errors.required(field))
        if len(text.encode()) > limit:
            found.append(errors.invalid_value(field, "", f"can have at most {limit} characters"))
    if len((obj.get("message") or "").encode()) > 1024:
        found.append(errors.invalid_value("message", "", "can have at most 1024 characters"))
    return found
