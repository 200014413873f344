"""HTTP to pods and Services by way of the API: pods/NAME/proxy/PATH, services/NAME/proxy/PATH.

NAME may carry a scheme and a port, as SCHEME:NAME:PORT or NAME:PORT. Bytes are passed on as they
come, both ways; nothing of them is kept. Connections that are upgraded are not passed on, and
links inside of pages stay as they are.

Source: pkg/registry/core/{pod,service}, apimachinery/pkg/util/proxy.
"""

from __future__ import annotations

import ipaddress
import random
import re
from typing import TYPE_CHECKING

import aiohttp
import yarl
from aiohttp import web
from msgspec import Struct

from edgeorch.model import errors, kinds, views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDict

    from edgeorch.api import longrunning
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.store.objects import Objects

_UP_TO_PROXY = re.compile(r"(?:/+[^/]+){7}")
_LASTS = 3600.0
_CONNECT_WITHIN = 30.0
_PIECE = 64 * 1024
_OF_THE_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_NOT_THE_PODS = frozenset({"authorization", "host"})
_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add of its own."""


class Where(Struct, frozen=True):
    """What a request is passed on to."""

    scheme: str
    address: str
    port: int


async def serve(
    call: Call, objects: Objects, target: Target, running: longrunning.LongRunning
) -> web.StreamResponse:
    """Raises StatusError (400, 404, 429, 503)."""
    of_pods = target.kind.resource == kinds.POD.resource
    where = _of_pod(objects, target) if of_pods else _of_service(objects, target)
    _check_address(where.address)
    if call.header("Upgrade"):
        raise errors.bad_request("connections that are upgraded are not passed on by this server")
    raw = call.request.rel_url.raw_path
    match = _UP_TO_PROXY.match(raw)
    prefix = match[0] if match else raw
    tail, query = raw[len(prefix) :], call.request.rel_url.raw_query_string
    if not tail and call.request.method == "GET":
        location = f"{prefix}/?{query}" if query else f"{prefix}/"
        return web.Response(status=301, headers={"Location": location})
    host = f"[{where.address}]" if ":" in where.address else where.address
    asked = f"{where.scheme}://{host}:{where.port}{tail or '/'}" + (f"?{query}" if query else "")
    with running.hold(call, _LASTS) as deadline:
        answered = await deadline.within(_passed_on(call, yarl.URL(asked, encoded=True), prefix))
    if answered is None:
        raise ConnectionResetError("it took too long")
    return answered


async def _passed_on(call: Call, url: yarl.URL, prefix: str) -> web.StreamResponse:
    request = call.request
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_WITHIN)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        try:
            answer = await session.request(
                request.method,
                url,
                data=request.content if request.can_read_body else None,
                headers=_asking(request),
                allow_redirects=False,
                ssl=False,
                skip_auto_headers=_OWN_HEADERS,
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise errors.unavailable(_told(url, error)) from error
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.update(_passable(answer.headers))
            if location := answer.headers.get("Location"):
                response.headers["Location"] = _moved(location, url, prefix)
            await response.prepare(request)
            try:
                async for piece in answer.content.iter_chunked(_PIECE):
                    await response.write(piece)
            except aiohttp.ClientError as error:
                raise ConnectionResetError("the pod broke off its answer") from error
            await response.write_eof()
            return response


def _passable(headers: CIMultiDict[str] | Mapping[str, str]) -> list[tuple[str, str]]:
    named = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    return [
        (name, value)
        for name, value in headers.items()
        if name.lower() not in _OF_THE_CONNECTION | named
    ]


def _asking(request: web.BaseRequest) -> list[tuple[str, str]]:
    """Who asks has shown to us who they are: that is none of the pod's business."""
    kept = [
        (name, value)
        for name, value in _passable(request.headers)
        if name.lower() not in _NOT_THE_PODS and not name.lower().startswith("impersonate-")
    ]
    if request.remote:
        kept.append(("X-Forwarded-For", request.remote))
    kept.append(("X-Forwarded-Host", request.host))
    kept.append(("X-Forwarded-Uri", request.rel_url.raw_path))
    return kept


def _moved(location: str, url: yarl.URL, prefix: str) -> str:
    """A place on the same server is reached the same way."""
    if location.startswith("/") and not location.startswith("//"):
        return prefix + location
    origin = str(url.origin())
    return prefix + location[len(origin) :] if location.startswith(f"{origin}/") else location


def _told(url: yarl.URL, error: BaseException) -> str:
    why = str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = (error.strerror or str(error.os_error)).lower()
        why = f"dial tcp {url.host}:{url.port}: connect: {reason}"
    elif isinstance(error, TimeoutError):
        why = f"dial tcp {url.host}:{url.port}: i/o timeout"
    return f"error trying to reach service: {why}"


# --- where it goes ------------------------------------------------------------------------------


def _split(target: Target) -> tuple[str, str, str]:
    """Scheme, name, port of SCHEME:NAME:PORT, NAME:PORT or NAME. Raises StatusError (400)."""
    match target.name.split(":"):
        case [name]:
            return "http", name, ""
        case [name, port]:
            return "http", name, port
        case ["" | "http" | "https" as scheme, name, port]:
            return scheme or "http", name, port
        case _:
            raise errors.bad_request(f'invalid {target.kind.singular} request "{target.name}"')


def _number(port: str) -> int:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise errors.bad_request(f'invalid port "{port}"')
    return int(port)


def _of_pod(objects: Objects, target: Target) -> Where:
    scheme, name, port = _split(target)
    pod = objects.get(kinds.POD.resource, target.namespace or "", name).view(views.Pod)
    if not port:
        ports = (each.container_port for c in pod.spec.containers for each in c.ports)
        port = str(next(ports, 443 if scheme == "https" else 80))
    return Where(scheme, pod.status.pod_ip, _number(port))


def _of_service(objects: Objects, target: Target) -> Where:
    scheme, name, port = _split(target)
    namespace = target.namespace or ""
    service = objects.get(kinds.SERVICE.resource, namespace, name).view(views.Service)
    if port.isdigit():
        named = [each.name for each in service.spec.ports if str(each.port) == port]
        if not named:
            raise errors.unavailable(f'no service port {port} found for service "{name}"')
        port = named[0]
    elif not port and len(service.spec.ports) == 1:
        port = service.spec.ports[0].name
    found = [
        Where(scheme, endpoint.addresses[0], each.port)
        for stored in objects.list(kinds.ENDPOINT_SLICE.resource, namespace).items
        for piece in (stored.view(views.EndpointSlice),)
        if piece.metadata.labels.get("kubernetes.io/service-name") == name
        for each in piece.ports or ()
        if each.name == port and each.port and each.protocol == "TCP"
        for endpoint in piece.endpoints
        if endpoint.addresses and endpoint.conditions.ready is not False
    ]
    if not found:
        raise errors.unavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)  # noqa: S311


def _check_address(address: str) -> None:
    """No way to what listens on the device for itself. Raises StatusError (400)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise errors.bad_request("address not allowed") from None
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        raise errors.bad_request("address not allowed")
