"""The kernel's memory of connections: what is to be forgotten, because it leads to an endpoint that is no more."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

log = logging.getLogger(__name__)


def forget(addresses: frozenset[str], *, udp_only: bool) -> int:
    """Forget what is translated to one of these endpoints, or comes from it; returns how many connections that were.

    udp_only: leave TCP alone, which ends by itself and must not be cut. What is remembered of UDP goes on for as long
    as the client sends, so it would never find another endpoint.
    """
    forgotten = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        ours = {address for address in addresses if (":" in address) == (family == socket.AF_INET6)}
        if not ours:
            continue
        with NFCTSocket(nfgen_family=family) as table:
            for there, back in list(_flows(table, family)):
                if udp_only and there.proto != socket.IPPROTO_UDP:
                    continue
                if {back.saddr, there.saddr} & ours if not udp_only else back.saddr in ours:
                    try:
                        table.entry("del", tuple_orig=there)
                        forgotten += 1
                    except NetlinkError as error:
                        log.debug("a connection ended by itself: %s", error)
    return forgotten


def _flows(table: NFCTSocket, family: int) -> Iterator[tuple[NFCTAttrTuple, NFCTAttrTuple]]:
    """Both directions of each connection, as they are on the wire."""
    for entry in table.dump():
        there, back = (_tuple(family, entry.get_attr(name)) for name in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY"))
        if there is not None and back is not None:
            yield there, back


def _tuple(family: int, attributes: Any) -> NFCTAttrTuple | None:
    try:
        return NFCTAttrTuple.from_netlink(family, attributes)
    except (AttributeError, KeyError, TypeError):
        return None
