"""Following what happens to containers, through restarts of the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from node_engine.runtimes.docker_client import DockerClient
from node_engine.runtimes.interface import LABEL_ATTEMPT, RuntimeFault

if TYPE_CHECKING:
    from docker.types.daemon import CancellableStream

_log = logging.getLogger(__name__)

#: Seconds before asking again after the engine's events broke off, and what that is doubled up to: an engine restarts
#: within seconds, and one that stays away should cost nothing.
_RETRY, _RETRY_MOST = 0.5, 30.0
#: Seconds for the thread to end when told to; it only has to notice that its connection is closed.
_FAREWELL = 3.0
#: In Docker's words, and in Podman's where they differ (asked for "die", Podman 4.3 tells nothing and calls it so).
_OF_INTEREST = ["start", "die", "died", "oom", "destroy", "remove"]


class DockerEvents:
    """A thread that says when something happened to a container with `labels`: to which attempt, empty if unknown."""

    def __init__(self, client: DockerClient, labels: Mapping[str, str], on_change: Callable[[str], None]) -> None:
        self._client = client
        self._labels = [f"{key}={value}" for key, value in labels.items()]
        self._on_change = on_change
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL)

    def _run(self) -> None:
        pause = _RETRY
        while not self._closed.is_set():
            try:
                with self._client.connected() as api:
                    stream = api.events(
                        filters={"type": "container", "label": self._labels, "event": _OF_INTEREST}, decode=True
                    )
                    with self._lock:
                        self._stream = stream
                        if self._closed.is_set():
                            stream.close()  # our own `close` came too early to do that
                    pause = _RETRY
                    self._tell("")  # of what was missed until now
                    for event in stream:
                        self._tell(event["Actor"]["Attributes"].get(LABEL_ATTEMPT, ""))
            except RuntimeFault as fault:
                _log.debug("no events for now: %s", fault)
            self._closed.wait(pause)
            pause = min(2 * pause, _RETRY_MOST)

    def _tell(self, attempt: str) -> None:
        if self._closed.is_set():
            return
        try:
            self._on_change(attempt)
        except Exception:
            _log.exception("telling of a container's event failed")
