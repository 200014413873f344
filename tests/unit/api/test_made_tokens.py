"""Tokens that `edgeorch token` makes: kept as digests, in a file of root's."""

from __future__ import annotations

import pathlib
import stat

import pytest

from edgeorch.api import auth, made_tokens, moments
from edgeorch.core import credentials
from edgeorch.lib import clock as clocks
from edgeorch.model import errors

CLOCK = clocks.ManualClock()


def now() -> credentials.Moment:
    return moments.now(CLOCK)


def create(directory: pathlib.Path, name: str, seconds: int | None = None) -> str:
    return made_tokens.create(directory, name, "view", seconds, now())


def held(directory: pathlib.Path) -> made_tokens.MadeTokens:
    found = made_tokens.MadeTokens(directory, now)
    found.load()
    return found


def test_a_token_is_its_user_in_its_role(tmp_path: pathlib.Path) -> None:
    token = create(tmp_path, "ci")
    create(tmp_path, "other")
    found = held(tmp_path).find(auth.fingerprint(token))
    assert found == auth.User("ci", ("edgeorch:view", "system:authenticated"))
    assert held(tmp_path).find(auth.fingerprint(token + "x")) is None


def test_the_file_is_roots_and_holds_no_token(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "data/access"
    token = create(folder, "ci")
    for directory in (folder, folder.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token.encode() not in path.read_bytes()


def test_a_revoked_one_opens_nothing(tmp_path: pathlib.Path) -> None:
    token = create(tmp_path, "ci")
    tokens = held(tmp_path)
    made_tokens.revoke(tmp_path, ["ci"])
    assert tokens.load() == ["ci"]
    assert tokens.find(auth.fingerprint(token)) is None
    assert tokens.load() == []


def test_one_that_has_run_out_opens_nothing(tmp_path: pathlib.Path) -> None:
    token = create(tmp_path, "ci", 3600)
    tokens = held(tmp_path)
    CLOCK.advance(3599)
    assert tokens.find(auth.fingerprint(token))
    CLOCK.advance(2)
    assert tokens.find(auth.fingerprint(token)) is None


def test_the_door_takes_them(tmp_path: pathlib.Path) -> None:
    token = create(tmp_path, "ci")
    door = auth.Authenticator({}, CLOCK, made_tokens=held(tmp_path))
    found = door.identify(f"Bearer {token}", None, "a")
    assert found is not None
    assert found.name == "ci"
    with pytest.raises(errors.StatusError):
        door.identify("Bearer no", None, "a")


def test_names_are_taken_once_and_revoked_all_or_none(tmp_path: pathlib.Path) -> None:
    create(tmp_path, "ci")
    with pytest.raises(made_tokens.TokensError, match="there is a token ci already"):
        create(tmp_path, "ci")
    with pytest.raises(made_tokens.TokensError, match="there is no token b, c"):
        made_tokens.revoke(tmp_path, ["ci", "b", "c"])
    assert [token.name for token in made_tokens.read(tmp_path)] == ["ci"]
    with pytest.raises(made_tokens.TokensError, match="is no name"):
        create(tmp_path, "system:admin")
    with pytest.raises(made_tokens.TokensError, match="no role 'king'"):
        made_tokens.create(tmp_path, "b", "king", None, now())


@pytest.mark.parametrize("body", [b"", b"{", b'{"tokens": [{"name": 1}]}', b"[]"])
def test_a_damaged_file_opens_nothing_and_is_not_overwritten(
    tmp_path: pathlib.Path, body: bytes
) -> None:
    token = create(tmp_path, "ci")
    (tmp_path / "tokens.json").write_bytes(body)
    assert held(tmp_path).find(auth.fingerprint(token)) is None
    with pytest.raises(made_tokens.TokensError, match="cannot use"):
        create(tmp_path, "other")
    assert (tmp_path / "tokens.json").read_bytes() == body
