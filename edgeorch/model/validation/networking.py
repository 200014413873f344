"""Rules of Ingresses, IngressClasses and NetworkPolicies (pkg/apis/networking/validation)."""

from __future__ import annotations

import ipaddress
from typing import Any

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats, meta
from edgeorch.model.validation.containers import PROTOCOLS
from edgeorch.model.validation.meta import Causes, invalid_each, one_of

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_END = ("/..", "/.")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_DIRECTIONS = ("Ingress", "Egress")
_MAX_CONTROLLER = 250


# --- Ingress ------------------------------------------------------------------------------------


def ingress(obj: Object) -> Causes:
    found = _ingress(obj)
    spec = obj.get("spec") or {}
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if _CLASS_ANNOTATION in annotations and spec.get("ingressClassName") is not None:
        why = "can not be set when the class field is also set"
        path = f"metadata.annotations.{_CLASS_ANNOTATION}"
        found.append(errors.invalid_value(path, annotations[_CLASS_ANNOTATION], why))
    return found


def ingress_update(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old) + _ingress(new)


def _ingress(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    spec = obj.get("spec") or {}
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        why = "either `defaultBackend` or `rules` must be specified"
        found.append(errors.invalid_value("spec", rules, why))
    if backend is not None:
        found += _backend("spec.defaultBackend", backend)
    for index, rule in enumerate(rules):
        found += _host(f"spec.rules[{index}].host", rule.get("host") or "")
        if rule.get("http") is not None:
            found += _paths(f"spec.rules[{index}].http.paths", rule["http"].get("paths") or [])
    for index, tls in enumerate(spec.get("tls") or []):
        found += _tls(f"spec.tls[{index}]", tls)
    name = spec.get("ingressClassName")
    if name is not None:
        found += invalid_each("spec.ingressClassName", name, formats.dns1123_subdomain(name))
    return found


def _host(path: str, host: str) -> Causes:
    if not host:
        return []
    if formats.parse_ip(host) is not None:
        return [errors.invalid_value(path, host, "must be a DNS name, not an IP address")]
    return invalid_each(path, host, _name_or_wildcard(host))


def _name_or_wildcard(host: str) -> list[str]:
    if "*" in host:
        return formats.wildcard_subdomain(host)
    return formats.dns1123_subdomain(host)


def _paths(path: str, listed: list[Object]) -> Causes:
    if not listed:
        return [errors.required(path)]
    found: Causes = []
    for index, entry in enumerate(listed):
        at = f"{path}[{index}]"
        found += _path(at, entry)
        found += _backend(f"{at}.backend", entry.get("backend") or {})
    return found


def _path(path: str, entry: Object) -> Causes:
    kind, text = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [errors.required(f"{path}.pathType", "pathType must be specified")]
    at = f"{path}.path"
    absolute = text.startswith("/")
    no_root = [errors.invalid_value(at, text, "must be an absolute path")]
    if kind == "ImplementationSpecific":
        return no_root if text and not absolute else []
    if kind not in _PATH_TYPES:
        return [errors.not_supported(f"{path}.pathType", kind, _PATH_TYPES)]
    found: Causes = [] if absolute else no_root
    for part in _NOT_IN_PATHS:
        if part in text:
            found.append(errors.invalid_value(at, text, f"must not contain '{part}'"))
    for end in _NOT_AT_END:
        if text.endswith(end):
            found.append(errors.invalid_value(at, text, f"cannot end with '{end}'"))
    return found


def _backend(path: str, backend: Object) -> Causes:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [errors.invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _resource(f"{path}.resource", resource)
    if service is None:
        return [errors.invalid_value(path, "", "resource or service backend is required")]
    found: Causes = []
    name = service.get("name") or ""
    if not name:
        found.append(errors.required(f"{path}.service.name"))
    else:
        found += invalid_each(f"{path}.service.name", name, formats.dns1035_label(name))
    port = service.get("port") or {}
    port_name, number = port.get("name") or "", port.get("number") or 0
    if port_name and number:
        found.append(errors.invalid_value(path, "", "cannot set both port name & port number"))
    elif port_name:
        found += invalid_each(f"{path}.service.port.name", port_name, formats.port_name(port_name))
    elif number:
        found += invalid_each(f"{path}.service.port.number", number, formats.port(number))
    else:
        found.append(errors.required(path, "port name or number is required"))
    return found


def _resource(path: str, ref: Object) -> Causes:
    found: Causes = []
    group = ref.get("apiGroup")
    if group:
        found += invalid_each(f"{path}.apiGroup", group, formats.dns1123_subdomain(group))
    for field in ("kind", "name"):
        value = ref.get(field) or ""
        if not value:
            found.append(errors.required(f"{path}.{field}"))
        else:
            found += invalid_each(f"{path}.{field}", value, formats.path_segment(value))
    return found


def _tls(path: str, tls: Object) -> Causes:
    found: Causes = []
    for index, host in enumerate(tls.get("hosts") or []):
        found += invalid_each(f"{path}.hosts[{index}]", host, _name_or_wildcard(host))
    secret = tls.get("secretName") or ""
    if secret:
        found += invalid_each(f"{path}.secretName", secret, formats.dns1123_subdomain(secret))
    return found


# --- IngressClass -------------------------------------------------------------------------------


def ingress_class(obj: Object) -> Causes:
    found = meta.validate(obj, False, meta.subdomain_name)
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    if len(controller) > _MAX_CONTROLLER:
        found.append(errors.too_long("spec.controller", _MAX_CONTROLLER))
    found += domain_prefixed("spec.controller", controller)
    if spec.get("parameters") is not None:
        found += _class_parameters("spec.parameters", spec["parameters"])
    return found


def ingress_class_update(new: Object, old: Object) -> Causes:
    now, before = new.get("spec") or {}, old.get("spec") or {}
    return (
        meta.validate_update(new, old)
        + ingress_class(new)
        + meta.immutable("spec.controller", now.get("controller"), before.get("controller"))
    )


def domain_prefixed(path: str, value: str) -> Causes:
    if not value:
        return [errors.required(path)]
    host, slash, rest = value.partition("/")
    if not slash or not host or not rest:
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [errors.invalid_value(path, value, why)]
    return invalid_each(path, host, formats.dns1123_subdomain(host))


def _class_parameters(path: str, ref: Object) -> Causes:
    found = _resource(path, ref)
    scope, namespace = ref.get("scope"), ref.get("namespace")
    if scope is None:
        found.append(errors.required(f"{path}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        supported = ("Cluster", "Namespace")
        found.append(errors.not_supported(f"{path}.scope", scope, supported))
    elif scope == "Namespace" and not namespace:
        why = "`parameters.scope` is set to 'Namespace'"
        found.append(errors.required(f"{path}.namespace", why))
    elif scope == "Cluster" and namespace is not None:
        why = "`parameters.scope` is set to 'Cluster'"
        found.append(errors.forbidden_field(f"{path}.namespace", why))
    elif namespace:
        found += invalid_each(f"{path}.namespace", namespace, formats.dns1123_label(namespace))
    return found


# --- NetworkPolicy ------------------------------------------------------------------------------


def network_policy(obj: Object) -> Causes:
    found = meta.validate(obj, True, meta.subdomain_name)
    spec = obj.get("spec") or {}
    found += meta.label_selector("spec.podSelector", spec.get("podSelector"))
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or []):
            path = f"spec.{field}[{index}]"
            for number, port in enumerate(rule.get("ports") or []):
                found += _policy_port(f"{path}.ports[{number}]", port)
            for number, peer in enumerate(rule.get(peers) or []):
                found += _peer(f"{path}.{peers}[{number}]", peer)
    types = spec.get("policyTypes") or []
    if len(types) > len(_DIRECTIONS):
        why = "may not specify more than two policyTypes"
        return [*found, errors.invalid_value("spec.policyTypes", types, why)]
    for index, kind in enumerate(types):
        found += one_of(f"spec.policyTypes[{index}]", kind, _DIRECTIONS)
    return found


def _policy_port(path: str, port: Object) -> Causes:
    found: Causes = []
    if port.get("protocol") and port["protocol"] not in PROTOCOLS:
        found.append(errors.not_supported(f"{path}.protocol", port["protocol"], PROTOCOLS))
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        if end is not None:
            why = "may not be specified when `port` is not specified"
            found.append(errors.invalid_value(f"{path}.endPort", end, why))
        return found
    found += invalid_each(f"{path}.port", number, formats.port_or_name(number))
    if end is not None:
        found += _end_port(f"{path}.endPort", number, end)
    return found


def _end_port(path: str, number: Any, end: int) -> Causes:
    if not isinstance(number, int):
        why = "may not be specified when `port` is non-numeric"
        return [errors.invalid_value(path, end, why)]
    found: Causes = []
    if end < number:
        found.append(errors.invalid_value(path, number, "must be greater than or equal to `port`"))
    return found + invalid_each(path, end, formats.port(end))


def _peer(path: str, peer: Object) -> Causes:
    found: Causes = []
    count = 0
    for field in ("podSelector", "namespaceSelector"):
        if peer.get(field) is not None:
            count += 1
            found += meta.label_selector(f"{path}.{field}", peer[field])
    block = peer.get("ipBlock")
    if block is not None:
        count += 1
        found += _ip_block(f"{path}.ipBlock", block)
    if not count:
        found.append(errors.required(path, "must specify a peer"))
    elif count > 1 and block is not None:
        why = "may not specify both ipBlock and another peer"
        found.append(errors.forbidden_field(path, why))
    return found


def _ip_block(path: str, block: Object) -> Causes:
    text = block.get("cidr") or ""
    if not text:
        return [errors.required(f"{path}.cidr")]
    found = invalid_each(f"{path}.cidr", text, formats.cidr(text))
    if found:
        return found
    outer = ipaddress.ip_network(text, strict=False)
    for index, inner in enumerate(block.get("except") or []):
        at = f"{path}.except[{index}]"
        reasons = formats.cidr(inner)
        if reasons:
            found += invalid_each(at, inner, reasons)
        elif not _strictly_within(ipaddress.ip_network(inner, strict=False), outer):
            found.append(errors.invalid_value(at, inner, "must be a strict subset of `cidr`"))
    return found


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _strictly_within(inner: _Network, outer: _Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner != outer and inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner != outer and inner.subnet_of(outer)
    return False
