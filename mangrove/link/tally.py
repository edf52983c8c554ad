"""What one end of the link has sent, heard and dropped since it was made."""

from __future__ import annotations

from collections import Counter

#: Reasons for which messages are dropped, as BadMessage says them; others quote the message and count as `malformed`.
REASONS = {
    "the keyed hash is wrong": "forged",
    "not an envelope": "malformed",
    "a kind that does not come down": "kind",
    "a kind that does not go up": "kind",
    "an unknown child": "child",
    "of another session": "session",
    "old or repeated": "repeated",
    "of a term that is over": "term",
}
#: How the problem of a message of another version begins; which one it was, follows.
VERSION = "protocol "


class Tally:
    """sent, heard: by kind; dropped: by reason. Counted by one thread, read by any."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def drop(self, problem: str) -> None:
        """A message was dropped. problem: what its BadMessage says."""
        self.dropped["version" if problem.startswith(VERSION) else REASONS.get(problem, "malformed")] += 1
