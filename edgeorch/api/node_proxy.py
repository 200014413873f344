"""What a kubelet answers under /api/v1/nodes/NAME/proxy: the Summary, and metrics of resources.

Sources: k8s.io/kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeorch.api import responses, statuses
from edgeorch.lib import clock as clocks
from edgeorch.lib import metrics
from edgeorch.model import errors, kinds

if TYPE_CHECKING:
    from aiohttp import web

    from edgeorch.api import ports
    from edgeorch.api.call import Call
    from edgeorch.api.paths import Target
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects

_PREFIX = 5
"""Parts of the path before that of the node."""
_NANO = 1e9
_LABELS = {"node": (), "pod": ("namespace", "pod"), "container": ("container", "namespace", "pod")}


async def serve(
    call: Call, objects: Objects, target: Target, meter: ports.Meter | None
) -> web.StreamResponse:
    """Raises StatusError (404, 405, 503)."""
    if call.verb != "get":
        raise statuses.method_not_allowed()
    # scheme:name:port, of which only the name matters where there is one node and one door.
    names = [part for part in target.name.split(":") if part not in ("", "http", "https")]
    objects.get(kinds.NODE.resource, "", names[0] if names else target.name)
    if meter is None:
        raise errors.unavailable("this server runs no containers")
    match call.parts[_PREFIX:]:
        case ["stats", "summary"]:
            bare = call.flag("only_cpu_and_memory")
            return await responses.obj(call, await meter.summary(only_cpu_and_memory=bare))
        case ["metrics", "resource"]:
            found = await meter.summary(only_cpu_and_memory=True)
            return responses.text(call, render(found), media=metrics.CONTENT_TYPE)
        case ["healthz"]:
            return responses.text(call, "ok")
        case _:
            raise statuses.unknown_path()


def render(summary: Object) -> str:
    """The kubelet's /metrics/resource."""
    registry = metrics.Registry()
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for level, labels, usage in _levels(summary):
        for name, value in _values(usage):
            values.setdefault(f"{level}_{name}", {})[labels] = value
    for name, found in sorted(values.items()):
        level = name.partition("_")[0]
        kind = "counter" if name.endswith("_total") else "gauge"
        told = f"{_HELP[name.removeprefix(f'{level}_')]} of the {level}"
        registry.collected(name, told, lambda found=found: found, _LABELS[level], kind)  # type: ignore[misc]
    registry.collected("scrape_error", "1 if there was an error while getting container metrics, 0 "
                       "otherwise", lambda: {(): 0.0})  # fmt: skip
    return registry.render()


_HELP = {
    "cpu_usage_seconds_total": "Cumulative cpu time consumed in core-seconds",
    "memory_working_set_bytes": "Current working set in bytes",
    "swap_usage_bytes": "Current swap usage in bytes",
    "start_time_seconds": "Start time since unix epoch in seconds",
}


def _levels(summary: Object) -> Iterator[tuple[str, tuple[str, ...], Object]]:
    """Level, values of its labels, and what is used there."""
    node = {key: value for key, value in summary["node"].items() if key != "startTime"}
    yield "node", (), node
    for pod in summary["pods"]:
        where = (pod["podRef"]["namespace"], pod["podRef"]["name"])
        yield "pod", where, {key: value for key, value in pod.items() if key != "startTime"}
        for container in pod["containers"]:
            yield "container", (container["name"], *where), container


def _values(usage: Object) -> Iterator[tuple[str, float]]:
    if "cpu" in usage:
        yield "cpu_usage_seconds_total", usage["cpu"]["usageCoreNanoSeconds"] / _NANO
    if "memory" in usage:
        yield "memory_working_set_bytes", usage["memory"]["workingSetBytes"]
    if "swap" in usage:
        yield "swap_usage_bytes", usage["swap"]["swapUsageBytes"]
    if usage.get("startTime"):
        yield "start_time_seconds", clocks.parse_rfc3339(usage["startTime"]).timestamp()
