"""Several streams in one WebSocket: the channel.k8s.io subprotocols.

Pure. A message begins with its channel: a byte in the binary protocols, an ASCII digit in the
base64 ones, whose messages are text and whose data is base64. In version 5, channel 255 says that
the channel named in its one byte of data will get no more. Earlier versions cannot say so.

Source: k8s.io/apimachinery util/remotecommand, util/httpstream/wsstream; KEP-4006
"""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE = 255


class ProtocolError(Exception):
    """A message that the subprotocol does not allow."""


class Subprotocol(Struct, frozen=True):
    """`version` 1 tells failures as text, later ones as a metav1.Status."""

    name: str
    version: int
    text: bool = False

    @property
    def half_close(self) -> bool:
        return self.version >= 5

    def encode(self, channel: int, data: bytes) -> bytes:
        """One message. Text messages are ASCII."""
        if self.text:
            return b"%d" % channel + base64.b64encode(data)
        return bytes((channel,)) + data

    def decode(self, message: bytes) -> tuple[int, bytes]:
        """Channel and data. Raises ProtocolError."""
        if not message:
            raise ProtocolError("a message without a channel")
        if not self.text:
            return message[0], message[1:]
        channel = message[0] - ord("0")
        if not 0 <= channel <= 9:
            raise ProtocolError("a message that begins with no channel number")
        try:
            return channel, base64.b64decode(message[1:], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProtocolError(f"a message that is no base64: {error}") from None

    def closes(self, channel: int, data: bytes) -> int | None:
        """The channel that a message ends, if that is its meaning."""
        return data[0] if self.half_close and channel == CLOSE and len(data) == 1 else None


_V4, _V4_BASE64 = (
    Subprotocol("v4.channel.k8s.io", 4),
    Subprotocol("v4.base64.channel.k8s.io", 4, text=True),
)
REMOTE_COMMAND = (
    Subprotocol("v5.channel.k8s.io", 5),
    _V4,
    _V4_BASE64,
    Subprotocol("channel.k8s.io", 1),
    Subprotocol("base64.channel.k8s.io", 1, text=True),
    Subprotocol("", 1),
)
"""Of exec and attach. "" is a client that asks for none."""
PORT_FORWARD = (_V4, _V4_BASE64, Subprotocol("", 4))
"""Of port-forward with the ports in the query: channel 2n is the data, 2n+1 the error of port n."""


def negotiate(offered: list[str], known: tuple[Subprotocol, ...]) -> Subprotocol | None:
    """The first that the client offers and the server knows."""
    by_name = {each.name: each for each in known}
    if not offered:
        return by_name.get("")
    return next((by_name[name] for name in offered if name in by_name), None)
