"""The connection to the Docker engine: made when first needed, and its errors in words.

The Docker SDK is loaded when an engine is there, so that a node without one does not carry it in memory.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from node_engine.runtimes.docker_words import away, closed_to_us, fault_of
from node_engine.runtimes.interface import RuntimeFault

if TYPE_CHECKING:
    import docker

#: Where Docker's engine listens when nobody says otherwise.
_USUAL = "unix:///var/run/docker.sock"
#: Seconds for any call but a pull: the SDK's own default. Making a container on a slow card takes several.
_TIMEOUT = 60
#: Seconds to connect, and for the question whether the engine is there: it answers in milliseconds or is in trouble.
_ASK = 3


class NotThere(RuntimeFault):
    """The engine knows no such container or image."""


class Taken(RuntimeFault):
    """A name is taken, or the engine is doing it already."""


class DockerClient:
    """Connects to the engine at `host`; empty for DOCKER_HOST (with its TLS settings), then for the usual socket."""

    def __init__(self, host: str = "") -> None:
        self.address = host or os.environ.get("DOCKER_HOST") or _USUAL
        self._given = bool(host)
        self._lock = threading.Lock()
        self._api: docker.APIClient | None = None

    def problem(self) -> str:
        """Empty when the engine answers, else why not and what to do."""
        try:
            with self.connected() as api:
                answer = api.get(f"{api.base_url}/_ping", timeout=_ASK)
        except RuntimeFault as fault:
            return fault.message
        return "" if answer.status_code == 200 else away(self.address)

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
            fault = fault_of(str(error.explanation or error), image)
            kind = {404: NotThere, 409: Taken}.get(error.status_code or 0, RuntimeFault)
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
            return self._api
