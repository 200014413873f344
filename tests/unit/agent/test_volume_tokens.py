"""Tokens in projected volumes: when they are renewed, whose files they are, what a failure does."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.agent.volumes import VolumeError, tokens
from edgeorch.model import errors, views
from tests.unit.core import pods


class Clock:
    """Only the time that decisions use."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> Any:
        raise AssertionError("the time of day must not matter")


class Issuer:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.refuses = False

    def for_pod(self, pod: views.Pod, audience: str, seconds: int) -> str:
        if self.refuses:
            raise errors.not_found("serviceaccounts", pod.spec.service_account_name)
        self.asked.append((audience, seconds))
        return f"token {len(self.asked)}"


SOURCE = {"path": "token", "expirationSeconds": 1000}


def _pod(source: dict[str, Any] = SOURCE, **spec: Any) -> views.Pod:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": source}]}}
    return pods.pod(volumes=[volume], serviceAccountName="robot", **spec)


class Shelf:
    """Sets the volume up again whenever the version says so, as a pod's worker does."""

    def __init__(self, pod: views.Pod) -> None:
        self.clock, self.issuer, self.pod = Clock(), Issuer(), pod
        self.tokens = tokens.Tokens(self.issuer, self.clock)
        self.version: list[int] | None = None
        self.rounds = 0

    def look(self, source: dict[str, Any] = SOURCE) -> str:
        while (wanted := self.tokens.version(self.pod)) != self.version:
            self.text = self.tokens.file(self.pod, "v", source, 0o644).data.decode()
            self.version = wanted
            self.rounds += 1
            assert self.rounds < 10
        return self.text


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over() -> None:
    shelf = Shelf(_pod())
    assert shelf.look() == "token 1"
    due = shelf.tokens.wake_at("u")
    assert due is not None
    assert 1790 <= due <= 1800
    shelf.clock.at = due - 1
    assert shelf.look() == "token 1"
    shelf.clock.at = due
    assert shelf.look() == "token 2"
    assert shelf.rounds == 2
    shelf.tokens.forget("u")
    assert shelf.tokens.wake_at("u") is None


@pytest.mark.parametrize(
    ("seconds", "jitter", "due"),
    [(3607, 0.0, 2885.6), (600, 0.0, 480), (600, 1.0, 470), (10**6, 0.0, 86400)],
)
def test_after_a_day_at_the_latest(seconds: float, jitter: float, due: float) -> None:
    assert tokens.due_at(0.0, seconds, jitter) == pytest.approx(due)


def test_the_audience_and_the_hour_of_kubernetes_are_asked_for() -> None:
    source = {"path": "t", "audience": "vault"}
    shelf = Shelf(_pod(source))
    shelf.look(source)
    assert shelf.issuer.asked == [("vault", 3600)]


def test_a_token_that_cannot_be_renewed_goes_on_for_now() -> None:
    shelf = Shelf(_pod())
    shelf.look()
    shelf.issuer.refuses = True
    shelf.clock.at += 900
    assert shelf.look() == "token 1"
    assert shelf.tokens.wake_at("u") == shelf.clock.at + 60
    shelf.issuer.refuses = False
    shelf.clock.at += 60
    assert shelf.look() == "token 2"


def test_without_the_account_there_is_no_volume() -> None:
    shelf = Shelf(_pod())
    shelf.issuer.refuses = True
    with pytest.raises(VolumeError, match='failed to fetch token: serviceaccounts "robot" not fo'):
        shelf.look()


def _user(uid: int | None) -> dict[str, Any]:
    return {"name": f"c{uid}", "image": "i", "securityContext": {"runAsUser": uid}}


@pytest.mark.parametrize(
    ("spec", "mode", "owner"),
    [
        ({}, 0o644, None),
        ({"securityContext": {"runAsUser": 1000}}, 0o600, 1000),
        ({"securityContext": {"fsGroup": 7}}, 0o600, None),
        ({"containers": [_user(5), _user(5) | {"name": "d"}]}, 0o600, 5),
        ({"containers": [_user(5), _user(6)]}, 0o644, None),
        ({"containers": [_user(5), _user(None)]}, 0o644, None),
        ({"containers": [_user(5)], "initContainers": [_user(6)]}, 0o644, None),
        ({"containers": [_user(None)], "securityContext": {"runAsUser": 3}}, 0o600, 3),
    ],
)
def test_the_file_is_only_for_whom_the_pod_runs_as(
    spec: dict[str, Any], mode: int, owner: int | None
) -> None:
    shelf = Shelf(_pod(**spec))
    made = shelf.tokens.file(shelf.pod, "v", SOURCE, 0o644)
    assert (made.mode, made.owner) == (mode, owner)
