"""The environment of a container: values, references, services, and `$(VAR)` in its command line.

Order and precedence as in the kubelet's makeEnvironmentVariables: envFrom, then env (each may refer
to what came before), then service variables where nothing else has that name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from edgeorch.core import env_file
from edgeorch.lib import quantity
from edgeorch.model import views

Lookup = Callable[[str, str], views.DataObject | None]
"""Resource ("configmaps" or "secrets") and name, in the pod's namespace."""


Files = Callable[[str, str], str | None]
"""Volume and path: the text of a file in one of the pod's volumes, if it is there."""


class ConfigError(Exception):
    """A reference leads nowhere: the container waits with CreateContainerConfigError."""


class Facts(Struct, frozen=True):
    """What only the node knows."""

    node_name: str
    host_ip: str = ""
    pod_ip: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)


def variables(
    pod: views.Pod,
    container: views.Container,
    lookup: Lookup,
    facts: Facts,
    services: Mapping[str, str],
    files: Files = lambda volume, path: None,
) -> dict[str, str]:
    """Raises ConfigError."""
    found: dict[str, str] = {}
    for source in container.env_from:
        found.update(_all_of(source, lookup))
    scope = {**services, **found}
    for var in container.env:
        if var.value_from:
            if var.value_from.get("fileKeyRef"):
                value = _from_file(var.value_from["fileKeyRef"], files)
            else:
                value = _referred(pod, container, var.value_from, lookup, facts)
            if value is None:
                continue
        else:
            value = expand(var.value, scope)
        found[var.name] = scope[var.name] = value
    return {**{k: v for k, v in services.items() if k not in found}, **found}


