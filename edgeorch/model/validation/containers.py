"""Rules of containers: regular, init and ephemeral; names, images, ports, mounts."""

from __future__ import annotations

from msgspec import Struct, field

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import env, formats, probes, resources, security
from edgeorch.model.validation.meta import Causes, invalid_each, one_of

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGE = ("File", "FallbackToLogsOnError")
_PROPAGATION = ("Bidirectional", "HostToContainer", "None")
_RESTART = ("Always", "Never", "OnFailure")
_ACTIONS = ("Restart", "RestartAllContainers")
_OPERATORS = ("In", "NotIn")
_MAX_RULES, _MAX_CODES = 20, 255
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_INIT_ONLY = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = (
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
)


class Surroundings(Struct, frozen=True):
    """What a container's rules need to know of its pod."""

    volumes: dict[str, Object] = field(default_factory=dict)
    claims: set[str] = field(default_factory=set)
    grace: int | None = None
    system: str | None = None
    """`spec.os.name`."""
    restart_policy: str = "Always"
    host_users: bool = True


def regular(path: str, listed: list[Object], around: Surroundings) -> Causes:
    if not listed:
        return [errors.required(path)]
    found: Causes = []
    names: set[str] = set()
    for index, container in enumerate(listed):
        at = f"{path}[{index}]"
        found += _common(at, container, around)
        name = container.get("name") or ""
        if name in names:
            found.append(errors.duplicate(f"{at}.name", name))
        names.add(name)
        found += probes.container_probes(at, container, around.grace, around.system)
        found += _restarts(at, container)
    return found + _host_ports(path, listed)


def init(path: str, listed: list[Object], names: set[str], around: Surroundings) -> Causes:
    """`names` are those of the regular containers, which init containers may not repeat."""
    found: Causes = []
    taken = set(names)
    for index, container in enumerate(listed):
        at = f"{path}[{index}]"
        found += _common(at, container, around)
        policy = container.get("restartPolicy")
        found += _restarts(at, container)
        name = container.get("name") or ""
        if name in taken:
            found.append(errors.duplicate(f"{at}.name", name))
        elif name:
            taken.add(name)
        found += _host_ports(path, [container])
        if policy == "Always":
            found += probes.container_probes(at, container, around.grace, around.system)
            continue
        for member in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(member) is not None:
                found.append(errors.forbidden_field(f"{at}.{member}", _INIT_ONLY))
    return found


def ephemeral(path: str, listed: list[Object], names: set[str], around: Surroundings) -> Causes:
    """`names` are those of all other containers."""
    found: Causes = []
    taken = set(names)
    for index, container in enumerate(listed):
        at = f"{path}[{index}]"
        found += _common(at, container, around) + untrimmed_image(at, container)
        name = container.get("name") or ""
        if name in taken:
            found.append(errors.duplicate(f"{at}.name", name))
        taken.add(name)
        target = container.get("targetContainerName")
        if target and target not in names:
            found.append(errors.not_found_field(f"{at}.targetContainerName", target))
        why = "cannot be set for an Ephemeral Container"
        for member in _NOT_EPHEMERAL:
            if container.get(member):
                found.append(errors.forbidden_field(f"{at}.{member}", why))
        for number, mount in enumerate(container.get("volumeMounts") or []):
            for member in ("subPath", "subPathExpr"):
                if mount.get(member):
                    where = f"{at}.volumeMounts[{number}].{member}"
                    found.append(errors.forbidden_field(where, why))
    return found


