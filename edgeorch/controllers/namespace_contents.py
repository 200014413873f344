"""What every namespace has from the start: a ServiceAccount `default` and the CA certificate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from edgeorch.controllers import frame, index, world
from edgeorch.model import errors, kinds
from edgeorch.model.kinds import Object

_ACCOUNT, _CA = "default", "kube-root-ca.crt"
_DESCRIPTION = (
    "The certificate of the authority that signs this device's API server, for clients in pods."
)


class NamespaceContents(frame.Controller[str]):
    name: ClassVar[str] = "namespace-contents-controller"

    def __init__(self, shared: world.World, ca_certificate: str) -> None:
        super().__init__()
        self._objects = shared.objects
        self._ca_certificate = ca_certificate
        self.wake_on(shared.namespaces, lambda change: (change.key[1],))
        for kind, name in ((kinds.SERVICE_ACCOUNT, _ACCOUNT), (kinds.CONFIG_MAP, _CA)):
            self.wake_on(shared.dependents[kind.resource], _of_named(name))

    async def reconcile(self, key: str) -> float | None:
        stored = self._objects.find(kinds.NAMESPACE.resource, "", key)
        if stored is None or b'"deletionTimestamp"' in stored.raw:
            return None
        await self._ensure(kinds.SERVICE_ACCOUNT, key, _ACCOUNT, {})
        data = {"data": {"ca.crt": self._ca_certificate}}
        await self._ensure(kinds.CONFIG_MAP, key, _CA, data)
        return None

    async def _ensure(self, kind: kinds.Kind, namespace: str, name: str, body: Object) -> None:
        stored = self._objects.find(kind.resource, namespace, name)
        if stored is not None:
            await self._objects.update(kind.resource, namespace, name, lambda old: {**old, **body})
            return
        meta: Object = {"name": name, "namespace": namespace}
        if body:
            meta["annotations"] = {"kubernetes.io/description": _DESCRIPTION}
        made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **body}
        try:
            await self._objects.create(kind.resource, made)
        except errors.StatusError as error:
            if error.reason != "AlreadyExists" and not frame.is_namespace_ending(error):
                raise


def _of_named(name: str) -> Any:
    def keys(change: index.Change[Any]) -> Iterable[str]:
        if change.key[1] == name:
            yield change.key[0]

    return keys
