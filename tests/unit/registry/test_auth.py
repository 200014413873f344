"""Challenges and Docker's credential files are understood in all their forms."""

from __future__ import annotations

import base64

import pytest

from edgeorch.lib import json
from edgeorch.registry import auth, client


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(
            'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull"',
            auth.Challenge(
                "bearer",
                {
                    "realm": "https://auth.example/token",
                    "service": "reg",
                    "scope": "repository:a/b:pull",
                },
            ),
            id="bearer",
        ),
        pytest.param('Basic realm="x y"', auth.Challenge("basic", {"realm": "x y"}), id="basic"),
        pytest.param(
            'bearer realm="https://a/?q=\\"1\\"", error=invalid_token',
            auth.Challenge("bearer", {"realm": 'https://a/?q="1"', "error": "invalid_token"}),
            id="quotes-and-plain-values",
        ),
        pytest.param("Negotiate abc", None, id="unknown-scheme"),
        pytest.param("", None, id="none"),
    ],
)
def test_challenge(header: str, expected: auth.Challenge | None) -> None:
    assert auth.challenge(header) == expected


def _auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"auths": {"https://index.docker.io/v1/": {"auth": _auth("me:secret")}}},
            {"docker.io": auth.Credential("me", "secret")},
            id="docker-hub-by-its-old-address",
        ),
        pytest.param(
            {"auths": {"reg.example:5000/team": {"username": "u", "password": "p:w"}}},
            {"reg.example:5000/team": auth.Credential("u", "p:w")},
            id="path-and-plain-fields",
        ),
        pytest.param(
            {"reg.example": {"auth": _auth("u:p")}},
            {"reg.example": auth.Credential("u", "p")},
            id="legacy-dockercfg",
        ),
        pytest.param(
            {"auths": {"bad": {"auth": "%%%"}, "none": 3, "good": {"auth": _auth("u:p")}}},
            {"good": auth.Credential("u", "p")},
            id="one-bad-entry-does-not-hide-the-others",
        ),
        pytest.param([], {}, id="not-an-object"),
    ],
)
def test_docker_config(document: object, expected: dict[str, auth.Credential]) -> None:
    assert auth.docker_config(json.encode(document)) == expected


def test_a_file_that_is_no_json_holds_no_credentials() -> None:
    assert auth.docker_config(b"{") == {}


def test_the_longest_matching_path_wins() -> None:
    known = {
        "reg.example": auth.Credential("all", "1"),
        "reg.example/team": auth.Credential("team", "2"),
        "reg.example/team/app": auth.Credential("app", "3"),
    }
    found = [
        auth.credential_for(image, known)
        for image in ("reg.example/team/app", "reg.example/team/b", "reg.example/t", "other/team")
    ]
    assert [c.username if c else None for c in found] == ["app", "team", "all", None]


@pytest.mark.parametrize(
    ("domain", "base"),
    [
        ("docker.io", "https://registry-1.docker.io/v2/a/b"),
        ("reg.example:5000", "https://reg.example:5000/v2/a/b"),
        ("localhost:5000", "http://localhost:5000/v2/a/b"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/a/b"),
        ("127.example.com", "https://127.example.com/v2/a/b"),
    ],
)
def test_only_the_machine_itself_is_asked_in_plain_text(domain: str, base: str) -> None:
    assert client.Repository(domain, "a/b").base == base