def _restarts(path: str, container: Object) -> Causes:
    """A container's own restart policy and rules (KEP-5307, KEP-5532)."""
    found: Causes = []
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    if policy is None and rules:
        why = "must specify restartPolicy when restart rules are used"
        found.append(errors.required(f"{path}.restartPolicy", why))
    elif policy not in (None, *_RESTART):
        found.append(errors.not_supported(f"{path}.restartPolicy", policy, _RESTART))
    if len(rules) > _MAX_RULES:
        found.append(errors.too_many(f"{path}.restartPolicyRules", len(rules), _MAX_RULES))
    for index, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{index}]"
        if rule.get("action") not in _ACTIONS:
            found.append(errors.not_supported(f"{at}.action", rule.get("action"), _ACTIONS))
        codes = rule.get("exitCodes")
        if codes is None:
            found.append(errors.required(f"{at}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator"), codes.get("values") or []
        if operator not in _OPERATORS:
            found.append(errors.not_supported(f"{at}.exitCodes.operator", operator, _OPERATORS))
        if len(values) > _MAX_CODES:
            found.append(errors.too_many(f"{at}.exitCodes.values", len(values), _MAX_CODES))
    return found


def untrimmed_image(path: str, container: Object) -> Causes:
    image = container.get("image") or ""
    if image != image.strip():
        why = "must not have leading or trailing whitespace"
        return [errors.invalid_value(f"{path}.image", image, why)]
    return []


def _common(path: str, container: Object, around: Surroundings) -> Causes:
    found: Causes = []
    name = container.get("name") or ""
    if not name:
        found.append(errors.required(f"{path}.name"))
    else:
        found += invalid_each(f"{path}.name", name, formats.dns1123_label(name))
    if not container.get("image"):
        found.append(errors.required(f"{path}.image"))
    policy = container.get("terminationMessagePolicy")
    found += one_of(f"{path}.terminationMessagePolicy", policy, _MESSAGE)
    found += _ports(f"{path}.ports", container.get("ports") or [])
    found += env.variables(f"{path}.env", container.get("env") or [])
    found += env.sources(f"{path}.envFrom", container.get("envFrom") or [])
    found += _mounts(f"{path}.volumeMounts", container, around)
    found += _devices(f"{path}.volumeDevices", container, around)
    found += one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), _PULL)
    found += resources.requirements(
        f"{path}.resources", container.get("resources") or {}, around.claims
    )
    found += _resize(f"{path}.resizePolicy", container.get("resizePolicy") or [], around)
    context = container.get("securityContext")
    return found + security.container(f"{path}.securityContext", context, around.host_users)


