"""The channel.k8s.io subprotocols, the Status of a command's end, terminal sizes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.wire import channels, remote_command

EVERY = (*channels.REMOTE_COMMAND, *channels.PORT_FORWARD)
by_name = pytest.mark.parametrize("protocol", EVERY, ids=lambda each: each.name or "none")


@by_name
@given(channel=st.integers(0, 9), data=st.binary(max_size=200))
def test_messages_come_back(protocol: channels.Subprotocol, channel: int, data: bytes) -> None:
    message = protocol.encode(channel, data)
    assert protocol.decode(message) == (channel, data)
    if protocol.text:
        message.decode("ascii")


@by_name
@given(message=st.binary(max_size=50))
def test_any_message_is_read_or_refused(protocol: channels.Subprotocol, message: bytes) -> None:
    try:
        channel, _ = protocol.decode(message)
    except channels.ProtocolError:
        return
    assert 0 <= channel <= 255


@pytest.mark.parametrize(
    ("name", "message", "closed"),
    [
        ("v5.channel.k8s.io", b"\xff\x00", 0),
        ("v5.channel.k8s.io", b"\xff\x04", 4),
        ("v5.channel.k8s.io", b"\xff\x00\x00", None),
        ("v5.channel.k8s.io", b"\x00\x00", None),
        ("v4.channel.k8s.io", b"\xff\x00", None),
    ],
)
def test_only_version_5_ends_a_channel(name: str, message: bytes, closed: int | None) -> None:
    protocol = channels.negotiate([name], channels.REMOTE_COMMAND)
    assert protocol is not None
    assert protocol.closes(*protocol.decode(message)) == closed


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["v5.channel.k8s.io"], "v5.channel.k8s.io"),
        (["v9.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"], "v4.channel.k8s.io"),
        (["base64.channel.k8s.io"], "base64.channel.k8s.io"),
        ([], ""),
        (["v9.channel.k8s.io"], None),
    ],
    ids=["only 5", "first known", "base64", "none asked", "none known"],
)
def test_the_clients_first_that_is_known_is_taken(offered: list[str], chosen: str | None) -> None:
    found = channels.negotiate(offered, channels.REMOTE_COMMAND)
    assert (found.name if found else None) == chosen


def test_the_end_of_a_command_is_a_status_from_version_4_on() -> None:
    status = json.loads(remote_command.said(remote_command.ended(7), 4))
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert json.loads(remote_command.said(remote_command.ended(0), 5))["status"] == "Success"
    assert remote_command.said(remote_command.ended(0), 3) == b""
    assert remote_command.said(remote_command.ended(2), 1).endswith(b"exit status 2")


def test_spdy_protocols_have_their_versions() -> None:
    found = [remote_command.version_of(name) for name in remote_command.SPDY_PROTOCOLS]
    assert found == [4, 3, 2, 1]
    assert [remote_command.resize_has_stream(version) for version in found] == [
        True, True, False, False,
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=5),
    st.integers(1, 30),
)
def test_sizes_come_back_however_they_are_cut(sizes: list[tuple[int, int]], step: int) -> None:
    # As Go's json.Encoder writes them: one a line.
    text = "".join(f'{{"Width":{width},"Height":{height}}}\n' for width, height in sizes).encode()
    reader = remote_command.Sizes()
    found = [size for at in range(0, len(text), step) for size in reader.feed(text[at : at + step])]
    assert found == sizes


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[1]",
        b'{"Width":0,"Height":5}',
        b'{"Width":"a","Height":5}',
        b"junk{",
        b"{" * 9000,
    ],
)
def test_what_is_no_size_is_dropped(data: bytes) -> None:
    reader = remote_command.Sizes()
    assert list(reader.feed(data)) == []
    list(reader.feed(b"\n"))
    rest = list(reader.feed(b'{"Width":80,"Height":24}'))
    assert rest == [(80, 24)]
