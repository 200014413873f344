"""Which logs make room for others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import log_names, log_space
from edgeorch.core.log_space import File


def _file(container: str, attempt: int, stamp: str, size: int) -> File:
    return File(f"{container}/{attempt}.log.{stamp}", container, attempt, stamp, size)


def _names(files: tuple[File, ...]) -> list[str]:
    return [file.path for file in files]


LOUD = [
    _file("loud", 1, "", 40),
    _file("loud", 0, "", 30),
    _file("loud", 0, "20260101-000002", 100),
    _file("loud", 0, "20260101-000001.gz", 20),
    _file("loud", 1, "20260101-000003", 100),
]
QUIET = [_file("quiet", 0, "", 50), _file("quiet", 0, "20260101-000000", 60)]


def test_below_the_limit_all_stays() -> None:
    assert log_space.decide([*LOUD, *QUIET], 400) == log_space.Decision()


def test_the_biggest_gives_its_oldest_first() -> None:
    decided = log_space.decide([*LOUD, *QUIET], 399)
    # Down to nine tenths of the limit.
    assert _names(decided.remove) == ["loud/0.log.20260101-000001.gz", "loud/0.log.20260101-000002"]
    assert decided.empty == ()


def test_then_the_next_biggest_and_what_is_written_now_at_last() -> None:
    decided = log_space.decide([*QUIET, *LOUD], 100)
    assert _names(decided.remove) == [
        "loud/0.log.20260101-000001.gz",
        "loud/0.log.20260101-000002",
        "loud/0.log.",
        "loud/1.log.20260101-000003",
        "quiet/0.log.20260101-000000",
    ]
    assert decided.empty == ()
    decided = log_space.decide([*QUIET, *LOUD], 60)
    assert _names(decided.empty) == ["quiet/0.log."]


_FILES = st.lists(
    st.builds(
        _file,
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from(["", "1", "2", "3"]),
        st.integers(0, 100),
    ),
    unique_by=lambda file: file.path,
)


@given(_FILES, st.integers(1, 500))
def test_what_is_left_is_below_the_limit_and_no_more_is_taken_than_needed(
    files: list[File], limit: int
) -> None:
    decided = log_space.decide(files, limit)
    gone = {*decided.remove, *decided.empty}
    left = sum(file.size for file in files if file not in gone)
    assert left <= limit
    if gone:
        last = (decided.empty or decided.remove)[-1]
        assert left + last.size > int(limit * log_space.ROOM)
    for container in {file.container for file in files}:
        kept = [file for file in files if file.container == container and file not in gone]
        newest = max(
            (file for file in files if file.container == container),
            key=lambda file: (file.attempt, not file.stamp, file.stamp),
        )
        assert newest in kept or newest in decided.empty


def test_names_as_the_kubelet_makes_them() -> None:
    assert log_names.folder("ns", "web-0", "uid") == "ns_web-0_uid"
    assert log_names.link("ns", "web-0", "app", "f" * 64) == f"web-0_ns_app-{'f' * 64}.log"
    long = log_names.link("n" * 63, "p" * 200, "app", "f" * 64)
    assert len(long) == 255
    assert long.endswith(".log")


def test_what_is_written_no_more_is_all_but_the_newest() -> None:
    found = log_space.written_no_more([*LOUD, *QUIET])
    kept = {file.path for file in [*LOUD, *QUIET]} - {file.path for file in found}
    assert kept == {"loud/1.log.", "quiet/0.log."}