def _ports(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    names: set[str] = set()
    for index, port in enumerate(listed):
        at = f"{path}[{index}]"
        name = port.get("name") or ""
        if name:
            reasons = formats.port_name(name)
            found += invalid_each(f"{at}.name", name, reasons)
            if not reasons and name in names:
                found.append(errors.duplicate(f"{at}.name", name))
            names.add(name)
        number = port.get("containerPort") or 0
        if number == 0:
            found.append(errors.required(f"{at}.containerPort"))
        else:
            found += invalid_each(f"{at}.containerPort", number, formats.port(number))
        host = port.get("hostPort") or 0
        if host:
            found += invalid_each(f"{at}.hostPort", host, formats.port(host))
        found += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
    return found


def _host_ports(path: str, listed: list[Object]) -> Causes:
    found: Causes = []
    taken: set[str] = set()
    for index, container in enumerate(listed):
        for number, port in enumerate(container.get("ports") or []):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if key in taken:
                where = f"{path}[{index}].ports[{number}].hostPort"
                found.append(errors.duplicate(where, key))
            taken.add(key)
    return found


def _mounts(path: str, container: Object, around: Surroundings) -> Causes:
    found: Causes = []
    devices = container.get("volumeDevices") or []
    device_names = {device.get("name") for device in devices}
    device_paths = {device.get("devicePath") for device in devices}
    points: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        at = f"{path}[{index}]"
        name, point = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            found.append(errors.required(f"{at}.name"))
        if name not in around.volumes:
            found.append(errors.not_found_field(f"{at}.name", name))
        if not point:
            found.append(errors.required(f"{at}.mountPath"))
        if point in points:
            found.append(errors.invalid_value(f"{at}.mountPath", point, "must be unique"))
        points.add(point)
        if name in device_names:
            why = "must not already exist in volumeDevices"
            found.append(errors.invalid_value(f"{at}.name", name, why))
        if point in device_paths:
            why = "must not already exist as a path in volumeDevices"
            found.append(errors.invalid_value(f"{at}.mountPath", point, why))
        found += _sub_paths(path, at, mount) + _propagation(path, mount, container)
    return found


def _sub_paths(path: str, at: str, mount: Object) -> Causes:
    """Descending-path errors name the list, not the item, as in Kubernetes."""
    found: Causes = []
    sub, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    if sub:
        found += invalid_each(f"{path}.subPath", sub, formats.descending_path(sub))
    if expression:
        if sub:
            why = "subPathExpr and subPath are mutually exclusive"
            found.append(errors.invalid_value(f"{at}.subPathExpr", expression, why))
        reasons = formats.descending_path(expression)
        found += invalid_each(f"{path}.subPathExpr", expression, reasons)
    return found


def _propagation(path: str, mount: Object, container: Object) -> Causes:
    found: Causes = []
    mode = mount.get("mountPropagation")
    if mode is not None:
        at = f"{path}.mountPropagation"
        if mode not in _PROPAGATION:
            found.append(errors.not_supported(at, mode, _PROPAGATION))
        privileged = (container.get("securityContext") or {}).get("privileged")
        if mode == "Bidirectional" and not privileged:
            why = "Bidirectional mount propagation is available only to privileged containers"
            found.append(errors.forbidden_field(at, why))
    recursive = mount.get("recursiveReadOnly")
    at = f"{path}.recursiveReadOnly"
    if recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            why = "may only be specified when readOnly is true"
            found.append(errors.forbidden_field(at, why))
        if mode not in (None, "None"):
            why = "may only be specified when mountPropagation is None or not specified"
            found.append(errors.forbidden_field(at, why))
    elif recursive not in (None, "Disabled"):
        found.append(errors.not_supported(at, recursive, _RECURSIVE))
    return found


def _devices(path: str, container: Object, around: Surroundings) -> Causes:
    found: Causes = []
    mounts = container.get("volumeMounts") or []
    mount_names = {mount.get("name") for mount in mounts}
    mount_points = {mount.get("mountPath") for mount in mounts}
    names: set[str] = set()
    places: set[str] = set()
    for index, device in enumerate(container.get("volumeDevices") or []):
        at = f"{path}[{index}]"
        name, place = device.get("name") or "", device.get("devicePath") or ""
        volume = around.volumes.get(name)
        if not name:
            found.append(errors.required(f"{at}.name"))
        if name in names:
            found.append(errors.invalid_value(f"{at}.name", name, "must be unique"))
        if volume is None:
            found.append(errors.not_found_field(f"{at}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            why = (
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for"
                " block mode"
            )
            found.append(errors.invalid_value(f"{at}.name", name, why))
        if not place:
            found.append(errors.required(f"{at}.devicePath"))
        if place in places:
            found.append(errors.invalid_value(f"{at}.devicePath", place, "must be unique"))
        if formats.no_backsteps(place):
            why = "can not contain backsteps ('..')"
            found.append(errors.invalid_value(f"{at}.devicePath", place, why))
        else:
            places.add(place)
        if name in mount_names:
            why = "must not already exist in volumeMounts"
            found.append(errors.invalid_value(f"{at}.name", name, why))
        if place in mount_points:
            why = "must not already exist as a path in volumeMounts"
            found.append(errors.invalid_value(f"{at}.devicePath", place, why))
        if name:
            names.add(name)
    return found


def _resize(path: str, listed: list[Object], around: Surroundings) -> Causes:
    found: Causes = []
    seen: set[str] = set()
    for index, rule in enumerate(listed):
        name, policy = rule.get("resourceName") or "", rule.get("restartPolicy") or ""
        if name in seen:
            found.append(errors.duplicate(f"{path}[{index}]", name))
        seen.add(name)
        found += one_of(path, name, ("cpu", "memory"))
        found += one_of(path, policy, ("NotRequired", "RestartContainer"))
        if around.restart_policy == "Never" and policy != "NotRequired":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            found.append(errors.invalid_value(path, policy, why))
    return found
