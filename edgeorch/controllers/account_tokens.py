"""Secrets of type service-account-token: filled with a token of their account, gone with it.

The token does not run out; it is good for as long as the Secret holds it. A Secret whose account is
not there, or is another by now, is deleted. As pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgeorch.controllers import frame, index, world
from edgeorch.model import kinds

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object

TYPE = "kubernetes.io/service-account-token"
_NAME = "kubernetes.io/service-account.name"
_UID = "kubernetes.io/service-account.uid"
_SECRETS, _ACCOUNTS = kinds.SECRET.resource, kinds.SERVICE_ACCOUNT.resource
_MARK = f'"{TYPE}"'.encode()


class Issuer(Protocol):
    def for_secret(self, account: Object, secret: Object) -> str:
        """A token of `account`, bound to `secret`."""


class AccountTokens(frame.Controller[index.Key]):
    name: ClassVar[str] = "serviceaccount-token-controller"
    workers: ClassVar[int] = 1

    def __init__(self, shared: world.World, issuer: Issuer, ca_certificate: str) -> None:
        super().__init__()
        self._objects = shared.objects
        self._issuer = issuer
        self._ca_certificate = ca_certificate
        self.wake_on(shared.dependents[_SECRETS], frame.itself)
        self.wake_on(shared.dependents[_ACCOUNTS], self._of_account)

    def _of_account(self, change: index.Change[Any]) -> Iterable[index.Key]:
        for stored in self._objects.list(_SECRETS, change.key[0]).items:
            if _MARK in stored.raw:
                yield stored.key

    async def reconcile(self, key: index.Key) -> float | None:
        stored = self._objects.find(_SECRETS, *key)
        if stored is None or _MARK not in stored.raw:
            return None
        secret = stored.decode()
        if secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
            return None
        account = self._account(secret)
        if account is None:
            options = {"preconditions": {"uid": secret["metadata"]["uid"]}}
            await frame.ignoring_absence(self._objects.delete(_SECRETS, *key, options))
            return None
        work = self._objects.update(_SECRETS, *key, lambda old: self._filled(old, account))
        await frame.ignoring_absence(work)
        return None

    def _account(self, secret: Object) -> Object | None:
        meta = secret["metadata"]
        notes = meta.get("annotations") or {}
        found = self._objects.find(_ACCOUNTS, meta["namespace"], notes.get(_NAME, ""))
        account = found.decode() if found is not None else None
        known = notes.get(_UID)
        if account is None or (known and known != account["metadata"]["uid"]):
            return None
        return account

    def _filled(self, secret: Object, account: Object) -> Object:
        meta, data = secret["metadata"], dict(secret.get("data") or {})
        data["ca.crt"] = _encoded(self._ca_certificate)
        data.setdefault("namespace", _encoded(meta["namespace"]))
        if not data.get("token"):
            data["token"] = _encoded(self._issuer.for_secret(account, secret))
        notes = {**(meta.get("annotations") or {}), _UID: account["metadata"]["uid"]}
        return {**secret, "metadata": {**meta, "annotations": notes}, "data": data}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
