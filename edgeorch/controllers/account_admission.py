"""ServiceAccount admission: every new Pod names an account that is there, and gets its token."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from edgeorch.core import service_accounts
from edgeorch.model import kinds, lifecycle
from edgeorch.store import watch

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object
    from edgeorch.store import objects as stores
    from edgeorch.store.stored import Stored

DEFAULT_WAIT = 1.5
"""Seconds to wait for the account `default`: a namespace gets it a moment after its birth."""


class AccountAdmission:
    def __init__(self, objects: stores.Objects) -> None:
        self._objects = objects

    async def admit(self, new: Object) -> None:
        if service_accounts.is_exempt(new):
            return
        account = await self._account(new)
        if account is None:
            raise service_accounts.not_found(new)
        letters = lifecycle.SUFFIX_ALPHABET
        suffix = "".join(secrets.choice(letters) for _ in range(lifecycle.SUFFIX_LENGTH))
        service_accounts.complete(new, account.decode(), suffix)

    async def _account(self, pod: Object) -> Stored | None:
        namespace, name = pod["metadata"].get("namespace", ""), service_accounts.name_of(pod)
        found = self._objects.find(kinds.SERVICE_ACCOUNT.resource, namespace, name)
        if found is None and name == service_accounts.DEFAULT:
            found = await self._appearing(namespace, name)
        return found

    async def _appearing(self, namespace: str, name: str) -> Stored | None:
        resource = kinds.SERVICE_ACCOUNT.resource
        try:
            async with asyncio.timeout(DEFAULT_WAIT), self._objects.watch(resource) as changes:
                while True:
                    found = self._objects.find(resource, namespace, name)
                    if found is not None:
                        return found
                    await anext(changes)
        except (TimeoutError, watch.Expired):
            return self._objects.find(resource, namespace, name)
