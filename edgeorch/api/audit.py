"""Who has changed what: a line in the log for each change that was asked for by the API.

`user="ann" verb="create" resource="deployments.apps" namespace="default" name="web"
from="192.168.1.9" code=201 agent="kubectl/v1.33.1" id="…"`. Nothing of what was written is in it.
In the journal each of these is a field, too (EDGEORCH_USER, EDGEORCH_AUDIT_ID…).
Told are writes that count as intent, streams into containers, and the making of tokens; refused
ones too. Not told: status, what is never stored (events, leases), dry runs.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.api import paths
from edgeorch.lib import journal, json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeorch.api.call import Call
    from edgeorch.lib import clock as clocks

log = logging.getLogger("edgeorch.audit")

_CHANGES = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_LONGEST = 253
_BURST, _A_SECOND = 200.0, 5.0
"""Lines at once, and in the long run: a client that runs wild must not fill the medium."""
_USERS, _REFUSED = 64, 400


class _Allowance(Struct):
    """Lines that may be told at `seen`."""

    left: float
    seen: float


class Audit:
    def __init__(self, clock: clocks.Clock) -> None:
        self._clock = clock
        self._allowances: OrderedDict[tuple[str, bool], _Allowance] = OrderedDict()
        self._untold = 0

    def tell(self, call: Call, code: int) -> None:
        """One request, when its answer is known; a stream, when it begins (101)."""
        if (
            not concerns(call)
            or not log.isEnabledFor(logging.INFO)
            or not self._may_speak(call.login.name, code)
        ):
            return
        if self._untold:
            log.warning("%d changes were not told: there were too many at once", self._untold)
            self._untold = 0
        said = facts(call, code)
        log.info("%s", line(said), extra=journal.fields(journal.AUDIT, **_fields(said)))

    def _may_speak(self, user: str, code: int) -> bool:
        """Nobody uses up what others' changes have, nor by refusals what their own have."""
        key, now = (user, code >= _REFUSED), self._clock.monotonic()
        allowance = self._allowances.setdefault(key, _Allowance(_BURST, now))
        self._allowances.move_to_end(key)
        if len(self._allowances) > _USERS:
            self._allowances.popitem(last=False)
        allowance.left = min(_BURST, allowance.left + (now - allowance.seen) * _A_SECOND)
        allowance.seen = now
        if allowance.left < 1:
            self._untold += 1
            return False
        allowance.left -= 1
        return True


def concerns(call: Call) -> bool:
    target = call.target
    if target is None:
        return False
    if is_stream(call) or target.subresource == "token":
        return True
    if call.verb not in _CHANGES or target.subresource == "status" or _is_dry(call):
        return False
    return not (target.kind.volatile or target.kind.computed)


def _is_dry(call: Call) -> bool:
    """The body of a deletion goes before its query. What was refused unread has changed nothing."""
    return "dryRun" in call.query if call.dry_run is None else call.dry_run


def is_stream(call: Call) -> bool:
    return call.target is not None and call.target.subresource in paths.STREAMS


def facts(call: Call, code: int) -> dict[str, str | int]:
    """By the words of the log; what there is nothing to say of is not in it."""
    target = call.target
    if target is None:
        raise ValueError("only changes of resources are told")
    of = target.kind.resource + (f"/{target.subresource}" if target.subresource else "")
    request = call.request
    told: dict[str, str | int] = {
        "user": _clean(call.login.name),
        "as": _clean(call.user.name) if call.user != call.login else "",
        "verb": call.verb,
        "resource": of,
        "namespace": _clean(target.namespace or ""),
        "name": _clean(target.name or call.named),
        "from": request.remote or "local socket",
        "code": code,
        "agent": _clean(call.header("User-Agent").partition(" ")[0]),
        "id": call.audit_id,
    }
    return {name: value for name, value in told.items() if value != ""}


def line(said: Mapping[str, str | int]) -> str:
    return " ".join(f"{name}={json.encode(value).decode()}" for name, value in said.items())


def _fields(said: Mapping[str, str | int]) -> dict[str, str]:
    return {"audit_id" if name == "id" else name: str(value) for name, value in said.items()}


def _clean(text: str) -> str:
    """No line ends, and no control characters, whatever a client has sent."""
    clean = text.encode(errors="replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in clean[:_LONGEST])
