"""/openapi/v2 and /openapi/v3: what `kubectl explain` and client-side checks read.

Documents are rendered by `model` when they are asked for, in a thread, and not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from edgeorch.api import discovery, negotiation, responses, statuses

if TYPE_CHECKING:
    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.model import schema
    from edgeorch.model.kinds import Registry

_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_PREFIX = "application/com.github.proto-openapi.spec.v2"


class Schemas:
    def __init__(self, registry: Registry, table: schema.Schema) -> None:
        self._registry = registry
        self._table = table

    async def serve(self, call: Call, rest: list[str]) -> web.StreamResponse:
        """`rest` is the path after /openapi. Raises StatusError (404)."""
        match rest:
            case ["v2"]:
                return await self._v2(call)
            case ["v3"]:
                from edgeorch.model import openapi

                document = openapi.index(self._registry, self._table)
                return await discovery.tagged(call, document, negotiation.JSON)
            case ["v3", "api", version]:
                return await self._v3(call, "", version)
            case ["v3", "apis", group, version]:
                return await self._v3(call, group, version)
            case _:
                raise statuses.unknown_path()

    async def _v2(self, call: Call) -> web.StreamResponse:
        from edgeorch.model import openapi_v2

        wanted = negotiation.clauses(call.header("Accept"))
        if wanted and wanted[0].media.startswith(_V2_PREFIX):
            render, media = openapi_v2.protobuf, _V2_PROTOBUF
        else:
            render, media = openapi_v2.json, negotiation.JSON
        body = await asyncio.to_thread(render, self._registry, self._table)
        tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
        return await responses.cached(call, body, tag, media)

    async def _v3(self, call: Call, group: str, version: str) -> web.StreamResponse:
        from edgeorch.model import openapi

        if version not in self._registry.groups().get(group, []):
            raise statuses.unknown_path()
        tag = f'"{openapi.digest(self._registry, self._table, group, version)}"'
        body = await asyncio.to_thread(
            openapi.document, self._registry, self._table, group, version
        )
        return await responses.cached(call, body, tag, negotiation.JSON)
