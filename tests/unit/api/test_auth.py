"""Tokens and certificates name users; guessing is slowed."""

from __future__ import annotations

import datetime
import pathlib

import pytest

from edgeorch.api import auth
from edgeorch.lib import clock as clocks
from edgeorch.model import errors


def authenticator(clock: clocks.Clock) -> auth.Authenticator:
    return auth.Authenticator(auth.parse_tokens('# who\nsecret,ann,1,"dev,ops"\n'), clock)


def test_a_token_names_its_user_and_groups() -> None:
    found = authenticator(clocks.ManualClock()).identify("Bearer secret", None, "a")
    assert found == auth.User("ann", ("dev", "ops", "system:authenticated"), "1")


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer", "Bearer ", "Basic secret", "secret", "Bearer \udcff"]
)
def test_a_wrong_token_is_401(header: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        authenticator(clocks.ManualClock()).identify(header, None, "a")
    assert caught.value.code == 401


def test_no_credentials_are_nobody() -> None:
    assert authenticator(clocks.ManualClock()).identify("", None, "a") is None


def test_a_certificate_names_its_user() -> None:
    subject = ((("organizationName", "ops"),), (("commonName", "ann"),))
    certificate = {"subject": subject, "notAfter": "Jan  1 00:00:00 2036 GMT"}
    found = authenticator(clocks.ManualClock()).identify("", certificate, "a")
    assert found == auth.User("ann", ("ops", "system:authenticated"))


@pytest.mark.parametrize(
    ("year", "kept", "taken"),
    [(1970, True, True), (2035, True, True), (2037, True, False), (2099, False, True)],
)
def test_a_certificate_is_over_only_by_a_clock_that_is_kept(
    year: int, kept: bool, taken: bool
) -> None:
    clock = clocks.ManualClock(now=datetime.datetime(year, 1, 2, tzinfo=datetime.UTC))
    certificate = {
        "subject": ((("commonName", "ann"),),),
        "notBefore": "Jan  1 00:00:00 2026 GMT",
        "notAfter": "Jan  1 00:00:00 2036 GMT",
    }
    door = auth.Authenticator({}, clock, synchronized=lambda: kept)
    if taken:
        assert door.identify("", certificate, "a") is not None
        return
    with pytest.raises(errors.StatusError) as caught:
        door.identify("", certificate, "a")
    assert caught.value.code == 401


def test_an_address_that_keeps_failing_waits_and_others_do_not() -> None:
    clock = clocks.ManualClock()
    tokens = authenticator(clock)

    def code(header: str, address: str) -> int:
        try:
            tokens.identify(header, None, address)
        except errors.StatusError as error:
            return error.code
        return 200

    assert code("Bearer secret", "known") == 200
    for address in ("guesser", "known"):
        assert {code(f"Bearer {number}", address) for number in range(20)} == {401}
        assert code("Bearer again", address) == 429
    assert code("Bearer secret", "guesser") == 429
    assert code("Bearer secret", "known") == 200
    assert code("Bearer secret", "other") == 200
    clock.advance(2)
    assert code("Bearer secret", "guesser") == 200


@pytest.mark.parametrize("text", ["a,b", ",b,c", "a,,c", "a,b,c\na,d,e"])
def test_a_bad_token_file_names_the_line(text: str) -> None:
    with pytest.raises(auth.TokenFileError, match="line "):
        auth.parse_tokens(text)


def test_the_administrators_token_is_made_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokens.csv"
    token = auth.ensure_admin_token(path)
    assert auth.ensure_admin_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert auth.load_tokens(path)[auth.fingerprint(token)] == auth.User(
        "system:admin", ("system:masters", "system:authenticated"), "system:admin"
    )


@pytest.mark.parametrize("body", [bytes(60), b"\x93\xff", b"token,\xff"])
def test_a_damaged_token_file_is_set_aside(tmp_path: pathlib.Path, body: bytes) -> None:
    path = tmp_path / "tokens.csv"
    path.write_bytes(body)
    token = auth.ensure_admin_token(path)
    assert auth.fingerprint(token) in auth.load_tokens(path)
    assert auth.ensure_admin_token(path) == token
    assert (tmp_path / "tokens.csv.damaged").read_bytes() == body


def test_a_token_file_with_a_slip_stays_and_is_told(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("a,b")
    auth.ensure_admin_token(path)
    with pytest.raises(OSError, match=r"tokens\.csv: line 1: expected token"):
        auth.load_tokens(path)
    assert path.read_text().startswith("a,b\n")
