"""Writes to different services do not wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from root_orchestrator import writer
from root_orchestrator.api.changing import Changing, Scaled

#: Two services with turns of their own; a few of all share theirs.
SERVICES = [
    "0" * 24,
    next(id for number in count() if hash(id := f"{number:024x}") % writer._LOCKS != hash("0" * 24) % writer._LOCKS),
]


class Meeting(Changing):
    """Each write waits until another one is being done at the same time."""

    def __init__(self) -> None:
        unused: Any = None
        super().__init__(unused, unused, unused)
        self.both = Barrier(2, timeout=10)

    def _change(self, *_: Any) -> int:
        return self.both.wait()

    def _scale(self, *_: Any) -> Scaled:
        self.both.wait()
        return Scaled(1, [], [])


@pytest.mark.parametrize(
    "write",
    [
        lambda changing, service: changing.change(None, service, None),
        lambda changing, service: changing.scale(None, service, 1),
    ],
    ids=["change", "scale"],
)
def test_two_services_are_changed_at_once(write: Callable[[Changing, str], object]) -> None:
    changing = Meeting()
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        for done in [pool.submit(write, changing, service) for service in SERVICES]:
            done.result()
