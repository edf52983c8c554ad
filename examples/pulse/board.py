"""The board: a page for people, and the same as JSON, of what the analyst knows.

Environment: ANALYST_URL, PORT, HOST. It asks the analyst once a second, however many people look, and shows the last
answer with its age while the analyst is away.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from examples.pulse.page import render
from examples.pulse.service import (
    Backoff,
    CallFailed,
    Page,
    Refused,
    Request,
    Routes,
    begin,
    call,
    instance_name,
    listening,
    log,
    setting,
)

#: Seconds between questions to the analyst: as often as sensors have news.
PERIOD = 1.0


class Board:
    """The analyst's last summary."""

    def __init__(self, analyst: str) -> None:
        self._url = f"{analyst.rstrip('/')}/api/summary"
        self._last: dict[str, Any] | None = None
        self._asked = 0.0
        self._failure = "not asked yet"

    def ask(self) -> bool:
        """Ask the analyst once; whether it answered."""
        try:
            self._last = call(self._url)
        except CallFailed as failure:
            self._failure = str(failure)
            return False
        self._asked = time.monotonic()
        return True

    def follow(self, stop: threading.Event) -> None:
        """Ask once a PERIOD, more seldom while the analyst is away, until `stop`."""
        backoff = Backoff()
        delay = 0.0
        while not stop.wait(delay):
            if self.ask():
                if backoff.failures:
                    log.info("the analyst answers again")
                    backoff.succeeded()
                delay = PERIOD
            else:
                if not backoff.failures:
                    log.warning("cannot reach the analyst, trying on: %s", self._failure)
                delay = backoff.failed()

    def summary(self, _: Request) -> dict[str, Any]:
        """The analyst's summary, which board answered, and how many seconds old it is."""
        if self._last is None:
            raise Refused(f"the analyst has not answered yet: {self._failure}", 503)
        return {"board": instance_name(), "age": round(time.monotonic() - self._asked, 1), **self._last}

    def page(self, request: Request) -> Page:
        try:
            return Page(render(self.summary(request)))
        except Refused as refused:
            return Page(render({"board": instance_name(), "problem": str(refused)}), refused.status)


def routes(board: Board) -> Routes:
    return {("GET", "/"): board.page, ("GET", "/api/summary"): board.summary}


def main() -> None:
    stop = begin("board")
    board = Board(setting("ANALYST_URL"))
    with listening(routes(board)):
        board.follow(stop)
    log.info("stopped")


if __name__ == "__main__":
    main()
