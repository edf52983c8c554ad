"""Nobody can take all of the node's DNS for itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import msgspec
import pytest
from dnslib import DNSRecord

from mangrove.network.plan import Grant
from netmanager.dns import Dns
from netmanager.situation import Situation
from tests.unit.netmanager.test_rules import PLAN

#: The gateway of a node whose network is on the loopback, so that no interface need be made.
GATEWAY = "127.18.1.1"
#: Seconds: only a failure waits for so long.
PATIENCE = 10.0


@pytest.fixture
def port() -> Iterator[int]:
    with closing(socket.socket()) as probe:
        probe.bind((GATEWAY, 0))
        free = int(probe.getsockname()[1])
    dns = Dns(port=free)
    dns.follow(Situation(msgspec.structs.replace(PLAN, grants=(Grant("127.18.1.0/24"),))))
    yield free
    dns.close()


def test_one_asker_that_holds_connections_open_leaves_room_for_others(port: int) -> None:
    with ExitStack() as held:
        for _ in range(100):
            idle = held.enter_context(socket.create_connection((GATEWAY, port), PATIENCE))
            with suppress(OSError):  # it may have been turned away already
                idle.sendall(b"\x00")
        with closing(socket.socket(type=socket.SOCK_DGRAM)) as other:
            other.settimeout(PATIENCE)
            other.bind(("127.18.1.7", 0))
            other.sendto(bytes(DNSRecord.question("web.shop").pack()), (GATEWAY, port))
            answer = DNSRecord.parse(other.recv(4096))
        assert [str(each.rdata) for each in answer.rr] == ["10.30.0.1"]
