"""Where a request goes: from path and method to the handler. Nothing is decided here but that."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from edgeorch.api import (
    books,
    deletes,
    discovery,
    evictions,
    health,
    lists,
    paths,
    podlogs,
    responses,
    schemas,
    statuses,
    subresources,
    watches,
    writes,
)
from edgeorch.lib import metrics
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from aiohttp import web

    from edgeorch.api import auth, authorization, longrunning, ports
    from edgeorch.api.call import Call
    from edgeorch.lib import clock as clocks
    from edgeorch.model import schema
    from edgeorch.store.objects import Objects

OPEN = (*health.ENDPOINTS, "version")
"""First parts of the paths that need no credentials."""
_SAFE = ("GET", "HEAD")
_GZIP_METRICS = 4096
"""Bytes: figures are fetched every minute, perhaps over a radio link, and shrink to a tenth."""


class Routes:
    def __init__(
        self,
        objects: Objects,
        table: schema.Schema,
        *,
        clock: clocks.Clock,
        logs: ports.LogReader,
        streams: ports.Streams | None,
        meter: ports.Meter | None,
        bundles: ports.Bundles | None,
        authenticator: auth.Authenticator,
        authorizer: authorization.Authorizer,
        checks: health.Checks,
        measured: metrics.Registry,
        running: longrunning.LongRunning,
        version: str,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._logs = logs
        self._streams = streams
        self._meter = meter
        self._bundles = bundles
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._table = table
        self._checks = checks
        self._metrics = measured
        self._running = running
        self._version = version
        self._schemas = schemas.Schemas(objects.registry, table)
        self._books = booked = books.Books(table, clock)
        self._writes = writes.Writes(objects, table, booked, authorizer)
        self._deletes = deletes.Deletes(objects, table)
        self._subresources = subresources.Subresources(objects, table, booked)
        self._evictions = evictions.Evictions(objects, table)

    def resolve(self, call: Call) -> None:
        """Find out what `call` is about: its target and verb. Raises StatusError (404, 405)."""
        method = call.request.method
        if not _is_resource(call.parts):
            call.verb = method.lower()
            return
        target = call.target = paths.target(self._objects.registry, call.parts)
        call.verb = paths.verb(method, target, watch=call.flag("watch"))
        if target.subresource:
            allowed = paths.subresource_verbs(target.subresource)
        else:
            allowed = target.kind.verbs
        if call.verb not in allowed:
            raise statuses.method_not_allowed()

    async def dispatch(self, call: Call, *, local: bool) -> web.StreamResponse:
        """Answer. Raises StatusError."""
        if call.target is not None:
            return await self._resource(call, call.target)
        match call.parts:
            case [endpoint, *_] if endpoint in health.ENDPOINTS:
                return health.serve(call, self._checks, reasons=local)
            case _ if call.request.method not in _SAFE:
                raise statuses.method_not_allowed()
            case ["version"]:
                return await responses.obj(call, discovery.version(self._version))
            case ["metrics"]:
                body, media = self._metrics.render().encode(), metrics.CONTENT_TYPE
                return await responses.parts(call, [body], media=media, zip_from=_GZIP_METRICS)
            case []:
                return await responses.obj(call, discovery.roots(self._objects.registry))
            case ["api" | "apis", *_]:
                return await discovery.serve(call, self._objects.registry)
            case ["openapi", *rest]:
                return await self._schemas.serve(call, rest)
            case _:
                raise statuses.unknown_path()

    async def _resource(self, call: Call, target: paths.Target) -> web.StreamResponse:
        if target.subresource in paths.STREAMS:
            return await self._stream(call, target)
        if target.kind.computed or target.subresource in ("token", paths.PROXY, paths.MANIFESTS):
            return await self._computed(call, target)
        if target.kind.view_of:
            return await self._second_view(call, target)
        if call.verb in ("get", "list", "watch"):
            return await self._read(call, target)
        now = self._clock.now()
        match call.verb, target.subresource:
            case _, "scale":
                return await self._subresources.write_scale(call, target)
            case "create", "eviction":
                return await self._evictions.evict(call, target, now)
            case "create", "binding":
                return await self._subresources.bind(call, target, now)
            case "create", _:
                return await self._writes.create(call, target, now)
            case "update", _:
                return await self._writes.update(call, target, now)
            case "patch", _:
                return await self._writes.patch(call, target, now)
            case "delete", _:
                return await self._deletes.one(call, target, now)
            case _:
                return await self._deletes.collection(call, target, now)

    async def _proxied(self, call: Call, target: paths.Target) -> web.StreamResponse:
        if target.kind.resource == kinds.NODE.resource:
            from edgeorch.api import node_proxy  # rare

            return await node_proxy.serve(call, self._objects, target, self._meter)
        from edgeorch.api import proxying  # rare

        return await proxying.serve(call, self._objects, target, self._running)

    async def _computed(self, call: Call, target: paths.Target) -> web.StreamResponse:
        """What is not an object that is stored; rare, so the code is loaded when asked."""
        if target.subresource == paths.MANIFESTS:
            from edgeorch.api import bundles

            return await bundles.serve(call, self._objects, self._table, target, self._bundles)
        if target.subresource == paths.PROXY:
            return await self._proxied(call, target)
        now = self._clock.now()
        if call.verb == "create":
            from edgeorch.api import reviews

            asked = reviews.Reviews(
                self._objects, self._table, self._authenticator, self._authorizer
            )
            return await asked.serve(call, target, now)
        if target.kind is kinds.COMPONENT_STATUS:
            from edgeorch.api import component_statuses

            return await component_statuses.serve(call, self._checks, target, now)
        from edgeorch.api import resource_metrics

        return await resource_metrics.serve(call, self._objects, target, self._meter, now)

    async def _second_view(self, call: Call, target: paths.Target) -> web.StreamResponse:
        from edgeorch.api import second_views

        view = cast("Objects", second_views.SecondView(self._objects, target.kind))
        now = self._clock.now()
        match call.verb:
            case "get":
                return await lists.get(call, view, target, now)
            case "list":
                return await lists.listing(call, view, target, now)
            case "watch":
                return await watches.serve(call, view, target, self._clock, self._running)
            case "delete":
                return await deletes.Deletes(view, self._table).one(call, target, now)
            case "deletecollection":
                return await deletes.Deletes(view, self._table).collection(call, target, now)
            case verb:
                made = writes.Writes(view, self._table, self._books, self._authorizer)
                way = {"create": made.create, "update": made.update, "patch": made.patch}[verb]
                return await way(call, target, now)

    async def _stream(self, call: Call, target: paths.Target) -> web.StreamResponse:
        if self._streams is None:
            raise errors.unavailable("this server runs no containers")
        from edgeorch.api import streams  # rare, and a codec or two big

        return await streams.serve(call, self._objects, target, self._streams, self._running)

    async def _read(self, call: Call, target: paths.Target) -> web.StreamResponse:
        match call.verb, target.subresource:
            case "get", "log":
                return await podlogs.serve(call, self._objects, target, self._logs, self._running)
            case "get", "scale":
                return await self._subresources.get_scale(call, target)
            case "get", _:
                return await lists.get(call, self._objects, target, self._clock.now())
            case "list", _:
                return await lists.listing(call, self._objects, target, self._clock.now())
            case _:
                return await watches.serve(call, self._objects, target, self._clock, self._running)


def _is_resource(parts: list[str]) -> bool:
    match parts:
        case ["api", _, _, *_] | ["apis", _, _, _, *_]:
            return True
        case _:
            return False
