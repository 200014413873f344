"""SPDY/3.1: what spdystream sends is read, what is written is read back, nothing else harms."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.wire import spdy

IDS = st.integers(1, 2**31 - 1)
WORDS = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=40)
HEADERS = st.dictionaries(st.text("abcdefgh-x", min_size=1, max_size=12), TEXT, max_size=6)
FRAMES = st.one_of(
    st.builds(spdy.SynStream, IDS, HEADERS, st.booleans(), st.booleans(), IDS, st.integers(0, 7)),
    st.builds(spdy.SynReply, IDS, HEADERS, st.booleans()),
    st.builds(spdy.Headers, IDS, HEADERS, st.booleans()),
    st.builds(spdy.RstStream, IDS, WORDS),
    st.builds(spdy.Settings, st.dictionaries(st.integers(0, 2**24 - 1), WORDS, max_size=4)),
    st.builds(spdy.Ping, WORDS),
    st.builds(spdy.GoAway, IDS, WORDS),
    st.builds(spdy.WindowUpdate, IDS, st.integers(0, 2**31 - 1)),
    st.builds(spdy.Data, IDS, st.binary(max_size=300), st.booleans()),
)


def joined(frames: list[spdy.Frame]) -> list[spdy.Frame]:
    """With the pieces of each DATA frame put together: a frame ends with another or its FIN."""
    out: list[spdy.Frame] = []
    for frame in frames:
        last = out[-1] if out else None
        if (
            isinstance(frame, spdy.Data)
            and isinstance(last, spdy.Data)
            and last.stream == frame.stream
            and not last.fin
        ):
            out[-1] = spdy.Data(frame.stream, last.data + frame.data, frame.fin)
        elif not (isinstance(frame, spdy.Data) and not frame.data and not frame.fin):
            out.append(frame)
    return out


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(1, 64), min_size=1, max_size=40))
def test_frames_come_back_however_the_bytes_are_cut(
    frames: list[spdy.Frame], cuts: list[int]
) -> None:
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    wire = b"".join(encoder.encode(frame) for frame in frames)
    found: list[spdy.Frame] = []
    at = turn = 0
    while at < len(wire):
        step = cuts[turn % len(cuts)]
        found += decoder.feed(wire[at : at + step])
        at, turn = at + step, turn + 1
    assert joined(found) == joined(frames)


@given(st.binary(max_size=400))
def test_any_bytes_are_frames_or_a_protocol_error(data: bytes) -> None:
    decoder = spdy.Decoder()
    try:
        for at in range(0, len(data), 7):
            list(decoder.feed(data[at : at + 7]))
    except spdy.ProtocolError:
        pass


def test_the_dictionary_is_that_of_the_specification() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_data_is_handed_on_before_its_frame_is_whole() -> None:
    decoder = spdy.Decoder()
    head = spdy.data_head(5, 10, fin=True)
    assert list(decoder.feed(head + b"abc")) == [spdy.Data(5, b"abc")]
    assert list(decoder.feed(b"defghij")) == [spdy.Data(5, b"defghij", fin=True)]


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">II", 0x8002_0001, 0),
        struct.pack(">II", 0x8003_0001, spdy.MAX_CONTROL + 1),
        struct.pack(">II", 0x8003_0003, 4) + b"\0\0\0\1",
        struct.pack(">III", 0x8003_0004, 4, 7),
        struct.pack(">II", 0x8003_0001, 14) + b"\0\0\0\1\0\0\0\0\0\0junk",
    ],
    ids=["version 2", "huge", "short reset", "settings without values", "no zlib"],
)
def test_what_breaks_the_protocol_says_so(wire: bytes) -> None:
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Decoder().feed(wire))


def test_headers_that_grow_out_of_a_few_bytes_are_refused() -> None:
    packer = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    bomb = packer.compress(bytes(8 * 1024 * 1024)) + packer.flush(zlib.Z_SYNC_FLUSH)
    body = b"\0\0\0\1\0\0\0\0\0\0" + bomb
    with pytest.raises(spdy.ProtocolError, match="more than"):
        list(spdy.Decoder().feed(struct.pack(">II", 0x8003_0001, len(body)) + body))


def test_a_header_block_that_lies_about_its_lengths_is_refused() -> None:
    packer = zlib.compressobj(zdict=spdy.DICTIONARY)
    lie = packer.compress(struct.pack(">II", 1, 5000) + b"name")
    lie += packer.flush(zlib.Z_SYNC_FLUSH)
    body = b"\0\0\0\1\0\0\0\0\0\0" + lie
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Decoder().feed(struct.pack(">II", 0x8003_0001, len(body)) + body))


def test_an_unknown_control_frame_is_passed_over() -> None:
    wire = struct.pack(">II", 0x8003_0005, 3) + b"abc" + spdy.Encoder().encode(spdy.Ping(1))
    assert list(spdy.Decoder().feed(wire)) == [spdy.Ping(1)]
