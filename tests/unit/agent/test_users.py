"""Whom a container runs as: the order of wishes, names in the image, groups, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.agent import users
from edgeorch.core import oci_spec
from tests.unit.core import pods

ACCOUNTS = users.parse(
    b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\n",
    b"root:x:0:\nappgroup:x:1001:\nextra:x:2000:app,other\nmail:x:8:app\n",
)


def _resolve(
    image_user: str = "", pod: dict[str, Any] | None = None, own: dict[str, Any] | None = None
) -> oci_spec.User:
    made = pods.pod(
        securityContext=pod or {},
        containers=[{"name": "main", "image": "i", "securityContext": own or {}}],
    )
    return users.resolve(made, made.spec.containers[0], image_user, ACCOUNTS)


@pytest.mark.parametrize(
    ("image_user", "pod", "own", "expected"),
    [
        ("", {}, {}, (0, 0, (0,))),
        ("app", {}, {}, (1000, 1001, (8, 1001, 2000))),
        ("app:mail", {}, {}, (1000, 8, (8, 2000))),
        ("1000:77", {}, {}, (1000, 77, (8, 77, 2000))),
        ("4000", {}, {}, (4000, 0, (0,))),
        ("app", {"runAsUser": 5000}, {}, (5000, 0, (0,))),
        ("app", {"runAsUser": 5000}, {"runAsUser": 1000}, (1000, 1001, (8, 1001, 2000))),
        ("app", {"runAsGroup": 3}, {}, (1000, 3, (3, 8, 2000))),
        ("", {"fsGroup": 9, "supplementalGroups": [7, 8]}, {}, (0, 0, (0, 7, 8, 9))),
        (
            "app",
            {"supplementalGroupsPolicy": "Strict", "supplementalGroups": [7], "fsGroup": 9},
            {},
            (1000, 1001, (7, 9, 1001)),
        ),
        (
            "app",
            {"supplementalGroupsPolicy": "Merge", "supplementalGroups": [7]},
            {},
            (1000, 1001, (7, 8, 1001, 2000)),
        ),
    ],
)
def test_wishes(
    image_user: str,
    pod: dict[str, Any],
    own: dict[str, Any],
    expected: tuple[int, int, tuple[int, ...]],
) -> None:
    assert _resolve(image_user, pod, own) == oci_spec.User(*expected)


WHERE = '(pod: "p_default(u)", container: main)'


@pytest.mark.parametrize(
    ("image_user", "own", "told"),
    [
        ("", {}, f"container has runAsNonRoot and image will run as root {WHERE}"),
        ("0", {}, f"container has runAsNonRoot and image will run as root {WHERE}"),
        ("1000", {"runAsUser": 0}, f"container's runAsUser breaks non-root policy {WHERE}"),
        (
            "app",
            {},
            (
                "container has runAsNonRoot and image has non-numeric user (app), cannot verify "
                f"user is non-root {WHERE}"
            ),
        ),
    ],
)
def test_root_is_refused_where_it_must_not_be(
    image_user: str, own: dict[str, Any], told: str
) -> None:
    with pytest.raises(users.UserError) as caught:
        _resolve(image_user, {"runAsNonRoot": True}, own)
    assert str(caught.value) == told
    assert _resolve(image_user, {"runAsNonRoot": True}, {"runAsNonRoot": False, **own}) is not None


def test_numbers_that_are_not_roots_are_welcome() -> None:
    assert _resolve("1000", {"runAsNonRoot": True}).uid == 1000
    assert _resolve("app", {"runAsNonRoot": True}, {"runAsUser": 5}).uid == 5


@pytest.mark.parametrize(
    ("image_user", "told"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:none", "unable to find group none: no matching entries in group file"),
    ],
)
def test_names_that_the_image_does_not_know(image_user: str, told: str) -> None:
    with pytest.raises(users.UserError, match=told):
        _resolve(image_user)
