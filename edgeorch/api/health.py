"""Health: /livez, /readyz, /healthz (all checks, one, ?verbose, ?exclude).

Text as the API server's. A check is a named function: None is well, a string the reason why not.
The reason is shown on the local listener and withheld from clients of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.api import responses, statuses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.api.ports import Check

ENDPOINTS = ("healthz", "livez", "readyz")


class Checks(Struct, frozen=True):
    """`live`: the process must be restarted when one fails. `ready`: it cannot do its work."""

    live: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)

    def of(self, endpoint: str) -> dict[str, Check]:
        found: dict[str, Check] = {"ping": lambda: None, **self.live}
        return found if endpoint == "livez" else {**found, **self.ready}


def serve(call: Call, checks: Checks, *, reasons: bool) -> web.StreamResponse:
    """/ENDPOINT or /ENDPOINT/NAME."""
    endpoint, *names = call.parts
    if call.request.method not in ("GET", "HEAD"):
        raise statuses.method_not_allowed()
    wanted = checks.of(endpoint)
    if len(names) > 1 or (names and names[0] not in wanted):
        raise statuses.unknown_path()
    if names:
        wanted = {names[0]: wanted[names[0]]}
    excluded = set(call.request.rel_url.query.getall("exclude", []))
    results = {name: run() for name, run in wanted.items() if name not in excluded}
    failed = any(reason is not None for reason in results.values())
    told = _report(results, sorted(excluded - set(wanted)), reasons=reasons)
    if failed:
        return responses.text(call, f"{told}{endpoint} check failed\n", code=500)
    if names or "verbose" not in call.query:
        return responses.text(call, "ok")
    return responses.text(call, f"{told}{endpoint} check passed\n")


def _report(results: Mapping[str, str | None], unknown: list[str], *, reasons: bool) -> str:
    lines = []
    for name, reason in results.items():
        if reason is None:
            lines.append(f"[+]{name} ok\n")
        else:
            lines.append(f"[-]{name} failed: {reason if reasons else 'reason withheld'}\n")
    if unknown:
        quoted = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}\n")
    return "".join(lines)
