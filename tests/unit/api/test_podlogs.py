"""Which container's log is meant, and whether there is one, in the kubelet's words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.api import podlogs
from edgeorch.model import errors


def pod(*containers: str, inits: tuple[str, ...] = (), status: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": name} for name in containers],
            "initContainers": [{"name": name} for name in inits],
        },
    }
    if status is not None:
        found["status"] = {"containerStatuses": [{"name": "a", **status}]}
    return found


def test_the_only_container_needs_no_name() -> None:
    assert podlogs.container_of(pod("a", inits=("i",)), "") == "a"
    assert podlogs.container_of(pod("a", inits=("i",)), "i") == "i"


@pytest.mark.parametrize(
    ("obj", "asked", "told"),
    [
        (pod("a", "b"), "", "a container name must be specified for pod p, choose one of: [a b]"),
        (
            pod("a", "b", inits=("i",)), "",
            ("a container name must be specified for pod p, choose one of: [a b] "
            "or one of the init containers: [i]"),
        ),
        (pod("a"), "x", "container x is not valid for pod p"),
    ],
    ids=["several", "with-init", "unknown"],
)  # fmt: skip
def test_an_unclear_container_is_asked_for(obj: dict[str, Any], asked: str, told: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        podlogs.container_of(obj, asked)
    assert (caught.value.code, caught.value.message) == (400, told)


_ENDED = {"terminated": {"containerID": "containerd://1"}}


@pytest.mark.parametrize(
    ("status", "previous", "told"),
    [
        (None, False, 'container "a" in pod "p" is not available'),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False,
         'container "a" in pod "p" is waiting to start: ContainerCreating'),
        ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, False,
         'container "a" in pod "p" is waiting to start: trying and failing to pull image'),
        ({"state": {}}, False, 'container "a" in pod "p" is waiting to start - no logs yet'),
        ({"state": {"terminated": {}}}, False, 'container "a" in pod "p" is terminated'),
        ({"state": {"running": {}}}, True,
         'previous terminated container "a" in pod "p" not found'),
        ({"state": {"running": {}}}, False, ""),
        ({"state": _ENDED}, False, ""),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": _ENDED}, False, ""),
        ({"state": {"running": {}}, "lastState": _ENDED}, True, ""),
    ],
)  # fmt: skip
def test_a_log_is_there_or_the_reason_is_told(status: Any, previous: bool, told: str) -> None:
    obj = pod("a", status=status)
    if not told:
        podlogs.check_available(obj, "a", previous=previous)
        return
    with pytest.raises(errors.StatusError) as caught:
        podlogs.check_available(obj, "a", previous=previous)
    assert (caught.value.code, caught.value.message) == (400, told)
