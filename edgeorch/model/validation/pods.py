"""Rules of Pods and of the pod templates inside workloads.

Order of the checks is that of ValidatePodSpec, so that clients see errors where they look for them.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import (
    containers,
    formats,
    meta,
    resources,
    scheduling,
    security,
    volumes,
)
from edgeorch.model.validation.meta import Causes, invalid_each, one_of

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_MAX_INT32 = 2**31 - 1
_MAX_NODENAME = 64


def create(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    found = metadata_and_spec(obj)
    if spec.get("ephemeralContainers"):
        found.append(errors.forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        why = "cannot be set until all schedulingGates have been cleared"
        found.append(errors.forbidden_field("spec.nodeName", why))
    return found


def metadata_and_spec(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    details = obj.get("metadata") or {}
    found = meta.validate(obj, True, meta.subdomain_name)
    found += _annotations("metadata.annotations", details.get("annotations") or {}, spec)
    found += pod_spec("spec", spec, pod_name=details.get("name") or "", is_pod=True)
    if not spec.get("serviceAccountName"):
        found += _tokens_without_account(spec)
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or []):
            found += containers.untrimmed_image(f"spec.{field}[{index}]", container)
    return found


def _tokens_without_account(spec: Object) -> Causes:
    found: Causes = []
    why = "must not be specified when serviceAccountName is not set"
    for index, volume in enumerate(spec.get("volumes") or []):
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or []):
            if source.get("serviceAccountToken") is not None:
                path = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                found.append(errors.forbidden_field(path, why))
    return found


def _annotations(path: str, values: dict[str, str], spec: Object) -> Causes:
    found: Causes = []
    mirror = "kubernetes.io/config.mirror"
    if mirror in values and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        found.append(errors.invalid_value(f"{path}[{mirror}]", values[mirror], why))
    cost = values.get(_DELETION_COST)
    if cost is not None and not _is_int32(cost):
        why = "must be a 32bit integer"
        found.append(errors.invalid_value(f"{path}[{_DELETION_COST}]", cost, why))
    return found


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and text != "0"):
        return False
    return -_MAX_INT32 - 1 <= int(text) <= _MAX_INT32


def template(path: str, obj: Object) -> Causes:
    """A PodTemplateSpec. Label errors name `labels`, not `metadata.labels`, as in Kubernetes."""
    details, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    found = meta.labels(f"{path}.labels", details.get("labels"))
    found += meta.annotation_map(f"{path}.annotations", details.get("annotations"))
    found += _annotations(f"{path}.annotations", details.get("annotations") or {}, spec)
    found += pod_spec(f"{path}.spec", spec)
    if spec.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        found.append(errors.forbidden_field(f"{path}.spec.ephemeralContainers", why))
    return found


def pod_spec(path: str, spec: Object, *, pod_name: str = "", is_pod: bool = False) -> Causes:
    found: Causes = []
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(errors.required(f"{path}.terminationGracePeriodSeconds"))
    usable, wrong = volumes.volumes(f"{path}.volumes", spec.get("volumes") or [], pod_name)
    found += wrong
    claims = spec.get("resourceClaims") or []
    found += _resource_claims(f"{path}.resourceClaims", claims)
    around = containers.Surroundings(
        volumes=usable,
        claims={claim["name"] for claim in claims if claim.get("name")},
        grace=grace,
        system=(spec.get("os") or {}).get("name"),
        restart_policy=spec.get("restartPolicy") or "",
        host_users=spec.get("hostUsers") is not False,
    )
    regular, init = spec.get("containers") or [], spec.get("initContainers") or []
    names = {container.get("name") or "" for container in regular}
    found += containers.regular(f"{path}.containers", regular, around)
    found += containers.init(f"{path}.initContainers", init, names, around)
    names |= {container.get("name") or "" for container in init}
    extra = spec.get("ephemeralContainers") or []
    found += containers.ephemeral(f"{path}.ephemeralContainers", extra, names, around)
    if spec.get("resources"):
        found += resources.of_pod(f"{path}.resources", spec)
    return found + _placement(path, spec, is_pod) + _identity(path, spec)


def _placement(path: str, spec: Object, is_pod: bool) -> Causes:
    """Policies, network, security and scheduling, in Kubernetes' order."""
    found = _host_network(path, spec, is_pod)
    found += one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    found += one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES)
    found += meta.labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    found += security.pod(f"{path}.securityContext", spec.get("securityContext"), spec)
    found += scheduling.affinity(f"{path}.affinity", spec.get("affinity"))
    found += _dns_config(f"{path}.dnsConfig", spec.get("dnsConfig"), spec.get("dnsPolicy"))
    for index, gate in enumerate(spec.get("readinessGates") or []):
        value = gate.get("conditionType") or ""
        at = f"{path}.readinessGates[{index}].conditionType"
        found += invalid_each(at, value, formats.qualified_name(value))
    found += _scheduling_gates(f"{path}.schedulingGates", spec.get("schedulingGates") or [])
    spread = spec.get("topologySpreadConstraints") or []
    found += scheduling.topology_spread(f"{path}.topologySpreadConstraints", spread)
    if spec.get("hostUsers") is False:
        for field, shown in (
            ("hostNetwork", "hostNetwork"),
            ("hostPID", "HostPID"),
            ("hostIPC", "HostIPC"),
        ):
            if spec.get(field):
                why = "when `pod.Spec.HostUsers` is false"
                found.append(errors.forbidden_field(f"{path}.{shown}", why))
    return found


