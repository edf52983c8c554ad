"""The Unix socket at which the node engine, and people on the node, ask the netmanager."""

from __future__ import annotations

import logging
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mangrove.base.doors import read_all
from mangrove.network.door import PATIENCE, Answer, Request

log = logging.getLogger(__name__)


class Server:
    """Answers at `path` from the moment it is made until `close`. Raises OSError."""

    def __init__(self, path: Path, answer: Callable[[Request], Answer]) -> None:
        path.unlink(missing_ok=True)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(PATIENCE)
                try:
                    self.request.sendall(msgspec.json.encode(_answer(read_all(self.request), answer)))
                except OSError as error:
                    log.debug("somebody who asked has gone: %s", error)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        # Who may write there may change the node's network.
        path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, name="door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(question: bytes, answer: Callable[[Request], Answer]) -> Answer:
    try:
        request: Request = msgspec.json.decode(question, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(error=f"that is no request: {error}")
    try:
        return answer(request)
    except Exception as error:  # the engine is to hear of whatever it is
        log.exception("%s", request)
        return Answer(error=f"the netmanager failed: {type(error).__name__}: {error}")
