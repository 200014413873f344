"""Variables from files that another container has written."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest

from edgeorch.agent import env_files
from edgeorch.core import env, env_file
from edgeorch.model import kinds, validation
from tests.unit.core import pods
from tests.unit.model import made

TEXT = """\
# a comment
A=1
  B = two words \n
C='it is $(here) # whole'
D='over
lines'
E=long \\
   er
A=2
F=
=no name
no equals
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "2"), ("B", "two words"), ("C", "it is $(here) # whole"), ("D", "over\nlines"),
        ("E", "longer"), ("F", ""), ("G", None), ("# a comment", None), ("", "no name"),
    ],
)  # fmt: skip
def test_a_file_is_read_as_written(name: str, value: str | None) -> None:
    assert env_file.value_of(TEXT, name) == value


def found(ref: dict[str, Any]) -> dict[str, str]:
    variables = [{"name": "X", "valueFrom": {"fileKeyRef": ref}}]
    pod = pods.pod(containers=[{"name": "main", "env": variables}])
    files = {("v", "a.env"): TEXT}
    return env.variables(
        pod, pod.spec.containers[0], lambda *_: None, env.Facts("node"), {},
        files=lambda volume, path: files.get((volume, path)),
    )  # fmt: skip


def test_a_variable_comes_from_a_file() -> None:
    assert found({"volumeName": "v", "path": "a.env", "key": "A"}) == {"X": "2"}


@pytest.mark.parametrize("ref", [{"path": "a.env", "key": "no"}, {"path": "no.env", "key": "A"}])
def test_what_is_not_there(ref: dict[str, str]) -> None:
    with pytest.raises(env.ConfigError, match="environment variable key"):
        found({"volumeName": "v", **ref})
    assert found({"volumeName": "v", "optional": True, **ref}) == {}


def test_no_link_leads_out_of_the_volume(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "v"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("A=1")
    (tmp_path / "secret").write_text("A=secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    (root / "big").write_text("A" * (env_files.LIMIT + 1))

    assert env_files.read(root, "d/f") == "A=1"
    assert env_files.read(root, "d/no") is None
    for path in ("link", "out/secret", "pipe", "d", "big"):
        with pytest.raises(OSError, match=r"."):
            env_files.read(root, path)


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ({"volumeName": "v", "path": "a", "key": "A"}, []),
        ({"path": "a", "key": "A"}, ["volumeName: Required value"]),
        ({"volumeName": "v", "path": "../a", "key": "A"},
         ['path: Invalid value: "../a": must not contain \'..\'']),
        ({"volumeName": "v", "path": "a", "key": "A=B"}, [None]),
    ],
)  # fmt: skip
def test_references_are_checked(ref: dict[str, str], told: list[str | None]) -> None:
    variable = {"name": "X", "valueFrom": {"fileKeyRef": ref}}
    causes = validation.create(kinds.POD, made.pod_with(env=[variable]))
    path = "spec.containers[0].env[0].valueFrom.fileKeyRef."
    shown = [str(cause).removeprefix(path) for cause in causes]

    assert len(shown) == len(told)
    assert all(want in (None, got) for want, got in zip(told, shown, strict=True))
