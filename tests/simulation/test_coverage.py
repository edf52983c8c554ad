"""That the simulator's faults meet what they should, at the small scale that a test has time for."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.coverage import LEVELS, MESSAGES
from tests.simulation.lives import Tally, live_all, missed, names, table
from tests.simulation.under_way import WHAT

#: Lives enough for each fault to meet nearly everything once; all of it is asked of `make simulate`.
SEEDS = range(1, 13)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return live_all(SEEDS)


def test_every_fault_happens_and_meets_messages_at_both_levels(tally: Tally) -> None:
    assert not tally.failed
    met = Counter((fault, level) for fault, _, level in tally.hits)
    assert [(name, level) for name in names() for level in LEVELS if not met[name, level]] == []


def test_every_message_is_met_at_both_levels(tally: Tally) -> None:
    met = Counter((message, level) for _, message, level in tally.hits)
    assert [(message, level) for message in MESSAGES for level in LEVELS if not met[message, level]] == []


def test_faults_strike_while_things_are_under_way(tally: Tally) -> None:
    assert [what for what in WHAT if not tally.during[what]] == []
    assert tally.during[""] > 0.5 * tally.faults.total()


def test_what_was_not_met_is_told() -> None:
    hits: Counter[tuple[str, str, str]] = Counter({("killed", "up beat", "node"): 3})
    assert "killed × up beat × cluster: 0 times" in missed(hits, 1)
    assert "killed × up beat × node: 3 times" in missed(hits, 4)
    assert not [line for line in missed(hits, 3) if line.startswith("killed × up beat × node")]
    assert "0/3" in table(hits)
