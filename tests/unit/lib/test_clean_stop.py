"""What the last stop was like."""

from __future__ import annotations

from pathlib import Path

from edgeorch.lib import clean_stop, conditions


def started(path: Path, boot: str) -> clean_stop.CleanStop:
    stop = clean_stop.CleanStop(path, boot)
    stop.begin()
    return stop


def test_a_cut_is_what_is_left_of_another_boot(tmp_path: Path) -> None:
    path = tmp_path / "running"
    assert not started(path, "one").was_cut, "the first start of all"
    assert not started(path, "one").was_cut, "killed, but the machine went on"
    cut = started(path, "two")
    assert cut.was_cut
    assert started(path, "two").was_cut, "killed before it had looked around"
    cut.end()
    assert not started(path, "two").was_cut
    path.write_bytes(b"\xff")
    assert not started(path, "two").was_cut


def test_it_is_a_condition_of_the_node(tmp_path: Path) -> None:
    path = tmp_path / "running"
    for boot, wrong, reason in [
        ("one", False, "StoppedCleanly"),
        ("one", True, "ProcessWasKilled"),
        ("two", True, "PowerWasCut"),
    ]:
        board = conditions.Board()
        stop = started(path, boot)
        stop.tell(board)
        found = board.find(clean_stop.CONDITION)
        assert found is not None
        assert (found.wrong, found.reason) == (wrong, reason)
