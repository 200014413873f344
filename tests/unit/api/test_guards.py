"""No client takes the device from all others, and the log says who changes what."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import Any, cast

import pytest
from aiohttp import web
from multidict import CIMultiDict

from edgeorch.api import audit, auth, doors, flow, longrunning, paths
from edgeorch.api.call import Call
from edgeorch.core import roles
from edgeorch.lib import clock as clocks
from edgeorch.model import errors, kinds

ANN = auth.User("ann", (roles.group("edit"), roles.AUTHENTICATED))
BOB = auth.User("bob", (roles.group("view"), roles.AUTHENTICATED))


class Request:
    """What is asked of a request here."""

    def __init__(self, remote: str | None = "192.0.2.9", agent: str = "kubectl/v1.33 (x)") -> None:
        self.remote = remote
        self.headers = CIMultiDict({"User-Agent": agent})


def call(
    login: auth.User,
    verb: str = "create",
    kind: kinds.Kind = kinds.DEPLOYMENT,
    name: str = "web",
    subresource: str = "",
    request: Any = None,
    **query: str,
) -> Call:
    found = Call(cast("web.BaseRequest", request or Request()), login, [], query, "id-1")
    found.target = paths.Target(kind, "default" if kind.namespaced else None, name, subresource)
    found.verb, found.login = verb, login
    return found


def dry(asked: Call, is_dry: bool) -> Call:
    """Its options have been read; a deletion's stand in its body too."""
    asked.dry_run = is_dry
    return asked


def held(stack: contextlib.ExitStack, guard: flow.Flow, login: auth.User) -> bool:
    try:
        stack.enter_context(guard.hold(call(login)))
    except errors.StatusError as error:
        return error.code != 429
    return True


def test_each_has_a_share_and_administrators_have_room() -> None:
    guard = flow.Flow(flow.Limits(requests=10, per_client=3, reserved=4))
    with contextlib.ExitStack() as stack:
        assert [held(stack, guard, ANN) for _ in range(4)] == [True, True, True, False]
        assert [held(stack, guard, BOB) for _ in range(3)] == [True, True, True]
        assert not held(stack, guard, auth.User("carl"))
        assert [held(stack, guard, auth.ADMIN) for _ in range(5)] == [True] * 4 + [False]
    assert guard.in_flight == 0
    assert (guard.refused.value("client"), guard.refused.value("requests")) == (1, 2)
    with contextlib.ExitStack() as stack:
        assert held(stack, guard, ANN)


async def test_watches_have_a_share_too() -> None:
    began: list[Call] = []
    refused: list[None] = []
    running = longrunning.LongRunning(4, 2, began.append, lambda: refused.append(None))
    with contextlib.ExitStack() as stack:
        for login in (ANN, ANN, BOB, auth.ADMIN):
            stack.enter_context(running.hold(call(login, "watch"), 60))
            if login is BOB:
                with pytest.raises(errors.StatusError):
                    stack.enter_context(running.hold(call(ANN, "watch"), 60))
        with pytest.raises(errors.StatusError):
            stack.enter_context(running.hold(call(auth.ADMIN, "watch"), 60))
        assert [each.login for each in began] == [ANN, ANN, BOB, auth.ADMIN]
        assert len(refused) == 2


async def test_a_login_that_is_over_ends_what_it_has_begun() -> None:
    running = longrunning.LongRunning(9, 9)
    with (
        running.hold(call(ANN, "watch"), 60) as ours,
        running.hold(call(BOB, "watch"), 60) as theirs,
    ):
        running.end_of({"ann"})
        assert (ours.passed, theirs.passed) == (True, False)


