"""What of a device's directories may go, and where users' volumes are, also by a broken file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeorch.agent.volumes import folders
from scripts.lablib import belongings

BROKEN = """\
# data_dir: /not/this
data_dir: "/srv/my data"   # a card of its own
storage:
  path: /srv/volumes # there
network: {bridge: edge9, pod_cidr: 10.1.0.0/24}
containerd:
    namespace: 'other'
  address: [
image_dir /srv/kept
"""


def test_a_configuration_that_no_parser_takes_still_tells_where_things_are() -> None:
    found = belongings.scalars(BROKEN)
    assert found["data_dir"] == "/srv/my data"
    assert found["storage.path"] == "/srv/volumes"
    assert found["network.bridge"] == "edge9"
    assert found["containerd.namespace"] == "other"
    assert "containerd.address" not in found


def test_every_path_in_it_is_found() -> None:
    assert belongings.paths_in(BROKEN) == {"/srv/my data", "/srv/volumes", "/srv/kept"}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("state.db", True),
        ("state.db.damaged-1", True),
        (".tokens.csv.x1y2z3", True),
        ("storage", False),
        (belongings.RECORD, False),
        ("state.dbase", False),
        ("videos", False),
        ("pvc-0b2f6f1e-0000-4000-8000-000000000000_default_data", False),
    ],
)
def test_only_names_that_edgeorch_gives_are_its_own(name: str, own: bool) -> None:
    assert belongings.is_own(name, belongings.DATA) is own


def test_a_tree_is_taken_whole_or_around_what_is_spared(tmp_path: Path) -> None:
    for name in ("pods/one/a", "pods/two/b", "pods/two/c"):
        (tmp_path / name).mkdir(parents=True)
    link = tmp_path / "pods/link"
    link.symlink_to(tmp_path / "pods/two/b")

    def left(*spared: str) -> list[str]:
        found = belongings.without(tmp_path / "pods", [tmp_path / each for each in spared])
        return [str(path.relative_to(tmp_path)) for path in found]

    assert left() == ["pods"]
    assert left("elsewhere") == ["pods"]
    assert left("pods/two/b") == ["pods/link", "pods/one", "pods/two/c"]
    assert left("pods") == []


def test_the_record_is_what_the_device_writes(tmp_path: Path) -> None:
    assert belongings.RECORD == folders.RECORD
    for root in ("/srv/one", "/srv/two", "/srv/one"):
        folders.note_root(tmp_path, Path(root))
    assert belongings.record(tmp_path) == {"/srv/one", "/srv/two"}
    assert belongings.record(tmp_path / "none") == set()
