"""Docker's credential files are understood, and matched to images as the kubelet does."""

from __future__ import annotations

import base64

import pytest

from edgeorch.lib import json
from edgeorch.registry import keyring
from edgeorch.registry.auth import Credential


def _auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"auths": {"https://index.docker.io/v1/": {"auth": _auth("me:secret")}}},
            [("docker.io", Credential("me", "secret"))],
            id="docker-hub-by-its-old-address",
        ),
        pytest.param(
            {"auths": {"reg.example:5000/team/": {"username": "u", "password": "p:w"}}},
            [("reg.example:5000/team", Credential("u", "p:w"))],
            id="path-and-plain-fields",
        ),
        pytest.param(
            {"reg.example": {"auth": _auth("u:p"), "username": "other", "password": "o"}},
            [("reg.example", Credential("u", "p"))],
            id="legacy-dockercfg-where-auth-wins",
        ),
        pytest.param(
            {"auths": {"reg.example": {"auth": "", "identitytoken": "abc"}}},
            [("reg.example", Credential(identity_token="abc"))],
            id="identity-token",
        ),
        pytest.param(
            {"auths": {"reg.example": {"registrytoken": "abc"}}},
            [("reg.example", Credential(registry_token="abc"))],
            id="registry-token",
        ),
        pytest.param(
            {"auths": {"bad": {"auth": "%%%"}, "none": 3, "good": {"auth": _auth("u:p")}}},
            [("good", Credential("u", "p"))],
            id="one-bad-entry-does-not-hide-the-others",
        ),
        pytest.param({"auths": []}, [], id="entries-of-another-kind"),
        pytest.param([], [], id="not-an-object"),
    ],
)
def test_docker_config(document: object, expected: list[tuple[str, Credential]]) -> None:
    assert keyring.docker_config(json.encode(document)) == expected


def test_a_file_that_is_no_json_holds_no_credentials() -> None:
    assert keyring.docker_config(b"{") == []


@pytest.mark.parametrize(
    ("key", "image", "fits"),
    [
        ("reg.example", "reg.example/a", True),
        ("reg.example", "reg.example:5000/a", False),
        ("reg.example:5000", "reg.example:5000/a", True),
        ("reg.example:5000", "reg.example/a", False),
        ("*.example", "reg.example/a", True),
        ("*.example", "a.reg.example/a", False),
        ("*.*.example", "a.reg.example/a", True),
        ("reg-?.example:1", "reg-2.example:1/a", True),
        ("reg.example/team", "reg.example/team/app", True),
        ("reg.example/team", "reg.example/teams", True),
        ("reg.example/team", "reg.example/other", False),
        ("docker.io", "docker.io/library/nginx", True),
        ("docker.io/me", "docker.io/library/nginx", False),
    ],
)
def test_matching(key: str, image: str, fits: bool) -> None:
    assert keyring.matches(key, image) is fits


def test_all_that_fit_are_tried_the_most_specific_first() -> None:
    def document(**auths: str) -> bytes:
        named = {key.replace("_", "/"): value for key, value in auths.items()}
        return json.encode({"auths": {k: {"auth": _auth(v)} for k, v in named.items()}})

    ring = keyring.Keyring(
        [document(reg_team="b:1", reg="a:1"), document(reg_team="c:1", reg_team_app="d:1")]
    )
    found = [
        "".join(credential.username for credential in ring.find(image))
        for image in ("reg/team/app", "reg/team/b", "reg/t", "other/team")
    ]
    assert found == ["dbca", "bca", "a", ""]
