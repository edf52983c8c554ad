"""The sensor: reads this machine once every INTERVAL seconds and sends the figures to the analyst.

Environment: ANALYST_URL; INTERVAL (seconds, default 1); PORT and HOST, to be asked for the newest figures (optional).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import Any

from examples.pulse.readings import Machine
from examples.pulse.service import (
    Backoff,
    CallFailed,
    begin,
    call,
    instance_name,
    listening,
    log,
    number_setting,
    setting,
)

#: Samples kept while the analyst is away (the oldest go first), and samples sent at once.
KEPT, BATCH = 300, 60


class Outbox:
    """Samples on their way to the analyst, which may be away: then they wait, and tries become rarer."""

    def __init__(self, analyst: str) -> None:
        self._url = f"{analyst.rstrip('/')}/api/samples"
        self._waiting: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._backoff = Backoff()
        self._next_try = 0.0

    def put(self, sample: dict[str, Any]) -> None:
        self._waiting.append(sample)

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, now: float) -> None:
        """Send what waits, unless it is too soon after a failure. now: monotonic seconds."""
        while self._waiting and now >= self._next_try:
            batch = list(self._waiting)[:BATCH]
            try:
                call(self._url, {"source": instance_name(), "samples": batch})
            except CallFailed as failure:
                if failure.status in range(400, 500) and failure.status != 429:
                    log.error("the analyst does not take these samples, they are dropped: %s", failure)
                else:
                    if not self._backoff.failures:
                        log.warning("cannot reach the analyst, trying on: %s", failure)
                    self._next_try = now + self._backoff.failed()
                    return
            if self._backoff.failures:
                log.info("the analyst answers again after %d tries", self._backoff.failures)
                self._backoff.succeeded()
            for _ in batch:
                self._waiting.popleft()


def main() -> None:
    stop = begin("sensor")
    outbox = Outbox(setting("ANALYST_URL"))
    interval = number_setting("INTERVAL", "1", 0.05, 3600)
    newest: dict[str, Any] = {}
    routes = {("GET", "/api/newest"): lambda _: dict(newest)}
    with listening(routes) if os.environ.get("PORT") else contextlib.nullcontext():
        watch(Machine(), outbox, newest, interval, stop)
    log.info("stopped; %d samples not sent", len(outbox))


def watch(machine: Machine, outbox: Outbox, newest: dict[str, Any], interval: float, stop: threading.Event) -> None:
    """Read, keep as newest, send; every `interval` seconds until `stop`."""
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        now = time.monotonic()
        due = max(due + interval, now)  # after a suspend go on from now, do not catch up
        newest.update(time=time.time(), values=machine.read(now))
        outbox.put(dict(newest))
        outbox.send(now)


if __name__ == "__main__":
    main()
