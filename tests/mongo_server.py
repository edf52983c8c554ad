"""A server that speaks MongoDB's protocol, for tests: one of our own as a child process, or the one of MONGODB_URI."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pymongo

from mangrove.client.wait import wait_until
from mangrove.link.brokers.process import free_port

#: A replica set to test against, with a user who may make databases, as a URI without one.
GIVEN = os.environ.get("MONGODB_URI", "")


class MongoServer:
    """SecantusDB on loopback: MongoDB's own server comes neither with pip nor with Debian.

    It answers as a replica set of one member, keeps its data in `folder`, and syncs each commit.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        self._folder = folder
        self._more = more
        self.port = free_port("127.0.0.1")  # none that an outgoing connection could take while it is down
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(Path(sys.executable).with_name("secantusd-py")), "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--storage-path", str(self._folder / "data"), "--sync-on-commit", "--cache-size", "128M"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._more], stdout=log, stderr=log, cwd=self._folder)

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
            return True

        wait_until(answers, 60, what="the database server", interval=0.02)

    def kill(self) -> None:
        """SIGKILL, like a power cut of the server alone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, it takes connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(self._stands_still, 30, what="the server to stand still", interval=0.01)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _stands_still(self) -> bool:
        """On a busy machine its threads go on for a moment."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return {file.read_text().rpartition(")")[2].split()[0] for file in threads} == {"T"}


class _Shared:
    """The server that all tests of this process share, started when the first asks for it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._server: MongoServer | None = None

    @property
    def uri(self) -> str:
        """Without a database."""
        if GIVEN:
            return GIVEN
        if self._server is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mangrove-mongo-", ignore_cleanup_errors=True)
            self._server = MongoServer(Path(self._folder.name))
            self._server.start()
        return self._server.uri

    def end(self) -> None:
        if self._server is not None and self._folder is not None:
            self._server.kill()
            self._folder.cleanup()
        self._server = self._folder = None


SHARED = _Shared()


@contextmanager
def database(server: str = "") -> Iterator[str]:
    """The URI of a new database on a server (the shared one by default).

    On a server that is given it is dropped in the end; ours takes its own time for that, and goes as a whole.
    """
    name = f"mangrove_test_{secrets.token_hex(6)}"
    parts = urlsplit(server or SHARED.uri)
    yield urlunsplit(parts._replace(path=f"/{name}", query=parts.query))
    if not server and GIVEN:
        with pymongo.MongoClient[dict[str, object]](GIVEN, serverSelectionTimeoutMS=5000) as client:
            client.drop_database(name)
