"""The tables of Nodes, Namespaces, ConfigMaps, Secrets, ServiceAccounts and Events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgeorch.model.kinds import Object
from edgeorch.model.tables.ages import age, since
from edgeorch.model.tables.columns import AGE, NAME, Column, wide

NODE = (
    NAME,
    Column("Status", "Whether the node takes pods."),
    Column("Roles", "Roles the node is labelled with."),
    AGE,
    Column("Version", "Version of the node agent."),
    wide("Internal-IP", "Address inside the cluster."),
    wide("External-IP", "Address from outside."),
    wide("OS-Image", "Operating system."),
    wide("Kernel-Version", "Version of the kernel."),
    wide("Container-Runtime", "Container runtime and its version."),
)
NAMESPACE = (NAME, Column("Status", "Whether the namespace is active or going away."), AGE)
CONFIG_MAP = (NAME, Column("Data", "Number of keys."), AGE)
SECRET = (NAME, Column("Type", "What the secret is for."), Column("Data", "Number of keys."), AGE)
SERVICE_ACCOUNT = (NAME, Column("Secrets", "Number of secrets the account may use."), AGE)
EVENT = (
    Column("Last Seen", "Time since it was seen last."),
    Column("Type", "Normal or Warning."),
    Column("Reason", "What happened, in one word."),
    Column("Object", "What it happened to."),
    wide("Subobject", "Part of the object."),
    wide("Source", "Who reports it."),
    Column("Message", "What happened, for people."),
    wide("First Seen", "Time since it was seen first."),
    wide("Count", "How often it was seen."),
    Column("Name", "Name of the event.", format="name", priority=1),
)

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def node(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    states = {c.get("type"): c.get("status") for c in status.get("conditions") or []}
    words = ["Unknown"]
    if "Ready" in states:
        words = ["Ready" if states["Ready"] == "True" else "NotReady"]
    if (obj.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return [
        _name(obj),
        ",".join(words),
        ",".join(_roles(obj)) or "<none>",
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _roles(obj: Object) -> list[str]:
    labels = (obj.get("metadata") or {}).get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get("kubernetes.io/role", ""))
    return sorted(roles - {""})


def _address(status: Object, kind: str) -> str:
    for address in status.get("addresses") or []:
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return "<none>"


def namespace(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def config_map(obj: Object, now: datetime) -> list[Any]:
    keys = len(obj.get("data") or {}) + len(obj.get("binaryData") or {})
    return [_name(obj), keys, age(obj, now)]


def secret(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)]


def service_account(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("secrets") or []), age(obj, now)]


def event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or {}
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series is not None:
        last = since(series.get("lastObservedTime"), now)
        count = series.get("count") or 0
    target = str(about.get("kind", "")).lower()
    if about.get("name"):
        target += f"/{about['name']}"
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        _source(obj),
        str(obj.get("message", "")).strip(),
        first,
        count,
        _name(obj),
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component
