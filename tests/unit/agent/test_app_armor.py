"""AppArmor profiles: whose word counts, and what is told where they cannot be had."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from edgeorch.agent import app_armor, profiles
from edgeorch.core import app_armor as rules
from edgeorch.model import views
from tests.unit.core import pods

LOCAL = {"type": "Localhost", "localhostProfile": "mine"}
RUNTIME, UNCONFINED = {"type": "RuntimeDefault"}, {"type": "Unconfined"}
REFUSAL = "Cannot enforce AppArmor: AppArmor is not enabled on the host"


def _pod(of_pod: dict[str, Any] | None, own: dict[str, Any] | None) -> views.Pod:
    return pods.pod(
        securityContext={"appArmorProfile": of_pod} if of_pod else {},
        containers=[
            {"name": "main", "securityContext": {"appArmorProfile": own} if own else {}},
        ],
    )


@pytest.fixture
def host(tmp_path: pathlib.Path) -> app_armor.AppArmor:
    """One that has AppArmor, with two profiles loaded."""
    (tmp_path / "enabled").write_text("Y\n")
    (tmp_path / "profiles").write_text(f"mine (enforce)\n{rules.DEFAULT} (enforce)\n")
    return app_armor.AppArmor(tmp_path / "enabled", tmp_path / "profiles")


@pytest.mark.parametrize(
    ("of_pod", "own", "profile"),
    [
        (None, None, ""),
        (RUNTIME, None, rules.DEFAULT),
        (LOCAL, None, "mine"),
        (LOCAL, UNCONFINED, "unconfined"),
        (UNCONFINED, RUNTIME, rules.DEFAULT),
    ],
)
def test_the_nearest_word_counts(
    host: app_armor.AppArmor,
    of_pod: dict[str, Any] | None,
    own: dict[str, Any] | None,
    profile: str,
) -> None:
    pod = _pod(of_pod, own)
    assert host.profile(pod, pod.spec.containers[0]) == profile
    assert rules.refusal(pod, available=True) is None


def test_a_profile_that_is_not_loaded_is_named(host: app_armor.AppArmor) -> None:
    pod = _pod({"type": "Localhost", "localhostProfile": "other"}, None)
    with pytest.raises(profiles.ProfileError, match="apparmor profile not found other"):
        host.profile(pod, pod.spec.containers[0])


@pytest.mark.parametrize(
    ("of_pod", "own", "told"),
    [
        (None, None, None),
        (UNCONFINED, None, None),
        (RUNTIME, None, REFUSAL),
        (None, LOCAL, REFUSAL),
        (UNCONFINED, RUNTIME, REFUSAL),
    ],
)
def test_a_host_without_it_refuses_who_asks(
    of_pod: dict[str, Any] | None, own: dict[str, Any] | None, told: str | None
) -> None:
    assert rules.refusal(_pod(of_pod, own), available=False) == told


def test_a_host_without_it_confines_nobody(tmp_path: pathlib.Path) -> None:
    host = app_armor.AppArmor(tmp_path / "none", tmp_path / "none")
    pod = _pod(UNCONFINED, None)
    assert not host.available
    assert host.profile(pod, pod.spec.containers[0]) == ""