def test_a_crowd_is_counted_by_address() -> None:
    crowd = doors.Crowd(most=3, per_address=2)
    assert [crowd.enter(address) for address in ("a", "a", "a", "b", "c")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    crowd.leave("a")
    assert crowd.enter("c")
    assert (len(crowd), crowd.turned_away) == (3, 2)


def test_a_listener_lets_in_whom_there_is_room_for() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(doors.listener(("127.0.0.1", 0), doors.Crowd(2, 2)))
        listener.listen()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for client in clients:
            client.settimeout(10)
            stack.enter_context(client)
        first, second = listener.accept()[0], listener.accept()[0]
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert clients[2].recv(1) == b""
        first.close()
        first.close()
        late = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = listener.accept()[0]
        assert accepted.getpeername() == late.getsockname()
        assert len(listener.crowd) == 2
        second.close()
        accepted.close()
        assert len(listener.crowd) == 0


@pytest.mark.ask(8)
@pytest.mark.parametrize("address", ["192.0.2.250", "2001:db8::7"])
def test_a_listener_needs_no_link(address: str) -> None:
    """An address that nobody has yet."""
    if ":" in address and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with doors.listener((address, 0), doors.Crowd()) as listener:
        assert listener.getsockname()[0] == address


@pytest.mark.parametrize(
    ("address", "places", "endpoint"),
    [
        ("0.0.0.0", ["0.0.0.0"], "192.0.2.1"),
        ("::", ["::"], "192.0.2.1"),
        ("192.0.2.1", ["192.0.2.1", "127.0.0.1", "10.42.0.1"], "10.42.0.1"),
        ("127.0.0.1", ["127.0.0.1"], ""),
    ],
)
def test_where_the_api_is_found(address: str, places: list[str], endpoint: str) -> None:
    assert doors.places(address, "10.42.0.1") == places
    assert doors.endpoint(address, "192.0.2.1", "10.42.0.1") == endpoint


TOLD = [
    (call(ANN), True),
    (call(ANN, "patch"), True),
    (call(ANN, "deletecollection", name=""), True),
    (call(ANN, "get"), False),
    (call(ANN, "watch"), False),
    (call(ANN, "create", dryRun="All"), False),
    (call(ANN, "patch", subresource="status"), False),
    (call(ANN, "patch", subresource="scale"), True),
    (call(ANN, "create", kinds.EVENT), False),
    (call(ANN, "update", kinds.LEASE), False),
    (call(ANN, "create", kinds.SELF_ACCESS_REVIEW, ""), False),
    (call(ANN, "create", kinds.SERVICE_ACCOUNT, subresource="token"), True),
    (call(ANN, "get", kinds.POD, subresource="exec"), True),
    (call(ANN, "create", kinds.POD, subresource="exec", dryRun="All"), True),
    (call(ANN, "create", kinds.SERVICE_ACCOUNT, subresource="token", dryRun="All"), True),
    (call(ANN, "get", kinds.POD, subresource="log"), False),
    (call(ANN, "delete", kinds.NODE), True),
    (dry(call(ANN, "delete"), True), False),
    (dry(call(ANN, "delete", dryRun="All"), False), True),
]


@pytest.mark.parametrize(
    ("asked", "told"), TOLD, ids=lambda each: each.verb if isinstance(each, Call) else ""
)
def test_what_the_log_is_told(asked: Call, told: bool) -> None:
    assert audit.concerns(asked) is told


def test_a_line_says_who_what_and_from_where() -> None:
    assert audit.line(audit.facts(call(ANN, "patch", subresource="scale"), 200)) == (
        'user="ann" verb="patch" resource="deployments.apps/scale" namespace="default" name="web" '
        'from="192.0.2.9" code=200 agent="kubectl/v1.33" id="id-1"'
    )
    acting = call(ANN, "delete", kinds.NODE, request=Request(None))
    acting.user = BOB
    assert audit.line(audit.facts(acting, 403)) == (
        'user="ann" as="bob" verb="delete" resource="nodes" name="web" from="local socket" '
        'code=403 agent="kubectl/v1.33" id="id-1"'
    )


@pytest.mark.parametrize("text", ["a\nuser=root", 'a" code=200', "\x1b[31m", "\udcff", "x" * 9999])
def test_a_line_stays_one_line(text: str) -> None:
    asked = call(ANN, name=text, request=Request(agent=text.replace("\n", "")))
    shown = audit.line(audit.facts(asked, 201))
    assert shown.isprintable()
    assert len(shown) < 1000
    assert shown.count(" code=") - shown.count('\\" code=') == 1


def test_a_client_that_runs_wild_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = clocks.ManualClock()
    told = audit.Audit(clock)
    with caplog.at_level(logging.INFO, "edgeorch.audit"):
        for _ in range(1000):
            told.tell(call(ANN), 201)
        assert len(caplog.records) == 200
        clock.advance(1)
        told.tell(call(ANN), 201)
    assert caplog.records[-2].getMessage().startswith("800 changes were not told")


def test_nobody_uses_up_what_others_may_be_told_of(caplog: pytest.LogCaptureFixture) -> None:
    told = audit.Audit(clocks.ManualClock())
    with caplog.at_level(logging.INFO, "edgeorch.audit"):
        for number in range(10_000):
            told.tell(call(BOB), 403)
            told.tell(call(ANN, name=f"n{number}"), 201)
        assert len([each for each in caplog.messages if 'user="bob"' in each]) == 200
        assert len([each for each in caplog.messages if 'user="ann"' in each]) == 200
        told.tell(call(BOB), 201)
        told.tell(call(auth.ADMIN), 403)
    assert " code=201 " in caplog.messages[-2]
    assert " code=403 " in caplog.messages[-1]