def _identity(path: str, spec: Object) -> Causes:
    """Names, deadlines and the rest of ValidatePodSpec."""
    found = _named(path, spec, "serviceAccountName", formats.dns1123_subdomain)
    found += _named(path, spec, "nodeName", formats.dns1123_subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        why = formats.between(1, _MAX_INT32)
        found.append(errors.invalid_value(f"{path}.activeDeadlineSeconds", deadline, why))
    found += _named(path, spec, "hostname", formats.dns1123_label)
    found += _named(path, spec, "subdomain", formats.dns1123_label)
    found += _hostname_override(path, spec)
    found += scheduling.tolerations(f"{path}.tolerations", spec.get("tolerations") or [])
    for index, alias in enumerate(spec.get("hostAliases") or []):
        at = f"{path}.hostAliases[{index}]"
        found += invalid_each(f"{at}.ip", alias.get("ip") or "", formats.ip(alias.get("ip") or ""))
        for number, name in enumerate(alias.get("hostnames") or []):
            reasons = formats.dns1123_subdomain(name)
            found += invalid_each(f"{at}.hostnames[{number}]", name, reasons)
    found += _named(path, spec, "priorityClassName", formats.dns1123_subdomain)
    if spec.get("runtimeClassName") is not None:
        name = spec["runtimeClassName"]
        found += invalid_each(f"{path}.runtimeClassName", name, formats.dns1123_subdomain(name))
    if spec.get("preemptionPolicy") is not None:
        found += one_of(f"{path}.preemptionPolicy", spec["preemptionPolicy"], _PREEMPTION)
    system = spec.get("os")
    if system is not None:
        if not system.get("name"):
            found.append(errors.required(f"{path}.os.name", "cannot be empty"))
        elif system["name"] not in ("linux", "windows"):
            supported = ("linux", "windows")
            found.append(errors.not_supported(f"{path}.os", system["name"], supported))
        else:
            found += security.of_system(path, spec, system["name"])
    return found


def _hostname_override(path: str, spec: Object) -> Causes:
    """KEP-4762."""
    found = _named(path, spec, "hostnameOverride", formats.dns1123_subdomain)
    name = spec.get("hostnameOverride")
    if name is None:
        return found
    if len(name) > _MAX_NODENAME:
        found.append(errors.too_long(f"{path}.hostnameOverride", _MAX_NODENAME))
    for field in ("hostNetwork", "setHostnameAsFQDN"):
        if spec.get(field):
            why = f"may not be specified when `{field}` is true"
            found.append(errors.forbidden_field(f"{path}.hostnameOverride", why))
    return found


def _named(path: str, spec: Object, field: str, rule: meta.NameRule) -> Causes:
    value = spec.get(field)
    return invalid_each(f"{path}.{field}", value, rule(value)) if value else []


def _host_network(path: str, spec: Object, is_pod: bool) -> Causes:
    found: Causes = []
    if not spec.get("hostNetwork"):
        return found
    for index, container in enumerate(spec.get("containers") or []):
        for number, port in enumerate(container.get("ports") or []):
            host, inner = port.get("hostPort") or 0, port.get("containerPort") or 0
            if (is_pod or host) and host != inner:
                where = f"{path}.containers[{index}].ports[{number}].hostPort"
                why = "must match `containerPort` when `hostNetwork` is true"
                found.append(errors.invalid_value(where, host, why))
    return found


def _resource_claims(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    pair = ("resourceClaimName", "resourceClaimTemplateName")
    for index, claim in enumerate(listed):
        at = f"{path}[{index}]"
        name = claim.get("name") or ""
        if not name:
            found.append(errors.required(f"{at}.name"))
        elif name in seen:
            found.append(errors.duplicate(f"{at}.name", name))
        else:
            found += invalid_each(f"{at}.name", name, formats.dns1123_label(name))
        seen.add(name)
        given = [field for field in pair if claim.get(field) is not None]
        if len(given) > 1:
            why = (
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            )
            found.append(errors.invalid_value(at, claim, why))
        elif not given:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            found.append(errors.invalid_value(at, claim, why))
        for field in given:
            reasons = formats.dns1123_subdomain(claim[field])
            found += invalid_each(f"{at}.{field}", claim[field], reasons)
    return found


def _scheduling_gates(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, gate in enumerate(listed):
        name = gate.get("name") or ""
        found += invalid_each(f"{path}[{index}]", name, formats.qualified_name(name))
        if name in seen:
            found.append(errors.duplicate(f"{path}[{index}]", name))
        seen.add(name)
    return found


def _dns_config(path: str, config: Object | None, policy: Any) -> Causes:
    if policy == "None":
        if config is None:
            why = "must provide `dnsConfig` when `dnsPolicy` is None"
            return [errors.required(path, why)]
        if not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [errors.required(f"{path}.nameservers", why)]
    if config is None:
        return []
    found: Causes = []
    servers = config.get("nameservers") or []
    if len(servers) > 3:
        why = "must not have more than 3 nameservers"
        found.append(errors.invalid_value(f"{path}.nameservers", servers, why))
    for index, server in enumerate(servers):
        found += invalid_each(f"{path}.nameservers[{index}]", server, formats.ip(server))
    found += _searches(path, config.get("searches") or [])
    for index, option in enumerate(config.get("options") or []):
        if not option.get("name"):
            found.append(errors.required(f"{path}.options[{index}]", "must not be empty"))
    return found


def _searches(path: str, searches: list[str]) -> Causes:
    found: Causes = []
    if len(searches) > 32:
        why = "must not have more than 32 search paths"
        found.append(errors.invalid_value(f"{path}.searches", searches, why))
    if len(" ".join(searches)) > 2048:
        why = "must not have more than 2048 characters (including spaces) in the search list"
        found.append(errors.invalid_value(f"{path}.searches", searches, why))
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            found += invalid_each(f"{path}.searches[{index}]", bare, formats.dns_search(bare))
    return found
