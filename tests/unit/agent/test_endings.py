"""The message that a container leaves, where the log speaks for it."""

from __future__ import annotations

import pathlib

import pytest

from edgeorch.agent import endings

STAMP = b"2026-01-01T00:00:00.000000000Z stdout "


@pytest.mark.parametrize(
    ("log", "message"),
    [
        pytest.param(STAMP + b"F DONE\n", "DONE\n", id="a line"),
        pytest.param(STAMP + b"P DONE\n", "DONE", id="no newline at the end"),
        pytest.param(STAMP + b"P a\n" + STAMP + b"F b\n", "ab\n", id="a long line in pieces"),
        pytest.param(STAMP + b"F a\rb\n", "a\rb\n", id="a carriage return is no end"),
        pytest.param(STAMP + b"F whole\n" + STAMP[:9], "whole\n", id="half an entry"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_log_as_message(tmp_path: pathlib.Path, log: bytes, message: str) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(log)

    assert endings._log_tail(path) == message


def test_no_more_than_eighty_lines_and_two_kilobytes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(STAMP + b"F %d\n" % number for number in range(200)))
    assert endings._log_tail(path).split() == [str(number) for number in range(120, 200)]

    path.write_bytes((STAMP + b"F " + b"x" * 1000 + b"\n") * 10)
    assert len(endings._log_tail(path)) == 2048
