"""Which seccomp profile a container gets, and what is told when it cannot be had."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from edgeorch.agent import profiles
from tests.unit.core import pods

LOCAL = {"type": "Localhost", "localhostProfile": "mine.json"}
UNCONFINED = {"type": "Unconfined"}


def _filter(
    folder: pathlib.Path,
    pod: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    *,
    available: bool = True,
    privileged: bool = False,
) -> Any:
    context = {"privileged": privileged, **({"seccompProfile": own} if own else {})}
    made = pods.pod(
        securityContext={"seccompProfile": pod} if pod else {},
        containers=[{"name": "main", "image": "i", "securityContext": context}],
    )
    chooser = profiles.Seccomp(folder, "amd64", available=available)
    return chooser.filter(made, made.spec.containers[0], ["CAP_CHOWN"])


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "mine.json").write_text('{"defaultAction": "SCMP_ACT_LOG"}')
    return tmp_path


@pytest.mark.parametrize(
    ("pod", "own", "privileged", "action"),
    [
        (None, None, False, "SCMP_ACT_ERRNO"),
        (None, None, True, None),
        ({"type": "RuntimeDefault"}, None, False, "SCMP_ACT_ERRNO"),
        ({"type": "RuntimeDefault"}, None, True, None),
        (UNCONFINED, None, False, None),
        (UNCONFINED, {"type": "RuntimeDefault"}, False, "SCMP_ACT_ERRNO"),
        (None, UNCONFINED, False, None),
        (LOCAL, None, False, "SCMP_ACT_LOG"),
        (LOCAL, UNCONFINED, False, None),
        (UNCONFINED, LOCAL, True, None),
    ],
)
def test_the_nearest_word_counts_and_privileged_is_not_filtered(
    folder: pathlib.Path,
    pod: dict[str, Any] | None,
    own: dict[str, Any] | None,
    privileged: bool,
    action: str | None,
) -> None:
    found = _filter(folder, pod, own, privileged=privileged)
    assert (found and found["defaultAction"]) == action


def test_a_profile_that_cannot_be_read_is_named(folder: pathlib.Path) -> None:
    missing = folder / "none/such.json"
    with pytest.raises(profiles.ProfileError) as caught:
        _filter(folder, {"type": "Localhost", "localhostProfile": "none/such.json"})
    assert str(caught.value) == (
        f'cannot load seccomp profile "{missing}": open {missing}: no such file or directory'
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"syscalls": []}'])
def test_a_profile_that_makes_no_sense_is_named(folder: pathlib.Path, text: str) -> None:
    (folder / "mine.json").write_text(text)
    with pytest.raises(profiles.ProfileError, match="decoding seccomp profile failed"):
        _filter(folder, LOCAL)


def test_a_kernel_without_filters_goes_on_unless_asked_for_one_of_ones_own(
    folder: pathlib.Path,
) -> None:
    assert _filter(folder, {"type": "RuntimeDefault"}, available=False) is None
    with pytest.raises(profiles.ProfileError, match="seccomp is not supported"):
        _filter(folder, LOCAL, available=False)
