"""The sensor's outbox while the analyst is away, comes back, or does not like what it gets."""

from __future__ import annotations

from typing import Any

import pytest

from examples.pulse import sensor
from examples.pulse.sensor import BATCH, KEPT, Outbox
from examples.pulse.service import LONGEST_DELAY, Backoff, CallFailed


class Analyst:
    """Takes the place of `call`; fails with `status` while that is set."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.calls = 0
        self.taken: list[int] = []

    def __call__(self, url: str, body: dict[str, Any]) -> None:
        assert url == "http://analyst/api/samples"
        self.calls += 1
        if self.status is not None:
            raise CallFailed("no", self.status)
        self.taken += [sample["number"] for sample in body["samples"]]


@pytest.fixture
def analyst(monkeypatch: pytest.MonkeyPatch) -> Analyst:
    analyst = Analyst()
    monkeypatch.setattr(sensor, "call", analyst)
    return analyst


def filled(count: int) -> Outbox:
    outbox = Outbox("http://analyst/")
    for number in range(count):
        outbox.put({"number": number})
    return outbox


def test_everything_goes_out_in_order_and_in_batches(analyst: Analyst) -> None:
    outbox = filled(BATCH + 1)
    outbox.send(0.0)
    assert analyst.taken == list(range(BATCH + 1))
    assert analyst.calls == 2
    assert len(outbox) == 0


@pytest.mark.parametrize("status", [0, 429, 503])
def test_while_the_analyst_is_away_samples_wait_within_bounds_and_tries_become_rarer(
    analyst: Analyst, status: int
) -> None:
    analyst.status = status
    outbox = filled(KEPT + 10)
    for tenth in range(600):
        outbox.send(tenth / 10)
    # In a minute: a few quick tries, then one every few seconds (600 without back-off).
    assert 10 <= analyst.calls <= 35
    assert len(outbox) == KEPT

    analyst.status = None
    outbox.send(60 + LONGEST_DELAY)
    assert analyst.taken == list(range(10, KEPT + 10))
    outbox.put({"number": -1})
    outbox.send(60 + LONGEST_DELAY)  # at once again
    assert analyst.taken[-1] == -1


def test_what_the_analyst_refuses_is_not_sent_again(analyst: Analyst) -> None:
    outbox = filled(3)
    analyst.status = 400
    outbox.send(0.0)
    assert (analyst.calls, len(outbox)) == (1, 0)


def test_delays_grow_to_a_bound() -> None:
    backoff = Backoff()
    delays = [backoff.failed() for _ in range(100)]
    assert delays[0] <= 0.25
    assert LONGEST_DELAY / 2 <= delays[-1] <= LONGEST_DELAY
