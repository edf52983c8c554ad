"""What was told about each attempt, what has changed since, and notes on what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mangrove.model.attempt import Status

#: Least seconds between two reported lines of progress of one attempt; a pull makes hundreds, and each is a message up.
PROGRESS_GAP = 2.0


class Reports:
    """Of one engine. Notes are lines that are true for the moment only, so they are not kept on disk."""

    def __init__(self) -> None:
        self._told: dict[str, Status] = {}
        self._touched: set[str] = set()
        self._notes: dict[str, tuple[float, str]] = {}

    def touch(self, attempts: Iterable[str]) -> None:
        """Their statuses may have changed."""
        self._touched.update(attempts)

    def note(self, attempt: str, text: str, now: float) -> None:
        """What `attempt` waits for."""
        if self.noted(attempt) != text:
            self._notes[attempt] = (now, text)
            self._touched.add(attempt)

    def progress(self, attempt: str, text: str, now: float) -> None:
        """A note of which many come: left out when the last one is very young."""
        if attempt not in self._notes or now - self._notes[attempt][0] >= PROGRESS_GAP:
            self.note(attempt, text, now)

    def noted(self, attempt: str) -> str:
        return self._notes[attempt][1] if attempt in self._notes else ""

    def forget(self, attempt: str) -> None:
        """Its note is true no more."""
        if self._notes.pop(attempt, None) is not None:
            self._touched.add(attempt)

    def take(self, status: Callable[[str], Status | None], *, durable: bool) -> tuple[dict[str, Status], set[str]]:
        """Statuses that differ from what was told, and attempts told of that have none any more.

        durable: whether all of it is on disk. Until then no attempt is said to have ended: a parent gives away what it
        held, and an engine that was killed would not know of the end and begin it again.
        """
        changed: dict[str, Status] = {}
        removed: set[str] = set()
        kept_back: set[str] = set()
        for attempt in self._touched:
            now = status(attempt)
            if now is None:
                if self._told.pop(attempt, None) is not None:
                    removed.add(attempt)
            elif now.ended and not durable:
                kept_back.add(attempt)
            elif self._told.get(attempt) != now:
                changed[attempt] = self._told[attempt] = now
        self._touched = kept_back
        return changed, removed
