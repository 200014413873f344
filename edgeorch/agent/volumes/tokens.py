"""Tokens of service accounts in projected volumes: got once, renewed long before they run out.

Kept in memory only: after a restart a pod gets a new one, and the old one stays good as long as it
would have. What is due shows in `version`, so that the volume is set up again; `wake_at` says when.
Rules as the kubelet's token manager and its projected volumes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.agent.volumes.atomic import File
from edgeorch.agent.volumes.errors import VolumeError
from edgeorch.model import errors, views

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.lib import clock as clocks

_HOUR = 3600
_LONGEST = 24 * 3600.0
_JITTER = 10.0
_AGAIN = 60.0
"""Seconds after which a token that could not be renewed is asked for again."""

Key = tuple[str, str, int]
"""Volume, audience and seconds of life asked for."""


class _Held(Struct):
    text: str
    renew_at: float
    """On the clock of decisions."""
    serial: int


class Tokens:
    def __init__(self, issuer: ports.Tokens | None, clock: clocks.Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._held: dict[str, dict[Key, _Held]] = {}

    def file(self, pod: views.Pod, volume: str, source: Mapping[str, Any], mode: int) -> File:
        """Raises VolumeError."""
        security = pod.spec.security_context or views.PodSecurity()
        owner = only_user(pod)
        if owner is not None or security.fs_group is not None:
            mode = 0o600
        return File(self._token(pod, _key(volume, source)).encode(), mode, owner)

    def version(self, pod: views.Pod) -> list[int]:
        """Changes when a token has to be renewed; to what it is once it has been."""
        now, held = self._clock.monotonic(), self._held.get(pod.metadata.uid, {})
        found = []
        for key in _wanted(pod):
            token = held.get(key)
            found.append(1 if token is None else token.serial + (now >= token.renew_at))
        return found

    def wake_at(self, uid: str) -> float | None:
        """When the first of a pod's tokens is due."""
        return min((token.renew_at for token in self._held.get(uid, {}).values()), default=None)

    def forget(self, uid: str) -> None:
        self._held.pop(uid, None)

    def _token(self, pod: views.Pod, key: Key) -> str:
        held = self._held.setdefault(pod.metadata.uid, {})
        now, token = self._clock.monotonic(), held.get(key)
        if token is not None and now < token.renew_at:
            return token.text
        _, audience, seconds = key
        try:
            if self._issuer is None:
                raise VolumeError("failed to fetch token: nobody here issues tokens")
            text = self._issuer.for_pod(pod, audience, seconds)
        except errors.StatusError as error:
            if token is None:
                raise VolumeError(f"failed to fetch token: {error}") from error
            token.renew_at = now + _AGAIN
            return token.text
        renew_at = due_at(now, seconds, random.random())  # noqa: S311 -- spreads the load only
        held[key] = _Held(text, renew_at, token.serial + 1 if token else 1)
        return text


def due_at(issued: float, seconds: float, jitter: float) -> float:
    """When a token is renewed: at four fifths of its life or after a day; `jitter` is in 0..1."""
    return issued + min(seconds * 0.8, _LONGEST) - jitter * _JITTER


def only_user(pod: views.Pod) -> int | None:
    """The uid that all of the pod's containers are told to run as; None without a common one."""
    of_pod = pod.spec.security_context or views.PodSecurity()
    users = set()
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.security_context or views.ContainerSecurity()
        users.add(of_pod.run_as_user if own.run_as_user is None else own.run_as_user)
    return users.pop() if len(users) == 1 else None


def _key(volume: str, source: Mapping[str, Any]) -> Key:
    return volume, source.get("audience") or "", int(source.get("expirationSeconds") or _HOUR)


def _wanted(pod: views.Pod) -> Iterator[Key]:
    for volume in pod.spec.volumes:
        for part in (volume.get("projected") or {}).get("sources") or []:
            if part.get("serviceAccountToken"):
                yield _key(volume["name"], part["serviceAccountToken"])
