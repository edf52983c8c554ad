"""What this machine says of itself."""

from __future__ import annotations

import socket
from pathlib import Path


def boot_id() -> str:
    """Id of this boot of the machine, empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def address_towards(host: str) -> str:
    """This machine's own address on the way to `host` (name or address); the loopback address when there is no way."""
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
        family, _, _, _, target = found[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)  # sends nothing: the kernel only chooses the route
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
