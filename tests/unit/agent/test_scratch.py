"""emptyDir volumes."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.agent.volumes import errors, scratch
from edgeorch.model import views


def test_a_medium_nobody_knows_is_told(tmp_path: pathlib.Path) -> None:
    pod = views.Pod(metadata=views.Meta(name="p"))
    with pytest.raises(errors.VolumeError, match='unknown storage medium "Flash"'):
        scratch.make(tmp_path / "v", {"medium": "Flash"}, pod, 0)

    assert not (tmp_path / "v").exists()
