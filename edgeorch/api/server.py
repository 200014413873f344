"""The HTTP server: listeners, and what happens to every request before and after its handler.

Three doors to one set of routes. The network: TLS, bearer tokens or client certificates. A unix
socket of root's: no credentials, user system:admin. Loopback: health only, with reasons. Every
request passes the authorizer before anything is done for it. Every answer is what Kubernetes would
answer: failures are metav1.Status, and an exception nobody foresaw is logged here and told as
"Internal error occurred", never more.

Writes outlive their client: a connection that breaks does not cancel a change half-way. Watches and
followed logs end cleanly when the server closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct

from edgeorch.api import (
    audit,
    auth,
    authorization,
    bodies,
    doors,
    flow,
    health,
    impersonation,
    longrunning,
    measures,
    paths,
    responses,
    routes,
    statuses,
)
from edgeorch.api.call import Call
from edgeorch.lib import journal
from edgeorch.lib import metrics as metric
from edgeorch.model import errors

if TYPE_CHECKING:
    import pathlib
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from edgeorch.api import ports
    from edgeorch.lib import clock as clocks
    from edgeorch.model import schema
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

_KEEPALIVE = 120.0
_CLOSE_WITHIN = 3.0
"""Seconds that requests under way have when the server closes."""
_MAX_LINE = 32 * 1024
_ALLOTTED = 60.0
"""Seconds that a read may take, until its client has the answer."""
_READS = ("get", "list", "watch", "head")
_CHANGES = ("create", "update", "patch", "delete", "deletecollection")
_VERBS = frozenset(("", *_READS, *_CHANGES, "post", "put", "options"))
"""Those that are told apart in figures: anybody may send any word as a method."""
_LONG = ("log", paths.PROXY, *paths.STREAMS)
_AUDIT_ID_LENGTH = 64


class Listen(Struct, frozen=True):
    """Where to listen. `network` and `health` are (address, port); port 0 takes a free one."""

    network: Sequence[tuple[str, int]] = ()
    tls: ssl.SSLContext | None = None
    socket: pathlib.Path | None = None
    health: tuple[str, int] | None = None
    open_metrics: bool = False
    """Whether /metrics is shown at the health address too, to whoever reaches it."""


class Server:
    def __init__(
        self,
        objects: Objects,
        table: schema.Schema,
        listen: Listen,
        *,
        clock: clocks.Clock,
        authenticator: auth.Authenticator,
        logs: ports.LogReader,
        version: str,
        streams: ports.Streams | None = None,
        meter: ports.Meter | None = None,
        bundles: ports.Bundles | None = None,
        checks: health.Checks | None = None,
        metrics: metric.Registry | None = None,
        limits: flow.Limits | None = None,
    ) -> None:
        self._listen = listen
        self._authenticator = authenticator
        self._authorizer = authorization.Authorizer(objects)
        limits = limits or flow.Limits()
        self._flow = flow.Flow(limits)
        self._crowd = doors.Crowd()
        self._audit = audit.Audit(clock)
        self._big_bodies = asyncio.Semaphore(bodies.BIG_AT_ONCE)
        self._writing: set[asyncio.Task[web.StreamResponse]] = set()
        self._runners: list[web.ServerRunner] = []
        self._running = longrunning.LongRunning(
            limits.long_running,
            limits.long_per_client,
            self._stream_began,
            lambda: self._flow.refused.add("long-running"),
        )
        self.metrics = metrics or metric.Registry()
        self._count(self.metrics, objects)
        self._routes = routes.Routes(
            objects,
            table,
            clock=clock,
            logs=logs,
            streams=streams,
            meter=meter,
            bundles=bundles,
            authenticator=authenticator,
            authorizer=self._authorizer,
            checks=checks or health.Checks(),
            measured=self.metrics,
            running=self._running,
            version=version,
        )
        self.network: list[tuple[str, int]] = []
        """The addresses listened on, once started."""
        self.health: tuple[str, int] | None = None

    def _count(self, registry: metric.Registry, objects: Objects) -> None:
        self._requests = registry.counter(
            "apiserver_request_total",
            "Requests by verb, resource, subresource and HTTP code.",
            ("verb", "resource", "subresource", "code"),
        )
        self._took = metric.Histogram(
            "apiserver_request_duration_seconds",
            "Seconds that requests took, without watches, followed logs and streams.",
            metric.QUICK,
            ("verb", "resource"),
        )
        registry.add(self._took, self._flow.refused)
        registry.one(
            "apiserver_current_inflight_requests",
            "Requests being served, without watches and followed logs.",
            lambda: self._flow.in_flight,
        )
        registry.one(
            "edgeorch_api_connections", "Connections from the network.", lambda: len(self._crowd)
        )
        registry.one(
            "edgeorch_api_connections_turned_away_total",
            "Connections closed at once, as there were too many.",
            lambda: self._crowd.turned_away,
            kind="counter",
        )
        registry.collected(
            "apiserver_longrunning_requests",
            "Watches and followed logs by verb and resource.",
            lambda: {labels: float(n) for labels, n in self._running.by_kind().items()},
            ("verb", "resource"),
        )
        measures.count_objects(registry, objects)
        measures.measure_process(registry)

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises OSError when an address cannot be had."""
        try:
            if self._listen.health is not None:
                site = await self._runner(self._serve_health)
                self.health = await doors.open_at(site, self._listen.health, None, doors.Crowd())
            if self._listen.socket is not None:
                local = await self._runner(self._serve_local)
                await web.SockSite(local, _unix_socket(self._listen.socket)).start()
            if self._listen.network:
                network = await self._runner(self._serve_network)
                for address in self._listen.network:
                    bound = await doors.open_at(network, address, self._listen.tls, self._crowd)
                    self.network.append(bound)
        except BaseException:
            await self.close()
            raise

    async def _runner(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> web.ServerRunner:
        server = doors.Server(
            handler,
            handler_cancellation=True,
            access_log=None,
            logger=_protocol_log(),
            keepalive_timeout=_KEEPALIVE,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            read_bufsize=64 * 1024,
            # A digest is of the bytes as sent, and what is unpacked is unpacked within a limit.
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_WITHIN)
        await runner.setup()
        self._runners.append(runner)
        return runner

    def end_of(self, logins: set[str]) -> None:
        """End the watches and streams of users who may no longer come in."""
        self._running.end_of(logins)

    async def close(self) -> None:
        """Stop listening, end what runs, wait for writes under way."""
        self._running.close()
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        if self._writing:
            await asyncio.wait(self._writing)
        if self._listen.socket is not None:
            with contextlib.suppress(FileNotFoundError):
                self._listen.socket.unlink()

    # --- doors ----------------------------------------------------------------------------------

    async def _serve_network(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._serve(request, None)

    async def _serve_local(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._serve(request, auth.ADMIN)

    async def _serve_health(self, request: web.BaseRequest) -> web.StreamResponse:
        call = _call(request)
        try:
            call.parts = paths.segments(request.rel_url.raw_path)
            shown = (*health.ENDPOINTS, *(("metrics",) if self._listen.open_metrics else ()))
            if not call.parts or call.parts[0] not in shown:
                raise statuses.unknown_path()
            return await self._routes.dispatch(call, local=True)
        except errors.StatusError as error:
            return await responses.failure(call, error)

    # --- every request --------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest, user: auth.User | None) -> web.StreamResponse:
        call, began = _call(request), time.monotonic()
        try:
            with journal.about(audit_id=call.audit_id):
                response = await self._answer(call, user)
        except errors.StatusError as error:
            response = await responses.failure(call, error)
        except ConnectionError:
            raise
        except Exception as error:
            response = await responses.failure(call, _unforeseen(call, error))
        if not call.told:
            self._audit.tell(call, response.status)
        self._counted(call, response.status, time.monotonic() - began)
        return response

    def _counted(self, call: Call, code: int, seconds: float) -> None:
        target = call.target
        verb = call.verb if call.verb in _VERBS else "other"
        resource = target.kind.resource if target else ""
        self._requests.add(verb, resource, target.subresource if target else "", str(code))
        if not _goes_on(call):
            self._took.observe(seconds, verb, resource)

    async def _answer(self, call: Call, user: auth.User | None) -> web.StreamResponse:
        call.parts = paths.segments(call.request.rel_url.raw_path)
        call.user = user or self._identify(call)
        call.login, call.big_bodies = call.user, self._big_bodies
        if impersonation.is_asked(call):
            call.user = impersonation.user(call, self._authorizer)
        self._routes.resolve(call)
        self._authorizer.admit(call)
        target = call.target
        if _goes_on(call):
            return await self._routes.dispatch(call, local=False)
        with self._flow.hold(call):
            if target is None or call.verb in _READS:
                return await self._read(call)
            return await self._write(call)

    async def _read(self, call: Call) -> web.StreamResponse:
        timer = asyncio.timeout(_ALLOTTED)
        try:
            async with timer:
                return await self._routes.dispatch(call, local=False)
        except TimeoutError:
            if not timer.expired():
                raise
            if call.request.writer.output_size > 0:
                raise ConnectionResetError("the client takes too long to read") from None
            raise statuses.not_in_time() from None

    def _stream_began(self, call: Call) -> None:
        if audit.is_stream(call):
            call.told = True
            self._audit.tell(call, 101)

    async def _write(self, call: Call) -> web.StreamResponse:
        task = asyncio.create_task(self._change(call))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    async def _change(self, call: Call) -> web.StreamResponse:
        """The log hears of it also when the client has gone."""
        code = 500
        try:
            response = await self._routes.dispatch(call, local=False)
            code = response.status
        except errors.StatusError as error:
            code = error.code
            raise
        finally:
            call.told = True
            self._audit.tell(call, code)
        return response

    def _written(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has been told; nobody may be waiting any more

    def _identify(self, call: Call) -> auth.User:
        """Raises StatusError (401, 429)."""
        request = call.request
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        user = self._authenticator.identify(
            request.headers.get("Authorization", ""), certificate, request.remote or ""
        )
        if user is not None:
            return user
        if call.parts and call.parts[0] in routes.OPEN:
            return auth.ANONYMOUS
        raise errors.unauthorized()


def _goes_on(call: Call) -> bool:
    """Whether the answer takes as long as it likes."""
    target = call.target
    return call.verb == "watch" or (target is not None and target.subresource in _LONG)


def _call(request: web.BaseRequest) -> Call:
    query: dict[str, str] = {}
    for name, value in request.rel_url.query.items():
        query.setdefault(name, value)
    asked = request.headers.get("Audit-ID", "")
    usable = asked.isascii() and asked.isprintable() and 0 < len(asked) <= _AUDIT_ID_LENGTH
    return Call(request, auth.ANONYMOUS, [], query, asked if usable else str(uuid.uuid4()))


def _unforeseen(call: Call, error: Exception) -> errors.StatusError:
    """What the client hears of a bug. Raises ConnectionError when an answer has begun already."""
    if isinstance(error, RecursionError):
        return errors.bad_request("the object in the request is nested too deeply")
    log.error(
        "%s %s failed (audit id %s)",
        call.request.method,
        call.request.rel_url.raw_path,
        call.audit_id,
        exc_info=error,
        extra=journal.fields(audit_id=call.audit_id),
    )
    if call.request.writer.output_size > 0:
        raise ConnectionResetError("the answer had begun when it failed") from error
    return errors.internal(f"see the server's log for {call.audit_id}")


def _unix_socket(path: pathlib.Path) -> socket.socket:
    """A listener that is nobody else's at any moment; takes the place of one left behind."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(aside))
        finally:
            os.umask(before)
        aside.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _protocol_log() -> logging.Logger:
    """aiohttp's own log, without a traceback for every client that speaks no HTTP."""
    found = logging.getLogger("edgeorch.api.http")
    if not found.filters:
        found.addFilter(_is_ours)
    return found


def _is_ours(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Error handling request")
