"""The connection to the container engine, Docker or Podman: made when first needed, and its errors in words.

The Docker SDK is loaded when an engine is there, so that a node without one does not carry it in memory.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from node_engine.runtimes.docker_words import away, closed_to_us, fault_of
from node_engine.runtimes.interface import RuntimeFault

if TYPE_CHECKING:
    import docker

#: Where container engines listen when nobody says otherwise, the first one there counts: those of the machine, then
#: those of the node engine's own user.
_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock", "{own}/docker.sock", "{own}/podman/podman.sock")
#: What Podman calls itself in its answers.
_LIBPOD = "Libpod"
#: Seconds for any call but a pull: the SDK's own default. Making a container on a slow card takes several.
_TIMEOUT = 60
#: Seconds to connect, and for the question whether the engine is there: it answers in milliseconds or is in trouble.
_ASK = 3


class NotThere(RuntimeFault):
    """The engine knows no such container or image."""


class Taken(RuntimeFault):
    """A name is taken, or the engine is doing it already."""


def engine_address(environment: Mapping[str, str] = os.environ, root: str = "") -> str:
    """Where this machine's container engine listens, empty when there is none. root: instead of the file system's."""
    if named := environment.get("DOCKER_HOST"):
        return named
    own = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    paths = [root + socket.format(own=own) for socket in _SOCKETS]
    return next((f"unix://{path}" for path in paths if os.path.exists(path)), "")


class DockerClient:
    """Connects to the engine at `host`; empty for DOCKER_HOST (with its TLS settings), then for the usual sockets.

    engine: name and version of what answered last, such as "Podman 4.3.1"; empty before that.
    """

    def __init__(self, host: str = "") -> None:
        self.address = host or engine_address() or f"unix://{_SOCKETS[0]}"
        self.engine = ""
        # The SDK reads the settings for TLS from the environment only where it takes the address from there too.
        self._given = bool(host) or not os.environ.get("DOCKER_HOST")
        self._lock = threading.Lock()
        self._api: docker.APIClient | None = None

    def problem(self) -> str:
        """Empty when the engine answers, else why not and what to do."""
        try:
            with self.connected() as api:
                return "" if self._meet(api) else away(self.address)
        except RuntimeFault as fault:
            return fault.message

    @contextlib.contextmanager
    def connected(self, image: str = "") -> Iterator[docker.APIClient]:
        """The SDK's client for a few calls about an instance of `image`.

        Raises NotThere, Taken, or RuntimeFault for whatever else the engine or the way to it has to complain about.
        """
        if self._api is None:
            self._knock()
        try:
            from docker.errors import APIError, DockerException
            from urllib3.exceptions import HTTPError
        except ImportError:
            problem = "the Docker SDK is not installed on this node: pip install 'mangrove[docker]'"
            raise RuntimeFault(problem) from None
        try:
            yield self._connection()
        except APIError as error:
            said = str(error.explanation or error)
            fault = fault_of(said, image, self.engine.partition(" ")[0])
            kind = {404: NotThere, 409: Taken}.get(error.status_code or 0, RuntimeFault)
            if "that name is already in use" in said:
                kind = Taken  # Podman's status for that is 500
            raise kind(fault.message, permanent=fault.permanent) from error
        except (DockerException, HTTPError, OSError) as error:  # OSError: what requests raises too
            raise RuntimeFault(away(self.address)) from error

    def close(self) -> None:
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def _knock(self) -> None:
        """Raise RuntimeFault when the engine's socket is not there, or not for us."""
        kind, _, path = self.address.partition("://")
        if kind != "unix":
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_ASK)
            try:
                probe.connect(path)
            except PermissionError:
                raise RuntimeFault(closed_to_us(path)) from None
            except OSError:
                raise RuntimeFault(away(self.address)) from None

    def _connection(self) -> docker.APIClient:
        import docker
        from docker.utils import kwargs_from_env

        with self._lock:
            if self._api is None:
                where = {"base_url": self.address} if self._given else kwargs_from_env()
                self._api = docker.APIClient(**where, version="auto", timeout=_ASK)
                self._api.timeout = _TIMEOUT
                self._meet(self._api)
            return self._api

    def _meet(self, api: docker.APIClient) -> bool:
        """Whether the engine answers; then learns what it is, from its header: `Server: Docker/20.10.24 (linux)`."""
        answer = api.get(f"{api.base_url}/_ping", timeout=_ASK)
        if answer.status_code == 200:
            name, _, version = answer.headers.get("Server", "").partition(" ")[0].partition("/")
            self.engine = f"{'Podman' if name == _LIBPOD else name} {version}".strip()
        return answer.status_code == 200
