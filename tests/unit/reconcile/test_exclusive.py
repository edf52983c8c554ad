"""A child's loop over attempts of which two must never run at once."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest

from mangrove.model.phases import Phase
from mangrove.model.specification import Disconnect, Specification
from mangrove.reconcile import child
from mangrove.reconcile.child import Above, Life
from tests.unit.reconcile.test_child import ABSENT, ATTEMPT, PREPARED, RUNNING, SERVICE, at, exited, life

DATABASE = msgspec.structs.replace(SERVICE, disconnect=Disconnect(stop_on_child_after=30.0))
SETTLED, GREETED = True, False


def running(specification: Specification = DATABASE) -> Life:
    return child.saw(life(Phase.STARTING, PREPARED, specification), RUNNING, at(0), 30.0)


@pytest.mark.parametrize(
    ("phase", "before", "vouched", "settled", "now", "until"),
    [
        (Phase.RUNNING, 30.0, 5.0, GREETED, 10.0, 35.0),  # a newer word, of whatever session, gives more time
        (Phase.RUNNING, 30.0, -5.0, SETTLED, 10.0, 30.0),  # an older one takes none away
        (Phase.RUNNING, 30.0, 29.0, SETTLED, 30.0, 30.0),  # too late: it is stopped first
        (Phase.STOPPING, 30.0, 29.0, SETTLED, 30.0, 30.0),
        (Phase.BACKING_OFF, 30.0, 31.0, GREETED, 32.0, 30.0),  # whether it is still wanted here is not known yet
        (Phase.BACKING_OFF, 30.0, 31.0, SETTLED, 32.0, 61.0),
        (Phase.ASSIGNED, -math.inf, 1.0, SETTLED, 2.0, 31.0),
        (Phase.STARTING, -math.inf, 1.0, GREETED, 2.0, -math.inf),
        (Phase.STARTING, -math.inf, -math.inf, SETTLED, 2.0, -math.inf),
    ],
)
def test_time_comes_from_those_above(
    phase: Phase, before: float, vouched: float, settled: bool, now: float, until: float
) -> None:
    record = life(phase, None, DATABASE).record
    assert child.may_run_until(record, before, Above(vouched, settled), now) == until


def test_what_is_not_exclusive_has_all_the_time_there_is() -> None:
    assert child.may_run_until(life(Phase.RUNNING).record, -math.inf, Above(), 1e9) == math.inf


def test_what_runs_is_killed_when_its_time_is_over_and_starts_again_in_place() -> None:
    one = running()
    assert child.next_step(one, True, at(29.9), 30.0)[1] is None
    one, step = child.next_step(one, True, at(30), 30.0)
    assert step == "kill"
    one = child.succeeded(one, "kill", at(30))
    assert (one.record.phase, one.record.failures) == (Phase.BACKING_OFF, 0)
    assert "nobody above was heard for 30 s" in one.record.reason
    one = child.saw(one, exited(137), at(31), 30.0)
    assert (one.record.phase, one.record.failures) == (Phase.BACKING_OFF, 0), "that is the end that was dealt with"
    again, step = child.next_step(one, True, at(1000), 30.0)
    assert step is None
    assert again.record == one.record, "and nothing new to save or tell"
    one, step = child.next_step(one, True, at(1000), 1010.0)
    assert step == "attach"
    assert (one.record.phase, one.record.restarts, one.record.reason) == (Phase.STARTING, 1, "")


def test_the_end_of_what_somebody_else_ended_in_time_is_no_failure() -> None:
    """Such as the fuse, while the engine was away."""
    one = child.saw(running(), exited(137), at(32), 30.0)
    assert (one.record.phase, one.record.failures) == (Phase.BACKING_OFF, 0)
    crashed = child.saw(running(), exited(137), at(20), 30.0)
    assert (crashed.record.phase, crashed.record.failures) == (Phase.BACKING_OFF, 1)


def test_what_has_done_its_work_has_completed_however_late() -> None:
    job = msgspec.structs.replace(DATABASE, one_shot=True)
    assert child.saw(running(job), exited(0), at(32), 30.0).record.phase is Phase.COMPLETED


def test_after_a_reboot_it_waits_and_says_so() -> None:
    one = child.saw(life(Phase.RUNNING, None, DATABASE), exited(None), at(5, "boot-2"), -math.inf)
    one, step = child.next_step(one, True, at(5, "boot-2"), -math.inf)
    assert step is None
    assert (one.record.phase, one.record.failures) == (Phase.BACKING_OFF, 0)
    assert one.record.reason == "the node was restarted; waits for word from above, since it must never run twice"
    assert child.next_step(one, True, at(6, "boot-2"), 20.0)[1] is not None


def test_without_time_it_is_prepared_and_not_started() -> None:
    one = child.admit(child.saw(child.begin(ATTEMPT, DATABASE, at(0)), ABSENT, at(0)), (), at(0))
    one, step = child.next_step(one, True, at(1), -math.inf)
    assert step == "prepare"
    one = child.succeeded(one, "prepare", at(1))
    one, step = child.next_step(one, True, at(1), -math.inf)
    assert (step, one.record.reason) == (None, "waits for word from above, since it must never run twice")


def test_while_it_leaves_it_is_killed_all_the_same() -> None:
    one, step = child.next_step(running(), False, at(10), 30.0)
    assert (step, one.record.phase) == ("stop", Phase.STOPPING)
    one, step = child.next_step(one, False, at(30), 30.0)
    assert step == "kill"
    one = child.succeeded(one, "kill", at(30))
    assert one.record.phase is Phase.STOPPING
    assert child.next_step(one, False, at(30), 30.0)[1] == "remove"


def test_a_kill_that_fails_is_tried_again_as_soon_as_it_is_seen_to_run() -> None:
    one = child.faulted(running(), "kill", "the runtime is busy", False, at(30))
    assert child.next_step(one, True, at(30), 30.0)[1] is None, "it is looked at first"
    one = child.saw(one, RUNNING, at(30.1), 30.0)
    assert child.next_step(one, True, at(30.1), 30.0)[1] == "kill"
    assert child.next_step(replace(one, seen=exited(137)), True, at(30.1), 30.0)[1] is None
