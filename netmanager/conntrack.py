"""The kernel's memory of connections: what is to be forgotten, because it leads to an endpoint that is no more.

By netlink itself (linux/netfilter/nfnetlink_conntrack.h). pyroute2 can do it too, but takes a millisecond for each
connection that there is, and a busy node has tens of thousands; here it is some microseconds.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from mangrove.base.errors import Unavailable

_NETFILTER, _CONNTRACK = 12, 1
_GET, _DELETE = 1, 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
# Attributes of a connection; of one direction of it; of its addresses; of its protocol.
_ORIG, _REPLY, _ZONE = 1, 2, 18
_IP, _PROTO = 1, 2
_SOURCES = (1, 3)  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_NUMBER = 1
#: Attributes' types carry flags above these bits.
_TYPE = 0x3FFF
_BUFFER = 1 << 18
#: Seconds for the kernel to answer.
_PATIENCE = 10.0


def forget(addresses: frozenset[str], *, udp_only: bool) -> int:
    """Forget what is answered by one of these endpoints; returns how many connections that were. Raises Unavailable.

    udp_only: leave TCP alone, which ends by itself and must not be cut. What is remembered of UDP goes on for as long
    as the client sends, so it would never find another endpoint. Without it, what the addresses began is forgotten too.
    """
    forgotten = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as netlink:
            netlink.settimeout(_PATIENCE)
            for family in (socket.AF_INET, socket.AF_INET6):
                ours = {socket.inet_pton(family, it) for it in addresses if (":" in it) == (family == socket.AF_INET6)}
                if ours:
                    for each in [it for it in _dump(netlink, family) if _concerns(it, ours, udp_only=udp_only)]:
                        forgotten += _delete(netlink, family, each)
    except OSError as error:
        raise Unavailable(f"connections cannot be looked at: {error.strerror or error}") from error
    return forgotten


def _concerns(connection: dict[int, bytes], ours: set[bytes], *, udp_only: bool) -> bool:
    there, back = connection.get(_ORIG, b""), connection.get(_REPLY, b"")
    protocol = _attributes(_attributes(there).get(_PROTO, b"")).get(_NUMBER, b"\0")[0]
    if udp_only:
        return protocol == socket.IPPROTO_UDP and _source(back) in ours
    return _source(back) in ours or _source(there) in ours


def _source(direction: bytes) -> bytes:
    found = _attributes(_attributes(direction).get(_IP, b""))
    return next((found[kind] for kind in _SOURCES if kind in found), b"")


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    place = 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4:
            break
        found[kind & _TYPE] = data[place + 4 : place + length]
        place += (length + 3) & ~3
    return found


def _message(what: int, flags: int, family: int, attributes: bytes = b"") -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), _CONNTRACK << 8 | what, flags | _REQUEST, 1, 0) + body


def _answers(netlink: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Type and content of each message until the end of an answer. Raises OSError for one that is an error."""
    while True:
        data = netlink.recv(_BUFFER)
        place = 0
        while place + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, place)
            content = data[place + 16 : place + length]
            if kind in (_DONE, _ERROR):
                number = -struct.unpack_from("=i", content)[0] if content else 0
                if number:
                    raise OSError(number, "conntrack")
                return
            yield kind, content
            place += (length + 3) & ~3


def _dump(netlink: socket.socket, family: int) -> Iterator[dict[int, bytes]]:
    netlink.send(_message(_GET, _DUMP, family))
    for _, content in _answers(netlink):
        yield _attributes(content[4:])


def _delete(netlink: socket.socket, family: int, connection: dict[int, bytes]) -> bool:
    """Whether it was still there."""
    named = b"".join(
        struct.pack("=HH", 4 + len(connection[kind]), kind | (0x8000 if kind == _ORIG else 0))
        + connection[kind]
        + bytes(-len(connection[kind]) % 4)
        for kind in (_ORIG, _ZONE)
        if kind in connection
    )
    netlink.send(_message(_DELETE, _ACK, family, named))
    try:
        for _ in _answers(netlink):
            pass
    except FileNotFoundError:
        return False
    return True
