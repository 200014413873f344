"""What a container's record carries about itself, so that it can be adopted by the next process.

Labels are the memory of the node agent: which pod and attempt this is, when it began on the clock
of which boot, how it and the attempt before it ended. `encode` and `decode` are each other's
inverse; a label that does not decode is treated as absent.

containerd bounds a label: key and value together up to 4096 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from msgspec import Struct, field

from edgeorch.core.observed import Container, Exit, Kind, State
from edgeorch.lib import json

PREFIX = "edgeorch.io/"
POD_UID = PREFIX + "pod-uid"
POD_NAME = PREFIX + "pod-name"
POD_NAMESPACE = PREFIX + "pod-namespace"
_NAME = PREFIX + "container-name"
_KIND = PREFIX + "container-kind"
_ATTEMPT = PREFIX + "attempt"
_HASH = PREFIX + "spec-hash"
_SANDBOX = PREFIX + "sandbox"
_BOOT = PREFIX + "boot"
_IMAGE = PREFIX + "image"
_IMAGE_ID = PREFIX + "image-id"
_CRASHES = PREFIX + "crashes"
_ACCEPTED = PREFIX + "accepted"
_CREATED = PREFIX + "created"
STARTED = PREFIX + "started"
ENDED = PREFIX + "ended"
_LAST = PREFIX + "last"
STOP_SIGNAL = PREFIX + "stop-signal"
CGROUP = PREFIX + "cgroup"
_USER = PREFIX + "user"
DEVICES = PREFIX + "devices"
_DEVICE_NODES = PREFIX + "device-nodes"

_VALUE_LIMIT = 4096 - 64
KILLED = 137
"""Exit code of what SIGKILL ended."""
LOST_CODE, LOST_REASON = 255, "Unknown"
"""Of a container whose task is gone without a trace, as containerd's CRI plugin has it."""


class Birth(Struct, frozen=True):
    """What is known when a container is made."""

    pod_uid: str
    pod_name: str
    pod_namespace: str
    name: str
    kind: Kind
    attempt: int
    spec_hash: str
    sandbox: str
    boot: str
    image: str
    image_id: str
    crashes: int
    accepted_at: float
    created_at: float
    stop_signal: str = ""
    cgroup: str = ""
    last: Exit | None = None
    user: tuple[int, int, tuple[int, ...]] = (0, 0, ())
    devices: Mapping[str, list[str]] = field(default_factory=dict)
    """Units that it was given, by name."""
    device_nodes: str = ""
    """And which nodes those were (`devices.identity`)."""


def container_id(pod_uid: str, name: str, attempt: int) -> str:
    """64 hexadecimal digits: what log shippers look for in the names of /var/log/containers."""
    return hashlib.sha256(f"{pod_uid}/{name}/{attempt}".encode()).hexdigest()


def encode(birth: Birth) -> dict[str, str]:
    found = {
        POD_UID: birth.pod_uid,
        POD_NAME: birth.pod_name,
        POD_NAMESPACE: birth.pod_namespace,
        _NAME: birth.name,
        _KIND: birth.kind.value,
        _ATTEMPT: str(birth.attempt),
        _HASH: birth.spec_hash,
        _SANDBOX: birth.sandbox,
        _BOOT: birth.boot,
        _IMAGE: birth.image,
        _IMAGE_ID: birth.image_id,
        _CRASHES: str(birth.crashes),
        _ACCEPTED: f"{birth.accepted_at:.3f}",
        _CREATED: f"{birth.created_at:.3f}",
        STOP_SIGNAL: birth.stop_signal,
        CGROUP: birth.cgroup,
        _USER: _encode_user(birth.user),
        _DEVICE_NODES: birth.device_nodes,
    }
    if birth.devices:
        found[DEVICES] = json.encode(dict(birth.devices)).decode()
    if birth.last is not None:
        found[_LAST] = encode_exit(birth.last)
    return {key: value for key, value in found.items() if value}


def devices(text: str) -> dict[str, list[str]]:
    """What the label DEVICES says."""
    try:
        found = json.decode(text.encode()) if text else {}
    except json.DecodeError:
        return {}
    return {str(name): [str(each) for each in ids] for name, ids in found.items()}


def encode_started(at: float, shown: str) -> str:
    return json.encode({"at": at, "shown": shown}).decode()


def encode_exit(ended: Exit) -> str:
    """Bounded: the message gives way."""
    message = ended.message
    while True:
        text = json.encode(
            {
                "code": ended.code,
                "reason": ended.reason,
                "message": message,
                "started": ended.started,
                "finished": ended.finished,
                "at": ended.at,
                "id": ended.container_id,
            }
        )
        if len(text) <= _VALUE_LIMIT or not message:
            return text.decode()
        message = message[: len(message) - max(1, (len(text) - _VALUE_LIMIT) // 4)]


def accepted_at(labels: Mapping[str, str], boot: str) -> float | None:
    return _number(labels.get(_ACCEPTED)) if labels.get(_BOOT) == boot else None


def is_ours(labels: Mapping[str, str]) -> bool:
    return bool(labels.get(POD_UID) and labels.get(_NAME))


def decode(record_id: str, labels: Mapping[str, str], boot: str) -> Container:
    """The container as its labels tell it: never running, the task decides that."""
    this_boot = labels.get(_BOOT) == boot
    started = _object(labels.get(STARTED))
    ended = decode_exit(labels.get(ENDED), this_boot=this_boot)
    started_at = _number(started.get("at")) if this_boot else None
    return Container(
        id=record_id,
        name=labels.get(_NAME, ""),
        kind=_kind(labels.get(_KIND)),
        attempt=int(_number(labels.get(_ATTEMPT)) or 0),
        state=State.CREATED if ended is None else State.ENDED,
        spec_hash=labels.get(_HASH, ""),
        sandbox=labels.get(_SANDBOX, ""),
        image=labels.get(_IMAGE, ""),
        image_id=labels.get(_IMAGE_ID, ""),
        crashes=int(_number(labels.get(_CRASHES)) or 0),
        created_at=_number(labels.get(_CREATED)) if this_boot else None,
        started_at=started_at,
        started=str(started.get("shown", "")),
        exit=ended,
        settled=ended is not None,
        # Its times are only shown: back-off counts from the latest end.
        last=decode_exit(labels.get(_LAST), this_boot=False),
        user=_user(labels.get(_USER)),
        device_nodes=labels.get(_DEVICE_NODES, ""),
    )


def _encode_user(user: tuple[int, int, tuple[int, ...]]) -> str:
    uid, gid, groups = user
    return json.encode([uid, gid, *groups]).decode()


def _user(text: str | None) -> tuple[int, int, tuple[int, ...]] | None:
    try:
        uid, gid, *groups = json.decode(text or "")
    except (ValueError, TypeError):
        return None
    return uid, gid, tuple(groups)


def has_started(labels: Mapping[str, str]) -> bool:
    return STARTED in labels


def decode_exit(text: str | None, *, this_boot: bool) -> Exit | None:
    found = _object(text)
    if not found:
        return None
    return Exit(
        code=int(_number(found.get("code")) or 0),
        reason=str(found.get("reason", "")),
        message=str(found.get("message", "")),
        started=str(found.get("started", "")),
        finished=str(found.get("finished", "")),
        at=_number(found.get("at")) if this_boot else None,
        container_id=str(found.get("id", "")),
    )


def _object(text: str | None) -> dict[str, object]:
    if not text:
        return {}
    try:
        found = json.decode(text)
    except json.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _kind(text: str | None) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        return Kind.MAIN
