"""ICMP echo, as `ping` does: that is on few small devices, and this is short."""

from __future__ import annotations

import os
import socket
import struct
import time

from mangrove.base.errors import Unavailable

#: Type of a request and of its answer (RFC 792, RFC 4443).
_ASKED = {4: (8, 0), 6: (128, 129)}
#: Bytes of an IPv4 header without options, which comes before what is received.
_HEADER = {4: 20, 6: 0}


def echo(address: str, number: int, timeout: float = 2.0) -> float | None:
    """Milliseconds there and back; None when no answer came within `timeout` seconds. Raises Unavailable."""
    version = 6 if ":" in address else 4
    asked, answered = _ASKED[version]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version == 6 else socket.IPPROTO_ICMP
    own = os.getpid() & 0xFFFF
    message = struct.pack("!BBHHH", asked, 0, 0, own, number)
    # Of IPv6 the kernel works out the sum by itself.
    message = struct.pack("!BBHHH", asked, 0, _checksum(message) if version == 4 else 0, own, number)
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as opened:
            opened.connect((address, 0))
            began = time.monotonic()
            opened.send(message)
            while (left := began + timeout - time.monotonic()) > 0:
                opened.settimeout(left)
                heard = opened.recv(2048)[_HEADER[version] :]
                if len(heard) >= 8 and struct.unpack("!BBHHH", heard[:8])[::3] == (answered, own):
                    return (time.monotonic() - began) * 1000
    except TimeoutError:
        return None
    except PermissionError:
        raise Unavailable("only root may send ICMP from here") from None
    except OSError as error:
        raise Unavailable(f"{address}: {error.strerror or error}") from error
    return None


def _checksum(message: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(message) // 2}H", message))
    total = (total >> 16) + (total & 0xFFFF)
    return 0xFFFF - ((total + (total >> 16)) & 0xFFFF)
