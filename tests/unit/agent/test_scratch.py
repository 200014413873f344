"""emptyDir volumes."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.agent.volumes import errors, scratch
from edgeorch.model import views


@pytest.mark.parametrize(
    ("medium", "told"),
    [
        ("Flash", 'unknown storage medium "Flash"'),
        ("HugePages", "the pod asks for no hugepages"),
        ("HugePages-x", "quantities must match"),
    ],
)
def test_a_medium_nobody_knows_is_told(medium: str, told: str, tmp_path: pathlib.Path) -> None:
    pod = views.Pod(metadata=views.Meta(name="p"))
    with pytest.raises(errors.VolumeError, match=told):
        scratch.make(tmp_path / "v", {"medium": medium}, pod, 0)
