"""GET pods/NAME/log: which container, which options, then its lines as they come.

What a container's log can be, given the pod's status, is decided here in the kubelet's words
(pkg/registry/core/pod/strategy.go, pkg/kubelet/kubelet_pods.go); the lines come through a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct

from edgeorch.api import responses
from edgeorch.lib import clock as clocks
from edgeorch.model import errors

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator

    from edgeorch.api import longrunning, ports, sockets
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

_LISTS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_FOLLOWED = 4 * 3600.0
"""Seconds after which a followed log ends, as the kubelet's streaming connection does."""
_ALL = "All"
_STREAMS = {_ALL: "", "Stderr": "stderr", "Stdout": "stdout"}
"""As clients name them (KEP-3288) → as log entries do."""
_PULLS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class Options(Struct, frozen=True):
    follow: bool
    previous: bool
    since_seconds: int | None
    since_time: datetime.datetime | None
    timestamps: bool
    tail_lines: int | None
    limit_bytes: int | None
    stream: str = _ALL


def options(call: Call, pod_name: str) -> Options:
    """Raises StatusError (400, 422)."""
    found = Options(
        follow=call.flag("follow"),
        previous=call.flag("previous"),
        since_seconds=call.integer("sinceSeconds"),
        since_time=_time(call.query.get("sinceTime", "")),
        timestamps=call.flag("timestamps"),
        tail_lines=call.integer("tailLines"),
        limit_bytes=call.integer("limitBytes"),
        stream=call.query.get("stream", _ALL),
    )
    if causes := _causes(found):
        raise errors.invalid("PodLogOptions", "", pod_name, causes)
    return found


def _causes(asked: Options) -> list[errors.Cause]:
    causes = []
    if asked.tail_lines is not None and asked.tail_lines < 0:
        why = "must be greater than or equal to 0"
        causes.append(errors.invalid_value("tailLines", asked.tail_lines, why))
    if asked.limit_bytes is not None and asked.limit_bytes < 1:
        causes.append(
            errors.invalid_value("limitBytes", asked.limit_bytes, "must be greater than 0")
        )
    if asked.since_seconds is not None and asked.since_time is not None:
        why = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(errors.forbidden_field("", why))
    elif asked.since_seconds is not None and asked.since_seconds < 1:
        causes.append(
            errors.invalid_value("sinceSeconds", asked.since_seconds, "must be greater than 0")
        )
    if asked.stream not in _STREAMS:
        causes.append(errors.not_supported("stream", asked.stream, list(_STREAMS)))
    if asked.stream != _ALL and asked.tail_lines is not None:
        why = "`tailLines` and specific `stream` are mutually exclusive for now"
        causes.append(errors.forbidden_field("", why))
    return causes


def _time(text: str) -> datetime.datetime | None:
    if not text:
        return None
    try:
        # In a query a plus sign may have become a space on its way.
        return clocks.parse_rfc3339(text.replace(" ", "+"))
    except ValueError as error:
        raise errors.bad_request(f"invalid value for sinceTime: {error}") from error


def container_of(pod: Object, asked: str) -> str:
    """The container whose log is meant. Raises StatusError (400)."""
    name = pod["metadata"]["name"]
    mains, inits, others = ([c["name"] for c in pod["spec"].get(field) or []] for field in _LISTS)
    if asked:
        if asked not in (*mains, *inits, *others):
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(mains) == 1:
        return str(mains[0])
    told = f"a container name must be specified for pod {name}"
    if mains:
        told += f", choose one of: [{' '.join([*inits, *mains, *others])}]"
    raise errors.bad_request(told)


def check_available(pod: Object, container: str, *, previous: bool) -> None:
    """Whether there is a log to read. Raises StatusError (400)."""
    name = pod["metadata"]["name"]
    where = f'container "{container}" in pod "{name}"'
    status = _status_of(pod, container)
    if status is None:
        raise errors.bad_request(f"{where} is not available")
    state = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated")
    if previous:
        if not (last and last.get("containerID")):
            raise errors.bad_request(f"previous terminated {where} not found")
    elif "running" in state:
        return
    elif "terminated" in state:
        if not (state["terminated"].get("containerID") or (last and last.get("containerID"))):
            raise errors.bad_request(f"{where} is terminated")
    elif last:
        if not last.get("containerID"):
            raise errors.bad_request(f"{where} is terminated")
    elif "waiting" in state:
        reason = state["waiting"].get("reason", "")
        told = _PULLS.get(reason, reason)
        raise errors.bad_request(f"{where} is waiting to start: {told}")
    else:
        raise errors.bad_request(f"{where} is waiting to start - no logs yet")


def _status_of(pod: Object, container: str) -> Object | None:
    status = pod.get("status") or {}
    for field in _STATUSES:
        for found in status.get(field) or []:
            if found.get("name") == container:
                return dict(found)
    return None


async def serve(
    call: Call,
    objects: Objects,
    target: Target,
    logs: ports.LogReader,
    running: longrunning.LongRunning,
) -> web.StreamResponse:
    asked = options(call, target.name)
    pod = objects.get(target.kind.resource, *target.key).decode()
    container = container_of(pod, call.query.get("container", ""))
    if not pod["spec"].get("nodeName"):
        return responses.text(call, "")
    check_available(pod, container, previous=asked.previous)
    lines = logs.read(
        pod["metadata"]["namespace"],
        pod["metadata"]["name"],
        pod["metadata"]["uid"],
        container,
        follow=asked.follow,
        previous=asked.previous,
        since_seconds=asked.since_seconds,
        since_time=asked.since_time,
        timestamps=asked.timestamps,
        tail_lines=asked.tail_lines,
        limit_bytes=asked.limit_bytes,
        stream=_STREAMS[asked.stream],
    )
    with running.hold(call, _FOLLOWED) as deadline:
        try:
            return await _send(call, lines, deadline)
        finally:
            close = getattr(lines, "aclose", None)
            if close is not None:
                await close()


async def _send(
    call: Call, lines: AsyncIterator[bytes], deadline: longrunning.Deadline
) -> web.StreamResponse:
    # The first chunk decides between a log and a Status.
    first = await deadline.within(anext(lines, None))

    async def pour(out: sockets.Outlet) -> None:
        chunk = first
        while chunk is not None and not deadline.passed:
            await deadline.within(out.write(chunk))
            chunk = await deadline.within(anext(lines, None))

    if call.asks_for_socket:
        from edgeorch.api import sockets  # rare

        return await sockets.log(call, pour)
    response = web.StreamResponse(headers=responses.headers(call, "text/plain"))
    await response.prepare(call.request)
    await pour(response)
    await response.write_eof()
    return response
