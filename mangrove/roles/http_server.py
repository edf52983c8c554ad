"""The HTTP server of a parent: waitress in a thread, with everything bounded."""

from __future__ import annotations

import errno
import logging
import socket
from threading import Thread
from time import monotonic, sleep
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.server import create_server

from mangrove.base.errors import Unavailable
from mangrove.roles.http_channel import Channels
from mangrove.roles.streams import Streams
from mangrove.roles.web import MAX_BODY

_log = logging.getLogger(__name__)

#: Connections open at once; more wait in the kernel. Each costs a file descriptor, and 1024 of them is a usual limit.
_CONNECTIONS = 500

#: Seconds for which a connection may be silent between requests or in the midst of one.
_IDLE = 60

#: Bytes of all headers of a request; a token and a few cookies are far below.
_MAX_HEADERS = 64 * 1024

#: Bytes read of a body before the connection is cut. Above MAX_BODY, so that the app refuses what is a little too large
#: after it was read: who is cut off while sending often does not see the answer. Not far above, since it is read
#: from anybody, and at all connections at once.
_MAX_READ = MAX_BODY + 64 * 1024

#: Bytes of a body that are held in memory, the rest in a temporary file: together 64 MiB at most.
_IN_MEMORY = 128 * 1024

#: Bytes of an answer in pieces that wait for a slow reader; until it has read, no further piece is asked for.
WAITING = 1024 * 1024

#: Seconds in which a reader that stopped reading, or of whom nothing is heard, must take something again.
_STALLED = 60


class Server:
    """A running server. port: where it really listens, also when 0 was asked for."""

    def __init__(self, app: Flask, listening: socket.socket, threads: int, streams: Streams | None) -> None:
        self.port: int = listening.getsockname()[1]
        self._streams = streams
        _give_up_on_silent_readers(listening)
        # Under load waitress would log a line for every request that waits for a thread.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server = create_server(
            app,
            sockets=[listening],
            threads=threads + (streams.places if streams else 0),
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE,
            max_request_header_size=_MAX_HEADERS,
            max_request_body_size=_MAX_READ,
            inbuf_overflow=_IN_MEMORY,
            outbuf_high_watermark=WAITING,
            channel_request_lookahead=1,  # reads on while it answers, and so sees that a reader went away
            asyncore_use_poll=True,  # select() cannot look at file descriptors above 1024
            ident=None,
        )
        self._server.channel_class = Channels()
        self._thread = Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Accept nothing more, let running requests end within `timeout` seconds, close. Repeating it does nothing."""
        if not self._thread.is_alive():
            return
        deadline = monotonic() + timeout
        server = self._server
        if self._streams:
            self._streams.stop()
        server.trigger.pull_trigger(lambda: _stop_accepting(server))
        server.task_dispatcher.shutdown(timeout=timeout)
        while any(channel.total_outbufs_len for channel in list(server.active_channels.values())):
            if monotonic() >= deadline:
                break
            sleep(0.01)  # the server's own thread is sending what is left
        server.trigger.pull_trigger(lambda: _end(server))
        self._thread.join(timeout=max(1.0, deadline - monotonic()))
        if not self._thread.is_alive() and not server.task_dispatcher.threads:
            server.trigger.close()  # only now: whoever pulled it meanwhile would write to a closed file, or another one

    def _run(self) -> None:
        try:
            self._server.run()
        except Exception:
            _log.critical("the HTTP server broke down", exc_info=True)


def serve(app: Flask, host: str, port: int, *, threads: int = 8, streams: Streams | None = None) -> Server:
    """Serve `app` on `host` and `port` (0: any that is free) by `threads` threads, and one for each place in `streams`.

    Raises Unavailable when the port is taken or the address is not this machine's.
    """
    try:
        listening = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except PermissionError:
        raise Unavailable(f"port {port} needs a privilege: choose one above 1023 with --port") from None
    except UnicodeError:
        raise Unavailable(f"cannot listen on {host!r}: this is no host name") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"port {port} is in use: choose another with --port") from None
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return Server(app, listening, threads, streams)


def _give_up_on_silent_readers(listening: socket.socket) -> None:
    """Let the kernel break connections whose other end is gone without a word, or reads no more; those that are
    accepted inherit it."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _STALLED // 2)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED * 1000)


def _stop_accepting(server: Any) -> None:
    """Close the listening socket; runs in the server's own thread."""
    server.accepting = False
    wasyncore.dispatcher.close(server)


def _end(server: Any) -> None:
    """Close all connections and leave the loop; runs in the server's own thread."""
    for channel in list(server.active_channels.values()):
        channel.handle_close()  # unlike close(), this also closes its buffers
    server._map.clear()