def expand(text: str, scope: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` a dollar; what is unknown stays as it is."""
    if "$" not in text:
        return text
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        parts.append(text[at:dollar])
        follows = text[dollar + 1]
        end = text.find(")", dollar) if follows == "(" else -1
        if follows == "$":
            parts.append("$")
            at = dollar + 2
        elif end >= 0:
            name = text[dollar + 2 : end]
            parts.append(scope.get(name, f"$({name})"))
            at = end + 1
        else:
            parts.append(text[dollar : dollar + 2])
            at = dollar + 2
    parts.append(text[at:])
    return "".join(parts)


# --- references ---------------------------------------------------------------------------------


def _all_of(source: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for key, resource, singular in (
        ("configMapRef", "configmaps", "configmap"),
        ("secretRef", "secrets", "secret"),
    ):
        ref = source.get(key)
        if ref is None:
            continue
        name = ref.get("name", "")
        obj = lookup(resource, name)
        if obj is None:
            if ref.get("optional"):
                return {}
            raise ConfigError(f'{singular} "{name}" not found')
        return {f"{prefix}{k}": text(resource, v) for k, v in obj.data.items()}
    return {}


def _referred(
    pod: views.Pod,
    container: views.Container,
    source: Mapping[str, Any],
    lookup: Lookup,
    facts: Facts,
) -> str | None:
    """None where an optional reference leads nowhere."""
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"].get("fieldPath", ""), facts)
    if source.get("resourceFieldRef"):
        return resource_value(pod, source["resourceFieldRef"], facts, container)
    if source.get("configMapKeyRef"):
        return _key_of(pod, source["configMapKeyRef"], "configmaps", lookup)
    if source.get("secretKeyRef"):
        return _key_of(pod, source["secretKeyRef"], "secrets", lookup)
    raise ConfigError(f"cannot resolve {', '.join(source) or 'an empty valueFrom'}")


def _from_file(ref: Mapping[str, Any], files: Files) -> str | None:
    key, path = ref.get("key", ""), ref.get("path", "")
    text = files(ref.get("volumeName", ""), path)
    value = env_file.value_of(text, key) if text is not None else None
    if value is None and not ref.get("optional"):
        raise ConfigError(f'environment variable key "{key}" not found in file "{path}"')
    return value


def _key_of(pod: views.Pod, ref: Mapping[str, Any], resource: str, lookup: Lookup) -> str | None:
    name, key = ref.get("name", ""), ref.get("key", "")
    obj = lookup(resource, name)
    if obj is None:
        if ref.get("optional"):
            return None
        raise ConfigError(f'{resource[:-1]} "{name}" not found')
    if key not in obj.data:
        if ref.get("optional"):
            return None
        kind = "ConfigMap" if resource == "configmaps" else "Secret"
        where = f"{pod.metadata.namespace}/{name}"
        raise ConfigError(f"couldn't find key {key} in {kind} {where}")
    return text(resource, obj.data[key])


def text(resource: str, value: str) -> str:
    """A stored value as text; secrets rest in base64."""
    if resource != "secrets":
        return value
    try:
        return base64.b64decode(value).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise ConfigError(f"cannot decode a secret: {error}") from error


def field_value(pod: views.Pod, path: str, facts: Facts) -> str:
    """The downward API's field references."""
    meta = pod.metadata
    plain = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if path in plain:
        return plain[path]
    for name, entries in (
        ("metadata.labels", meta.labels),
        ("metadata.annotations", meta.annotations),
    ):
        if path == name:
            return "\n".join(f"{key}={_quoted(entries[key])}" for key in sorted(entries))
        if path.startswith(f"{name}['") and path.endswith("']"):
            return entries.get(path[len(name) + 2 : -2], "")
    raise ConfigError(f"unsupported fieldPath: {path}")


def _quoted(value: str) -> str:
    """As Go's %q, which is what the files of a downward volume hold."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    for char, name in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        escaped = escaped.replace(char, name)
    return f'"{escaped}"'


def resource_value(
    pod: views.Pod,
    ref: Mapping[str, Any],
    facts: Facts,
    container: views.Container | None = None,
) -> str:
    """`limits.cpu` and friends; without a limit, what the node has to give."""
    name = ref.get("containerName")
    if name:
        every = [*pod.spec.containers, *pod.spec.init_containers]
        container = next((c for c in every if c.name == name), None)
    if container is None:
        raise ConfigError(f"container {name} not found")
    which, _, resource = str(ref.get("resource", "")).partition(".")
    quantities = getattr(container.resources, which, None)
    if quantities is None:
        raise ConfigError(f"unsupported container resource : {ref.get('resource')}")
    amount = quantities.get(resource)
    if amount is None:
        amount = facts.allocatable.get(resource, "0") if which == "limits" else "0"
    divisor = quantity.parse(str(ref.get("divisor") or "1"))
    steps = divisor.nano or quantity.NANO
    return str(-(-quantity.parse(amount).nano // steps))


# --- services -----------------------------------------------------------------------------------


def service_variables(services: Iterable[views.Service]) -> dict[str, str]:
    """The variables by which Docker links and Kubernetes announce services."""
    found: dict[str, str] = {}
    for service in services:
        ip, ports = service.spec.cluster_ip, service.spec.ports
        if not ip or ip == "None" or not ports:
            continue
        name = _shouted(service.metadata.name)
        found[f"{name}_SERVICE_HOST"] = ip
        found[f"{name}_SERVICE_PORT"] = str(ports[0].port)
        for port in ports:
            if port.name:
                found[f"{name}_SERVICE_PORT_{_shouted(port.name)}"] = str(port.port)
        found.update(_links(name, ip, ports))
    return found


def _links(name: str, ip: str, ports: list[views.ServicePort]) -> dict[str, str]:
    found: dict[str, str] = {}
    host = f"[{ip}]" if ":" in ip else ip
    for index, port in enumerate(ports):
        protocol = port.protocol.lower()
        url = f"{protocol}://{host}:{port.port}"
        if index == 0:
            found[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port.port}_{port.protocol.upper()}"
        found[prefix] = url
        found[f"{prefix}_PROTO"] = protocol
        found[f"{prefix}_PORT"] = str(port.port)
        found[f"{prefix}_ADDR"] = ip
    return found


def _shouted(name: str) -> str:
    return name.upper().replace("-", "_")
