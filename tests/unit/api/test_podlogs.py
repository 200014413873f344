"""Which container's log is meant, and whether there is one, in the kubelet's words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from edgeorch.api import call, podlogs
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
            "a container name must be specified for pod p, choose one of: [i a b]",
        ),
        (pod("a"), "x", "container x is not valid for pod p"),
    ],
    ids=["several", "with-init", "unknown"],
)  # fmt: skip
def test_an_unclear_container_is_asked_for(obj: dict[str, Any], asked: str, told: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        podlogs.container_of(obj, asked)
    assert (caught.value.code, caught.value.message) == (400, told)


def _call(query: str) -> Any:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    return call.Call(SimpleNamespace(), SimpleNamespace(), [], asked, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
         ": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
        ("stream=stdout",
         'stream: Unsupported value: "stdout": supported values: "All", "Stderr", "Stdout"'),
        ("stream=", 'stream: Unsupported value: "": supported values: "All", "Stderr", "Stdout"'),
        ("stream=Stderr&tailLines=3",
         ": Forbidden: `tailLines` and specific `stream` are mutually exclusive for now"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_invalid(query: str, told: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        podlogs.options(_call(query), "p")
    assert caught.value.code == 422
    assert caught.value.message == f'PodLogOptions "p" is invalid: {told}'


@pytest.mark.parametrize(
    "query", ["tailLines=many", "limitBytes=1k", "sinceSeconds=1.5", "sinceTime=yesterday"]
)
def test_what_is_no_number_or_time_is_a_bad_request(query: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        podlogs.options(_call(query), "p")
    assert caught.value.code == 400


def test_options_are_read_as_kubernetes_reads_them() -> None:
    assert podlogs.options(_call(""), "p") == podlogs.Options(
        False, False, None, None, False, None, None, "All"
    )
    found = podlogs.options(
        _call(
            "follow=&previous=0&sinceTime=2026-01-01T00:00:00%2B02:00&stream=Stdout"
            "&insecureSkipTLSVerifyBackend=true"
        ),
        "p",
    )
    assert (found.follow, found.previous, found.stream) == (True, False, "Stdout")
    assert found.since_time is not None
    assert found.since_time.isoformat() == "2026-01-01T00:00:00+02:00"
    assert podlogs.options(_call("stream=All&tailLines=0"), "p").tail_lines == 0


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
