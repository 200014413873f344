"""The OCI process of an exec, out of its container's spec."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeorch.runtime import execs

BASE = {
    "args": ["nginx"],
    "env": ["PATH=/bin", "A=1"],
    "cwd": "/srv",
    "user": {"uid": 5, "gid": 6},
    "capabilities": {"bounding": ["CAP_KILL"]},
    "terminal": True,
    "consoleSize": {"height": 1, "width": 2},
}


def made(command: execs.Command) -> Any:
    return json.loads(execs.process_spec(json.dumps({"process": BASE}).encode(), command))


def test_what_is_not_said_comes_from_the_container() -> None:
    expected = {**BASE, "args": ["ls"], "terminal": False}
    del expected["consoleSize"]
    assert made(execs.Command(["ls"])) == expected


@pytest.mark.parametrize(
    ("command", "field", "expected"),
    [
        (execs.Command(["x"], env={"A": "2", "B": "3"}), "env", ["PATH=/bin", "A=2", "B=3"]),
        (execs.Command(["x"], cwd="/tmp"), "cwd", "/tmp"),
        (execs.Command(["x"], user={"uid": 0, "gid": 0}), "user", {"uid": 0, "gid": 0}),
        (execs.Command(["x"], terminal=True), "env", ["PATH=/bin", "A=1", "TERM=xterm"]),
        (
            execs.Command(["x"], terminal=True, env={"TERM": "linux"}),
            "env",
            ["PATH=/bin", "A=1", "TERM=linux"],
        ),
    ],
    ids=["environment", "directory", "user", "terminal", "terminal of a kind"],
)
def test_what_is_said_counts(command: execs.Command, field: str, expected: Any) -> None:
    assert made(command)[field] == expected
