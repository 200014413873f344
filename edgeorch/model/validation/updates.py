"""What an update may change, kind by kind: immutable fields, one-way switches, status writes."""

from __future__ import annotations

from typing import Any

from edgeorch.lib import json
from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import (
    core,
    discovery,
    formats,
    meta,
    pods,
    scheduling,
    services,
    workloads,
)
from edgeorch.model.validation.meta import Causes, immutable, non_negative

_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_MAX_INT32 = 2**31 - 1


def pod(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + pods.metadata_and_spec(new)
    for field in ("containers", "initContainers"):
        listed, earlier = spec.get(field) or [], before.get(field) or []
        if len(listed) != len(earlier):
            why = "pod updates may not add or remove containers"
            return [*found, errors.forbidden_field(f"spec.{field}", why)]
    path = "spec.activeDeadlineSeconds"
    deadline, was = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is not None:
        if not 0 <= deadline <= _MAX_INT32:
            why = formats.between(0, _MAX_INT32)
            return [*found, errors.invalid_value(path, deadline, why)]
        if was is not None and was < deadline:
            why = "must be less than or equal to previous value"
            return [*found, errors.invalid_value(path, deadline, why)]
    elif was is not None:
        why = "must not update from a positive integer to nil value"
        found.append(errors.invalid_value(path, None, why))
    found += _tolerations(spec.get("tolerations") or [], before.get("tolerations") or [])
    found += _gates(spec.get("schedulingGates") or [], before.get("schedulingGates") or [])
    return found + _pod_spec_unchanged(spec, before)


def pod_ephemeral(new: Object, old: Object) -> Causes:
    """A write of `ephemeralcontainers`: it may only add."""
    found = meta.validate_update(new, old) + pods.metadata_and_spec(new)
    if "kubernetes.io/config.mirror" in (old["metadata"].get("annotations") or {}):
        return [errors.forbidden_field("", "static pods do not support ephemeral containers")]
    path = "spec.ephemeralContainers"
    now = {each.get("name"): each for each in new["spec"].get("ephemeralContainers") or []}
    for earlier in (old.get("spec") or {}).get("ephemeralContainers") or []:
        name = earlier.get("name")
        shown = json.canonical(name).decode()
        if name not in now:
            why = f"existing ephemeral containers {shown} may not be removed\n"
            found.append(errors.forbidden_field(path, why))
        elif _pruned(now[name]) != _pruned(earlier):
            told = _difference(earlier, now[name])
            why = f"existing ephemeral containers {shown} may not be changed\n{told}"
            found.append(errors.forbidden_field(path, why))
    return found


def _tolerations(new: list[Object], old: list[Object]) -> Causes:
    def bare(toleration: Object) -> Object:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds" and v}

    kept = [bare(toleration) for toleration in new]
    if any(bare(toleration) not in kept for toleration in old):
        why = "existing toleration can not be modified except its tolerationSeconds"
        return [errors.forbidden_field("spec.tolerations", why)]
    return scheduling.tolerations("spec.tolerations", new)


def _gates(new: list[Object], old: list[Object]) -> Causes:
    known = {gate.get("name") for gate in old}
    return [
        errors.forbidden_field(
            f"spec.schedulingGates[{index}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'",
        )
        for index, gate in enumerate(new)
        if gate.get("name") not in known
    ]


def _pod_spec_unchanged(new: Object, old: Object) -> Causes:
    """Compares what remains when the fields that may change are set back."""
    rest = dict(new)
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        rest[field] = old.get(field)
    for field in ("containers", "initContainers"):
        rest[field] = [
            {**container, "image": earlier.get("image")}
            for container, earlier in zip(new.get(field) or [], old.get(field) or [], strict=True)
        ]
    grace = old.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and rest.get("terminationGracePeriodSeconds") == 1:
        rest["terminationGracePeriodSeconds"] = grace
    if old.get("schedulingGates"):
        narrowed = _narrowed(new, old)
        if narrowed:
            return narrowed
        for field in ("nodeSelector", "affinity"):
            rest[field] = old.get(field)
        affinity = dict(new.get("affinity") or {})
        affinity["nodeAffinity"] = (old.get("affinity") or {}).get("nodeAffinity")
        rest["affinity"] = affinity
    if _pruned(rest) == _pruned(old):
        return []
    why = f"pod updates may not change fields other than {_UPDATABLE}\n{_difference(old, rest)}"
    return [errors.forbidden_field("spec", why)]


def _narrowed(new: Object, old: Object) -> Causes:
    """A pod that waits at its gates may be told more narrowly where it may run (KEP-3838)."""
    why = "only additions are allowed (no mutations or deletions)"
    wanted, earlier = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    found: Causes = []
    if any(wanted.get(key) != value for key, value in earlier.items()):
        found.append(errors.invalid_value("spec.nodeSelector", wanted, why))
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms, before = (
        ((((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(required)) or {}).get(
            "nodeSelectorTerms"
        )
        or []
        for spec in (new, old)
    )
    path = f"spec.affinity.nodeAffinity.{required}.nodeSelectorTerms"
    if not before:
        return found
    if len(terms) != len(before):
        told = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [*found, errors.invalid_value(path, terms, told)]
    for index, (term, was) in enumerate(zip(terms, before, strict=True)):
        for field in ("matchExpressions", "matchFields"):
            kept, had = term.get(field) or [], was.get(field) or []
            if kept[: len(had)] != had:
                found.append(errors.invalid_value(f"{path}[{index}]", term, why))
    return found


def _pruned(value: Any) -> Any:
    """Without what is null or empty, which is the same as absent."""
    if isinstance(value, dict):
        found = {key: _pruned(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, [], {}, "")}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def _difference(old: Object, new: Object) -> str:
    """The differing members of a pod spec, one line for each side."""
    lines = []
    before, after = _pruned(old), _pruned(new)
    for field in sorted({*before, *after}):
        if before.get(field) != after.get(field):
            for sign, side in (("-", before), ("+", after)):
                if field in side:
                    shown = json.canonical(side[field]).decode()
                    lines.append(f"{sign} {field}: {shown}")
    return "\n".join(lines)


def pod_status(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    status, before = new.get("status") or {}, old.get("status") or {}
    for index, condition in enumerate(status.get("conditions") or []):
        kind = condition.get("type") or ""
        path = f"metadata.conditions[{index}].Type"
        found += meta.invalid_each(path, kind, formats.qualified_name(kind))
    nodes = [(obj.get("spec") or {}).get("nodeName") or "" for obj in (new, old)]
    if nodes[0] != nodes[1]:
        found.append(errors.forbidden_field("status.nodeName", "may not be changed directly"))
    if before.get("qosClass"):
        found += immutable("status.qosClass", status.get("qosClass"), before.get("qosClass"))
    found += _transitions("containerStatuses", status, before, old.get("spec") or {})
    for field, member in (("podIPs", "ip"), ("hostIPs", "ip")):
        for index, entry in enumerate(status.get(field) or []):
            value = entry.get(member) or ""
            found += meta.invalid_each(f"status.{field}[{index}]", value, formats.ip(value))
    return found


def _transitions(field: str, status: Object, before: Object, spec: Object) -> Causes:
    """A container that is not to run again stays terminated."""
    found: Causes = []
    policy = spec.get("restartPolicy") or "Always"
    containers = {each["name"]: each for each in spec.get("containers") or []}
    everybody = [*containers.values(), *(spec.get("initContainers") or [])]
    if policy == "Always" or any(_restarts_all(each) for each in everybody):
        return found
    states = {c.get("name"): c.get("state") or {} for c in status.get(field) or []}
    for index, earlier in enumerate(before.get(field) or []):
        ended = (earlier.get("state") or {}).get("terminated")
        own = containers.get(earlier.get("name")) or {}
        may = own.get("restartPolicy") or policy
        if ended is None or may == "Always" or own.get("restartPolicyRules"):
            continue
        if ended.get("exitCode") and may == "OnFailure":
            continue
        now = states.get(earlier.get("name"))
        if now is not None and now.get("terminated") is None:
            why = "may not be transitioned to non-terminated state"
            found.append(errors.forbidden_field(f"status.{field}[{index}].state", why))
    return found


def _restarts_all(container: Object) -> bool:
    rules = container.get("restartPolicyRules") or []
    return any(rule.get("action") == "RestartAllContainers" for rule in rules)


def deployment(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + workloads.deployment_spec(new.get("spec") or {})
    return found + _selector(new, old)


def replica_set(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + workloads.replica_set_spec(new.get("spec") or {})
    return found + _selector(new, old)


def _selector(new: Object, old: Object) -> Causes:
    chosen, before = ((obj.get("spec") or {}).get("selector") for obj in (new, old))
    if _pruned(chosen) == _pruned(before):
        return []
    return [errors.invalid_value("spec.selector", meta.shown_selector(chosen), meta.IMMUTABLE)]


def deployment_status(new: Object, old: Object) -> Causes:
    status = new.get("status") or {}
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    found = meta.validate_update(new, old)
    found += non_negative("status.observedGeneration", status.get("observedGeneration"))
    found += workloads.status_counts(
        status, (*counts, "unavailableReplicas", "collisionCount"), counts[1:]
    )
    collisions = status.get("collisionCount") or 0
    if collisions < ((old.get("status") or {}).get("collisionCount") or 0):
        path = "status.collisionCount"
        found.append(errors.invalid_value(path, collisions, "cannot be decremented"))
    return found


def replica_set_status(new: Object, old: Object) -> Causes:
    status = new.get("status") or {}
    parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    found = meta.validate_update(new, old)
    return found + workloads.status_counts(
        status, ("replicas", *parts, "observedGeneration"), parts
    )


def service(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old)
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        found += _addresses_kept(spec, before)
    found += services.balancer_class(spec, before)
    if services.needs_health_check(spec) and services.needs_health_check(before):
        port, was = spec.get("healthCheckNodePort"), before.get("healthCheckNodePort")
        if port != was:
            path = "spec.healthCheckNodePort"
            found.append(errors.forbidden_field(path, meta.IMMUTABLE))
    return found + services.service(new)


def _addresses_kept(spec: Object, before: Object) -> Causes:
    """Addresses and families may be added or the second one released, never exchanged."""
    headless, was_headless = services.headless(spec), services.headless(before)
    found: Causes = []
    if not (headless and was_headless):
        found += _kept("clusterIPs", "clusterIP", spec, before)
    if not headless and not was_headless:
        found += _kept("ipFamilies", "ipFamily", spec, before)
    return found


def _kept(field: str, noun: str, spec: Object, before: Object) -> Causes:
    new, old = spec.get(field) or [], before.get(field) or []
    path = f"spec.{field}"
    changed = "may not change once set"
    if len(new) == len(old):
        return [
            errors.invalid_value(f"{path}[{index}]", new, changed)
            for index, (value, was) in enumerate(zip(new, old, strict=True))
            if value != was
        ]
    found: Causes = []
    if old and not new:
        why = f"primary {noun} can not be unset"
        found.append(errors.invalid_value(f"{path}[0]", None, why))
    if old and new and new[0] != old[0]:
        found.append(errors.invalid_value(f"{path}[0]", new, changed))
    if len(new) == 1 and len(old) > 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {noun}"
        policy = spec.get("ipFamilyPolicy")
        found.append(errors.invalid_value("spec.ipFamilyPolicy", policy, why))
    return found


def service_status(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    ingresses = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    path = "status.loadBalancer.ingress"
    if ingresses and (new.get("spec") or {}).get("type") != "LoadBalancer":
        why = "may only be used when `spec.type` is 'LoadBalancer'"
        return [*found, errors.forbidden_field(path, why)]
    for index, ingress in enumerate(ingresses):
        ip, name = ingress.get("ip") or "", ingress.get("hostname") or ""
        at = f"{path}[{index}]"
        if ip:
            found += meta.invalid_each(f"{at}.ip", ip, formats.ip(ip))
        if name:
            found += meta.invalid_each(f"{at}.hostname", name, formats.dns1123_subdomain(name))
            if formats.parse_ip(name) is not None:
                why = "must be a DNS name, not an IP address"
                found.append(errors.invalid_value(f"{at}.hostname", name, why))
    return found


def config_map(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    found += _frozen(new, old, ("data", "binaryData"))
    return found + core.config_map(new)


def secret(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    found += immutable("type", new.get("type"), old.get("type"))
    return found + _frozen(new, old, ("data",)) + core.secret(new)


def _frozen(new: Object, old: Object, fields: tuple[str, ...]) -> Causes:
    if not old.get("immutable"):
        return []
    why = "field is immutable when `immutable` is set"
    found: Causes = []
    if not new.get("immutable"):
        found.append(errors.forbidden_field("immutable", why))
    return found + [
        errors.forbidden_field(field, why)
        for field in fields
        if (new.get(field) or {}) != (old.get(field) or {})
    ]


def endpoint_slice(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old) + discovery.endpoint_slice(new)
    return found + immutable("addressType", new.get("addressType"), old.get("addressType"))


def event(new: Object, old: Object) -> Causes:
    """Events of v1 are checked as if new, for the sake of old clients."""
    return core.event(new)


def namespace(new: Object, old: Object) -> Causes:
    return meta.validate_update(new, old)


def namespace_status(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    phase = (new.get("status") or {}).get("phase") or ""
    leaving = bool((new.get("metadata") or {}).get("deletionTimestamp"))
    if not leaving and phase != "Active":
        why = "may only be 'Active' if `deletionTimestamp` is empty"
        found.append(errors.invalid_value("status.Phase", phase, why))
    if leaving and phase != "Terminating":
        why = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        found.append(errors.invalid_value("status.Phase", phase, why))
    return found


def namespace_finalize(new: Object, old: Object) -> Causes:
    found = meta.validate_update(new, old)
    for index, name in enumerate((new.get("spec") or {}).get("finalizers") or []):
        found += core.finalizer(f"spec.finalizers[{index}]", name)
    return found


def node(new: Object, old: Object) -> Causes:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = meta.validate_update(new, old) + core.node_resources(new)
    addresses = (new.get("status") or {}).get("addresses") or []
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            found.append(errors.duplicate(f"status.addresses[{index}]", address))
    ranges, was = spec.get("podCIDRs") or [], before.get("podCIDRs") or []
    if was and ranges != was:
        why = 'node updates may not change podCIDR except from "" to valid'
        found.append(errors.forbidden_field("spec.podCIDRs", why))
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        why = 'node updates may not change providerID except from "" to valid'
        found.append(errors.forbidden_field("spec.providerID", why))
    return found + scheduling.taints("metadata.taints", spec.get("taints") or [])
