"""A version on trial: when it has passed, when it has not, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeorch import check
from edgeorch.lib import conditions, trial

RECORD = trial.Record("2-new", "1-old", settle=30, deadline=300)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("2-new 1-old 30 300\n", RECORD),
        ("2-new 1-old\nstart\n", trial.Record("2-new", "1-old", starts=1)),
        ("2-new 1-old 1 2.5\nstart\nwhy a b\nstart\nwhy c\n",
         trial.Record("2-new", "1-old", 1, 2.5, 2, "c")),
        ("2-new 1-old 30 300\nstart\nsta", trial.Record("2-new", "1-old", starts=1)),
        ("", None),
        ("2-new\n", None),
        ("2-new 1-old soon later\n", None),
        ("2-new 1-old 1 2 3\n", None),
        ("\0\0\0\n", None),
    ],
)  # fmt: skip
def test_the_file_of_a_trial(text: str, record: trial.Record | None) -> None:
    assert trial.parse(text) == record


MISSING = "network: down"


@pytest.mark.parametrize(
    ("looks", "verdicts"),
    [
        ([(0, ""), (29, ""), (30, "")], [None, None, True]),
        ([(0, MISSING), (200, ""), (229, ""), (230, "")], [None, None, None, True]),
        ([(0, ""), (20, MISSING), (21, ""), (50, ""), (51, "")], [None, None, None, None, True]),
        ([(0, MISSING), (299, MISSING), (300, MISSING)], [None, None, False]),
        ([(0, MISSING), (280, ""), (300, "")], [None, None, False]),
        ([(7, ""), (8, MISSING), (306, ""), (307, MISSING)], [None, None, None, False]),
    ],
)
def test_it_must_be_ready_for_a_while_on_end(
    looks: list[tuple[float, str]], verdicts: list[bool | None]
) -> None:
    judged = trial.Trial(Path("none"), RECORD)
    assert [judged.judge(missing, now) for now, missing in looks] == verdicts


async def test_a_trial_that_is_passed_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "trial"
    path.write_text("2-new 1-old 0 1\nstart\n")
    (tmp_path / "failed").write_text("1-bad 1-old\n")
    found = trial.Trial.found({trial.TRIAL: str(path)})
    assert found is not None
    assert await found.run(lambda: "", lambda: 0.0)
    assert list(tmp_path.iterdir()) == []


async def test_one_that_is_not_passed_says_why(tmp_path: Path) -> None:
    path = tmp_path / "trial"
    path.write_text("2-new 1-old 1 0\nstart\n")
    found = trial.Trial.found({trial.TRIAL: str(path)})
    assert found is not None
    assert not await found.run(lambda: "dns: no\nsocket", lambda: 0.0)
    assert found.failure == "dns: no\nsocket"
    left = trial.read(path)
    assert left is not None
    assert (left.starts, left.why) == (1, "dns: no socket")


def test_a_process_that_nobody_launched_is_on_none() -> None:
    board = conditions.Board()
    trial.tell(board, {})
    assert trial.Trial.found({}) is None
    assert board.all() == []


def test_what_the_node_tells(tmp_path: Path) -> None:
    board, path = conditions.Board(), tmp_path / "trial"
    environment = {trial.INSTALLATION: str(tmp_path), trial.TRIAL: str(path)}

    def told() -> tuple[bool, str]:
        trial.tell(board, environment)
        found = board.find(trial.CONDITION)
        assert found is not None
        return found.wrong, found.reason

    assert told() == (False, "NoneFailed")
    path.write_text("2-new 1-old 1 0\nstart\nwhy dns: no\n")
    assert told() == (False, "OnTrial")
    path.rename(tmp_path / "failed")
    assert told() == (True, "WentBack")
    found = board.find(trial.CONDITION)
    assert found is not None
    assert "2-new did not become ready in 1 starts (dns: no), and 1-old is in use" in found.message


def test_check_tells_it_where_the_device_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path / "1-old"))
    assert check._upgrade() == []
    (tmp_path / "failed").write_text("2-new 1-old 1 0\nstart\nstart\nstart\nwhy dns: no\n")
    (found,) = check._upgrade()
    told = "2-new did not become ready in 3 starts (dns: no), and 1-old is in use again"
    assert (found.name, found.level, found.text) == ("UpgradeFailed", check.WARNING, told)
    assert found.fix.startswith("look at journalctl -u edgeorch")
