"""Forget UDP flows that lead to an endpoint that is gone, over ctnetlink.

UDP has no end, so a client that keeps sending keeps its flow, and with it the translation to an
endpoint that no longer exists. Only entries of the given Service addresses are touched. Blocking:
callers on the event loop go through `asyncio.to_thread`. Format: linux/netfilter/
nfnetlink_conntrack.h; numbers within attributes are big-endian.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

NETLINK_NETFILTER = 12
CTNETLINK = 1 << 8
CT_GET = CTNETLINK | 1
CT_DELETE = CTNETLINK | 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY = 1, 2
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
TYPE_MASK = 0x3FFF
NESTED = 0x8000


class Flow(Struct, frozen=True):
    """A tracked connection: where the client sent it and who answers."""

    protocol: int
    client: str
    destination: str
    port: int
    answerer: str
    answer_port: int
    raw_tuple: bytes = b""
    """CTA_TUPLE_ORIG as it came, which names the entry for deletion."""


def delete(matches: Callable[[Flow], bool], family: int = socket.AF_INET) -> int:
    """Delete the UDP flows for which `matches` holds; how many there were."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        doomed = [
            flow
            for flow in _dump(sock, family)
            if flow.protocol == socket.IPPROTO_UDP and matches(flow)
        ]
        for flow in doomed:
            _delete(sock, family, flow)
    return len(doomed)


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _dump(sock: socket.socket, family: int) -> Iterator[Flow]:
    sock.send(_message(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, family, b""))
    while True:
        data = sock.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                _raise(data[offset + 16 :], "cannot list connections")
            flow = parse(data[offset + 20 : offset + length])
            if flow is not None:
                yield flow
            offset += (length + 3) & ~3


def _delete(sock: socket.socket, family: int, flow: Flow) -> None:
    attribute = struct.pack("=HH", 4 + len(flow.raw_tuple), CTA_TUPLE_ORIG | NESTED)
    sock.send(_message(CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, family, attribute + flow.raw_tuple))
    _raise(sock.recv(65536)[16:], "cannot delete a connection")


def _raise(body: bytes, what: str) -> None:
    (code,) = struct.unpack_from("=i", body)
    if code not in (0, -errno.ENOENT):
        raise OSError(-code, what)


def parse(attributes: bytes) -> Flow | None:
    """None for what is not IP with ports."""
    outer = dict(_attributes(attributes))
    there, back = outer.get(CTA_TUPLE_ORIG), outer.get(CTA_TUPLE_REPLY)
    if there is None or back is None:
        return None
    sent, answered = _tuple(there), _tuple(back)
    if sent is None or answered is None:
        return None
    return Flow(sent[0], sent[1], sent[2], sent[3], answered[1], answered[4], there)


def _tuple(data: bytes) -> tuple[int, str, str, int, int] | None:
    """Protocol, source, destination, destination port, source port."""
    parts = dict(_attributes(data))
    ip = dict(_attributes(parts.get(CTA_TUPLE_IP, b"")))
    proto = dict(_attributes(parts.get(CTA_TUPLE_PROTO, b"")))
    source = ip.get(CTA_IP_V4_SRC) or ip.get(CTA_IP_V6_SRC)
    destination = ip.get(CTA_IP_V4_DST) or ip.get(CTA_IP_V6_DST)
    if source is None or destination is None or CTA_PROTO_DST_PORT not in proto:
        return None
    return (
        proto[CTA_PROTO_NUM][0],
        str(ipaddress.ip_address(source)),
        str(ipaddress.ip_address(destination)),
        int.from_bytes(proto[CTA_PROTO_DST_PORT], "big"),
        int.from_bytes(proto[CTA_PROTO_SRC_PORT], "big"),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
