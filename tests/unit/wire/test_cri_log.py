"""CRI log entries: what is written reads back, and reads as the kubelet shows it."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.wire import cri_log

NOW = b"2026-11-22T17:00:00.123456789Z"
FULL = NOW + b" stdout F "
PART = NOW + b" stdout P "


def test_a_stamp_has_nine_digits_and_utc() -> None:
    assert cri_log.stamp(1_795_366_800_123_456_789) == NOW
    assert cri_log.stamp(0) == b"1970-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize(
    ("fed", "expected"),
    [
        pytest.param([b"hello\n"], FULL + b"hello\n", id="a line"),
        pytest.param([b"a\nb\n"], FULL + b"a\n" + FULL + b"b\n", id="two lines at once"),
        pytest.param([b"he", b"llo\n"], FULL + b"hello\n", id="a line in two pieces"),
        pytest.param([b"\n"], FULL + b"\n", id="an empty line"),
        pytest.param([b"a\r\n"], FULL + b"a\r\n", id="a carriage return stays"),
        pytest.param([b"12345678\n"], FULL + b"12345678\n", id="just the limit"),
        pytest.param([b"123456789\n"], PART + b"12345678\n" + FULL + b"9\n", id="over the limit"),
        pytest.param(
            [b"12345678", b"9\n"], PART + b"12345678\n" + FULL + b"9\n", id="over it in pieces"
        ),
        pytest.param(
            [b"1234567812345678x\n"],
            PART + b"12345678\n" + PART + b"12345678\n" + FULL + b"x\n",
            id="twice the limit",
        ),
        pytest.param([b"left"], PART + b"left\n", id="no newline at the end"),
        pytest.param([], b"", id="nothing"),
    ],
)
def test_output_becomes_entries(fed: list[bytes], expected: bytes) -> None:
    formatter = cri_log.Formatter("stdout", limit=8)
    out = b"".join(formatter.feed(data, NOW) for data in fed)
    assert out + formatter.flush(NOW) == expected


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_what_was_fed_is_what_is_shown(pieces: list[bytes], limit: int) -> None:
    formatter = cri_log.Formatter("stderr", limit=limit)
    entries = b"".join(formatter.feed(piece, NOW) for piece in pieces) + formatter.flush(NOW)
    assert cri_log.Renderer().feed(entries) == b"".join(pieces)


@given(st.lists(st.sampled_from([b"", b"a", b"\n", b"bb\n", b"123456789\n", b"\n\n"])), st.data())
def test_where_output_and_entries_are_cut_does_not_matter(
    pieces: list[bytes], data: st.DataObject
) -> None:
    formatter = cri_log.Formatter("stdout", limit=4)
    entries = formatter.feed(b"".join(pieces), NOW) + formatter.flush(NOW)
    other = cri_log.Formatter("stdout", limit=4)
    cut = b"".join(other.feed(piece, NOW) for piece in pieces) + other.flush(NOW)
    assert cut == entries
    renderer = cri_log.Renderer(timestamps=True)
    at = data.draw(st.integers(0, len(entries)))
    halves = renderer.feed(entries[:at]) + renderer.feed(entries[at:])
    assert halves == cri_log.Renderer(timestamps=True).feed(entries)


@pytest.mark.parametrize(
    "line",
    [b"", b"text", NOW + b" stdout X text", NOW + b" stdin F text", b"stdout F text"],
    ids=["empty", "plain", "unknown tag", "unknown stream", "no stamp"],
)
def test_what_is_no_entry_is_not_shown(line: bytes) -> None:
    assert cri_log.parse(line) is None
    assert cri_log.Renderer().feed(line + b"\n" + FULL + b"seen\n") == b"seen\n"


def test_only_the_first_tag_counts() -> None:
    entry = cri_log.parse(NOW + b" stderr P:more some text")
    assert entry == cri_log.Entry(NOW, b"stderr", True, b"some text")


def test_timestamps_stand_only_where_a_line_begins() -> None:
    shown = cri_log.Renderer(timestamps=True).feed(PART + b"ab\n" + FULL + b"c\n" + FULL + b"\n")
    assert shown == NOW + b" abc\n" + NOW + b" \n"


def test_since_keeps_what_is_as_old_or_younger() -> None:
    entries = b"".join(
        cri_log.stamp(second * 10**9) + b" stdout F %d\n" % second for second in range(5)
    )
    since = datetime.datetime.fromtimestamp(3, datetime.timezone(datetime.timedelta(hours=2)))
    assert cri_log.Renderer(since=since).feed(entries) == b"3\n4\n"


@given(st.integers(0, 60))
def test_a_byte_limit_cuts_within_a_line_and_then_nothing_comes(limit: int) -> None:
    renderer = cri_log.Renderer(limit_bytes=limit)
    shown = renderer.feed(FULL + b"0123456789\n") + renderer.feed(FULL + b"abcdefghij\n")
    assert shown == b"0123456789\nabcdefghij\n"[:limit]
    assert renderer.full == (limit <= 22)


def test_one_stream_alone_can_be_shown() -> None:
    entries = FULL + b"out\n" + NOW + b" stderr F err\n"
    assert cri_log.Renderer(stream="stderr").feed(entries) == b"err\n"
    assert cri_log.Renderer(stream="stdout").feed(entries) == b"out\n"
