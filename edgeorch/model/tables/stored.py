"""The tables of kinds that a device keeps for those who ask: networking, RBAC, storage, limits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model import selectors
from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age
from edgeorch.model.tables.columns import AGE, CREATED, NAME, Column, wide

INGRESS = (
    NAME,
    Column("Class", "The class that serves it."),
    Column("Hosts", "Hosts that the rules name."),
    Column("Address", "Where it is reached."),
    Column("Ports", "Ports it listens on."),
    AGE,
)
INGRESS_CLASS = (
    NAME,
    Column("Controller", "Who serves the class."),
    Column("Parameters", "What configures it."),
    AGE,
)
NETWORK_POLICY = (NAME, Column("Pod-Selector", "Which pods it is about."), AGE)
LEASE = (NAME, Column("Holder", "Who holds it."), AGE)
PRIORITY_CLASS = (
    NAME,
    Column("Value", "The priority.", type="integer"),
    Column("Global-Default", "Whether pods have it that name none.", type="boolean"),
    AGE,
    Column("PreemptionPolicy", "Whether its pods push others out."),
)
COMPONENT = (
    NAME,
    Column("Status", "Whether it is well."),
    Column("Message", "What it says."),
    Column("Error", "Why it could not be asked."),
)
RUNTIME_CLASS = (NAME, Column("Handler", "The runtime's name."), AGE)
QUOTA = (
    NAME,
    Column("Request", "Used and hard amounts of requests."),
    Column("Limit", "Used and hard amounts of limits."),
    AGE,
)
PLAIN = (NAME, CREATED)
BINDING = (
    NAME,
    Column("Role", "What is granted."),
    AGE,
    wide("Users", "Users it is granted to."),
    wide("Groups", "Groups it is granted to."),
    wide("ServiceAccounts", "Service accounts it is granted to."),
)
STORAGE_CLASS = (
    NAME,
    Column("Provisioner", "Who makes volumes of the class."),
    Column("ReclaimPolicy", "What becomes of a released volume."),
    Column("VolumeBindingMode", "When volumes are bound."),
    Column("AllowVolumeExpansion", "Whether volumes may grow."),
    AGE,
)
VOLUME = (
    NAME,
    Column("Capacity", "What it holds."),
    Column("Access Modes", "How it may be mounted."),
    Column("Reclaim Policy", "What becomes of it when it is released."),
    Column("Status", "Phase of the volume."),
    Column("Claim", "Who has it."),
    Column("StorageClass", "The class it is of."),
    Column("VolumeAttributesClass", "The class of its attributes."),
    Column("Reason", "Why it is in this phase."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
)
TEMPLATE = (
    NAME,
    Column("Containers", "Names of the containers in the template."),
    Column("Images", "Images of the containers in the template."),
    Column("Pod Labels", "Labels of the template."),
)
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_MODES = {
    "ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}  # fmt: skip


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _spec(obj: Object) -> Object:
    found: Object = obj.get("spec") or {}
    return found


def ingress(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), obj.get("status") or {}
    hosts = [rule["host"] for rule in spec.get("rules") or [] if rule.get("host")]
    shown = ",".join(hosts[:3]) or "*"
    if len(hosts) > 3:
        shown += f" + {len(hosts) - 3} more..."
    points = (status.get("loadBalancer") or {}).get("ingress") or []
    address = ",".join(point.get("ip") or point.get("hostname") or "" for point in points)
    ports = "80, 443" if spec.get("tls") else "80"
    of = spec.get("ingressClassName") or "<none>"
    return [_name(obj), of, shown, address, ports, age(obj, now)]


def ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    ref = spec.get("parameters")
    shown = "<none>"
    if ref:
        group = f".{ref['apiGroup']}" if ref.get("apiGroup") else ""
        shown = f"{ref.get('kind', '')}{group}/{ref.get('name', '')}"
    return [_name(obj), spec.get("controller", ""), shown, age(obj, now)]


def network_policy(obj: Object, now: datetime) -> list[Any]:
    selected = selectors.format_selector(_spec(obj).get("podSelector") or {})
    return [_name(obj), selected, age(obj, now)]


def lease(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity") or "", age(obj, now)]


def priority_class(obj: Object, now: datetime) -> list[Any]:
    policy = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    default = bool(obj.get("globalDefault"))
    return [_name(obj), obj.get("value") or 0, default, age(obj, now), policy]


def runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("handler", ""), age(obj, now)]


def quota(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    told = {name: f"{name}: {used.get(name, 0)}/{hard[name]}" for name in sorted(hard)}
    limits = [text for name, text in told.items() if name.startswith("limits")]
    requests = [text for name, text in told.items() if not name.startswith("limits")]
    return [_name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def plain(obj: Object, now: datetime) -> list[Any]:
    del now
    return [_name(obj), (obj.get("metadata") or {}).get("creationTimestamp") or ""]


def binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        by_kind.setdefault(subject.get("kind", ""), []).append(name)
    subjects = [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [_name(obj), f"{role.get('kind')}/{role.get('name')}", age(obj, now), *subjects]


def storage_class(obj: Object, now: datetime) -> list[Any]:
    name = _name(obj)
    if ((obj.get("metadata") or {}).get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
        name += " (default)"
    return [
        name,
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "<unset>",
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), obj.get("status") or {}
    phase = status.get("phase") or ""
    claim = spec.get("claimRef")
    return [
        _name(obj),
        str((spec.get("capacity") or {}).get("storage") or ""),
        ",".join(_MODES.get(mode, mode) for mode in spec.get("accessModes") or []),
        spec.get("persistentVolumeReclaimPolicy") or "",
        "Terminating" if (obj.get("metadata") or {}).get("deletionTimestamp") else phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason") or "",
        age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def component(obj: Object, now: datetime) -> list[Any]:
    del now
    for condition in obj.get("conditions") or []:
        if condition.get("type") == "Healthy":
            words = {"True": "Healthy", "False": "Unhealthy"}
            status = words.get(condition.get("status", ""), "Unknown")
            return [_name(obj), status, condition.get("message", ""), condition.get("error", "")]
    return [_name(obj), "Unknown", "", ""]


def template(obj: Object, now: datetime) -> list[Any]:
    del now
    inner = obj.get("template") or {}
    containers = (inner.get("spec") or {}).get("containers") or []
    labels = (inner.get("metadata") or {}).get("labels") or {}
    return [
        _name(obj),
        ",".join(each.get("name", "") for each in containers),
        ",".join(each.get("image", "") for each in containers),
        ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>",
    ]
