"""The connections of the HTTP server: waitress's own, with limits so that no stranger alone keeps all others out."""

from __future__ import annotations

import json
import logging
import math
import socket
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from mangrove.base.ids import new_id
from mangrove.roles.requests import HEADER

_log = logging.getLogger(__name__)

#: Seconds within which all of a request must have come, from its first byte: the largest body at 140 kbit/s. Answers
#: may last as long as they like.
RECEIVED_WITHIN = 60.0

#: Connections of one address at once, a fifth of all: a site behind one address has some people, each with the few
#: connections of a browser, and children that join, each with one for a moment.
OF_ONE_ADDRESS = 100

#: Seconds between two lines of the log about addresses with too many connections.
_QUIET = 60.0


class Channels:
    """Makes the connections of one server, or closes those of an address that has too many. Called in its thread."""

    def __init__(self) -> None:
        self._told = -math.inf

    def __call__(self, server: Any, connection: socket.socket, address: Any, options: Any, map: Any) -> None:
        asker = sharing(address[0])
        if asker is not None:
            open_now = sum(channel.asker == asker for channel in server.active_channels.values())
            if open_now >= OF_ONE_ADDRESS:
                connection.close()
                if monotonic() - self._told >= _QUIET:
                    self._told = monotonic()
                    _log.warning("closing connections of %s: it has %d open, which is the limit", asker, open_now)
                return
        _Channel(server, connection, address, options, map=map).asker = asker


def sharing(address: str) -> str | None:
    """The address, or the network, of those who share a limit; None for this machine, where a proxy may speak for all.

    Of IPv6 it is the /64: each host has at least as many addresses.
    """
    host = ip_address(address)
    if isinstance(host, IPv6Address):
        if host.ipv4_mapped is None:
            return None if host.is_loopback else str(IPv6Network((host.packed[:8] + bytes(8), 64)))
        host = host.ipv4_mapped
    return None if host.is_loopback else str(host)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that must send whole requests in time, and whose errors, found before the app is reached, are JSON
    with a `message` like all others."""

    asker: str | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.error_task_class = _error_task
        self._begun: float | None = None  # when the first byte came of the request that is being received
        self._receiving: Any = None  # what makes a request of the bytes
        super().__init__(*args, **options)

    def parser_class(self, options: Any) -> Any:
        self._receiving = HTTPChannel.parser_class(options)
        return self._receiving

    def received(self, data: bytes) -> Any:
        if self._begun is None:
            self._begun = monotonic()
        went_on = super().received(data)
        # Blank lines are no request, and win no time.
        if self._receiving is not None and self._receiving.completed and not self._receiving.empty:
            self._begun = None
        return went_on

    def readable(self) -> Any:
        """Asked at least once a second, in the server's thread."""
        if self._begun is not None:
            if self.requests or self.total_outbufs_len:
                self._begun = monotonic()  # what comes behind a request has time once that is answered
            elif monotonic() - self._begun >= RECEIVED_WITHIN:
                self.will_close = True
        return super().readable()


def _error_task(channel: Any, request: Any) -> Any:
    request.error = _JsonError(request.error)
    # waitress names it when the reader goes away meanwhile; of a request that could not be read it knows none.
    request.path = getattr(request, "path", "")
    return ErrorTask(channel, request)


class _JsonError:
    def __init__(self, error: Any) -> None:
        self._error = error

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        error = self._error
        body = json.dumps({"message": f"{error.reason}: {error.body}"}).encode()
        headers = [("Content-Type", "application/json"), (HEADER, new_id())]
        return f"{error.code} {error.reason}", headers, body
