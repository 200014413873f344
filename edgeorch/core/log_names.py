"""Names of a container's log and of the link under which log shippers look for it."""

from __future__ import annotations

_LONGEST = 255
_SUFFIX = ".log"


def folder(namespace: str, pod: str, uid: str) -> str:
    """Of all logs of a pod, below /var/log/pods."""
    return f"{namespace}_{pod}_{uid}"


def link(namespace: str, pod: str, container: str, container_id: str) -> str:
    """In /var/log/containers; cut where file systems end, as the kubelet does."""
    name = f"{pod}_{namespace}_{container}-{container_id}"
    return name[: _LONGEST - len(_SUFFIX)] + _SUFFIX
