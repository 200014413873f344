"""Challenges are understood in all their forms."""

from __future__ import annotations

import pytest

from edgeorch.registry import auth


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
        pytest.param(
            'Basic realm="r", Bearer realm="https://a/t",service="s"',
            auth.Challenge("bearer", {"realm": "https://a/t", "service": "s"}),
            id="bearer-where-there-is-a-choice",
        ),
        pytest.param("Negotiate abc", None, id="unknown-scheme"),
        pytest.param("", None, id="none"),
    ],
)
def test_challenge(header: str, expected: auth.Challenge | None) -> None:
    assert auth.challenge(header) == expected


def test_secrets_are_not_shown() -> None:
    shown = repr(auth.Credential("me", "secret1", "secret2", "secret3"))
    assert "me" in shown
    assert "secret" not in shown
