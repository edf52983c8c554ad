"""A child's loop over attempts: each transition, one at a time."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from mangrove.model.attempt import Attempt
from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Specification
from mangrove.reconcile import child
from mangrove.reconcile.child import Life, Moment, Record, Sight, Step

ABSENT, PREPARED, RUNNING = Sight("absent"), Sight("prepared"), Sight("running", started=1.0)
SERVICE = Specification(name="shop.prod.web.prod", image="nginx")
JOB = Specification(name="shop.prod.sums.prod", image="sums", one_shot=True)
ATTEMPT = Attempt("a" * 24, service="s", number=0, epoch=1, specification="d")


def at(now: float, boot: str = "boot-1") -> Moment:
    return Moment(now, 1_000_000 + now, boot)


def exited(code: int | None, reason: str = "", *, started: float = 1.0) -> Sight:
    return Sight("exited", code, reason, started)


def life(phase: Phase, seen: Sight | None = None, specification: Specification = SERVICE, *, failures: int = 0) -> Life:
    """A life that is at `phase` at moment 0, as it is after a look that showed `seen`."""
    record = Record(ATTEMPT, specification, phase, failures=failures, boot="boot-1")
    return Life(record, seen)


def step_of(one: Life, now: float = 0.0, *, wanted: bool = True) -> Step | None:
    return child.next_step(one, wanted, at(now))[1]


def started(specification: Specification = SERVICE) -> Life:
    return child.saw(life(Phase.STARTING, PREPARED, specification), RUNNING, at(0))


def test_a_new_attempt_goes_through_all_steps_to_running() -> None:
    one = child.saw(child.begin(ATTEMPT, SERVICE, at(0)), ABSENT, at(0))
    assert step_of(one) is None, "it waits to be admitted"
    one = child.admit(one, ("GPU-1",), at(0))
    taken: list[tuple[Step | None, Phase]] = []
    for _ in range(3):
        one, step = child.next_step(one, True, at(1))
        assert step is not None
        taken.append((step, one.record.phase))
        one = child.succeeded(one, step, at(1), RUNNING if step == "start" else None)
    assert taken == [("prepare", Phase.PULLING), ("attach", Phase.STARTING), ("start", Phase.STARTING)]
    assert one.record.phase is Phase.RUNNING
    assert one.record.gpus == ("GPU-1",)
    assert (one.record.restarts, one.record.since, one.record.boot) == (0, 1_000_001, "boot-1")
    assert step_of(one, 1_000) is None


def test_nothing_is_concluded_before_the_runtime_was_looked_at() -> None:
    for phase in Phase:
        if phase not in (Phase.ASSIGNED, Phase.REFUSED):
            assert step_of(life(phase), wanted=True) is None
            assert step_of(life(phase), wanted=False) is None


def test_an_instance_that_runs_is_adopted_at_whatever_step_it_was_left() -> None:
    for phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING, Phase.RUNNING):
        one = child.saw(child.resume(Record(ATTEMPT, SERVICE, phase, restarts=2), at(0)), RUNNING, at(0))
        assert (one.record.phase, one.record.restarts) == (Phase.RUNNING, 2)
        assert step_of(one, 1) is None


def test_a_prepared_instance_is_not_prepared_again_but_attached() -> None:
    assert step_of(child.saw(life(Phase.STARTING), PREPARED, at(0))) == "attach"


def test_a_prepared_instance_that_vanished_is_prepared_again_without_going_back_a_phase() -> None:
    one = child.saw(replace(life(Phase.STARTING, PREPARED), attached=True), ABSENT, at(0))
    one, step = child.next_step(one, True, at(0))
    assert (step, one.record.phase) == ("prepare", Phase.STARTING)
    assert child.next_step(child.succeeded(one, "prepare", at(0)), True, at(0))[1] == "attach"


def test_an_exit_is_followed_by_a_delay_and_a_start_in_place() -> None:
    one = child.saw(started(), exited(3), at(5))
    assert one.record.phase is Phase.BACKING_OFF
    assert one.record.exit_code == 3
    assert "exit code 3" in one.record.reason
    assert "failure 1 of" in one.record.reason
    assert step_of(one, 5.9) is None
    assert child.wake(one, 5.9) == 6
    one, step = child.next_step(one, True, at(6))
    assert (step, one.record.phase, one.record.restarts) == ("attach", Phase.STARTING, 1)
    one = child.succeeded(one, "attach", at(6))
    one, step = child.next_step(child.saw(one, exited(3), at(6)), True, at(6))
    assert step == "start", "the old end is still to be seen, and is no new one"
    one = child.succeeded(one, "start", at(6), RUNNING)
    assert (one.record.phase, one.record.exit_code, one.record.reason) == (Phase.RUNNING, None, "")


def test_the_same_end_is_counted_once() -> None:
    one = child.saw(started(), exited(1), at(0))
    for now in (0.2, 0.4, 0.6):
        one = child.saw(one, exited(1), at(now))
    assert (one.record.failures, one.record.restarts, one.not_before) == (1, 0, 1)


def test_a_restart_of_the_child_between_an_end_and_the_next_start_counts_it_once() -> None:
    one = child.saw(started(), exited(1), at(0))
    one, step = child.next_step(one, True, at(1))
    assert step == "attach"
    again = child.saw(child.resume(one.record, at(2)), exited(1), at(2))
    assert (again.record.phase, again.record.failures, again.record.restarts) == (Phase.STARTING, 1, 1)


def test_an_end_after_a_start_that_was_believed_to_have_failed_is_a_new_one() -> None:
    one = child.saw(started(JOB), exited(1, started=1), at(0))
    one = child.succeeded(child.next_step(one, True, at(1))[0], "attach", at(1))
    one = child.faulted(one, "start", "timed out", False, at(1))
    assert child.saw(one, exited(1, started=1), at(2)).record.phase is Phase.STARTING
    assert child.saw(one, exited(0, started=2), at(2)).record.phase is Phase.COMPLETED


def test_an_instance_that_ends_before_start_returns_has_ended() -> None:
    one = child.succeeded(replace(life(Phase.STARTING, PREPARED), attached=True), "start", at(0), exited(127))
    assert (one.record.phase, one.record.exit_code) == (Phase.BACKING_OFF, 127)


def test_a_start_that_neither_runs_nor_ended_counts_as_failed() -> None:
    one = child.succeeded(replace(life(Phase.STARTING, PREPARED), attached=True), "start", at(0), PREPARED)
    assert one.record.failures == 1
    assert one.seen is None


def test_an_instance_that_disappears_is_prepared_again() -> None:
    one = child.saw(started(), ABSENT, at(0))
    assert one.record.phase is Phase.BACKING_OFF
    assert "disappeared" in one.record.reason
    one, step = child.next_step(one, True, at(1))
    assert (step, one.record.phase, one.record.restarts) == ("prepare", Phase.PULLING, 1)


def test_delays_double_up_to_a_cap() -> None:
    assert [child.back_off(n) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert child.back_off(10_000) == 60


def test_it_is_given_up_after_so_many_failures_in_a_row() -> None:
    one, now = started(), 0.0
    for failure in range(1, child.MAX_FAILURES):
        one = child.saw(one, exited(1), at(now))
        assert (one.record.phase, one.record.failures) == (Phase.BACKING_OFF, failure)
        now = one.not_before
        one, _ = child.next_step(one, True, at(now))
        one = child.succeeded(one, "start", at(now), RUNNING)
    one = child.saw(one, exited(1, "out of memory (limit 64 MiB)"), at(now))
    assert one.record.phase is Phase.FAILED
    assert one.record.reason == "out of memory (limit 64 MiB); given up after 6 failures in a row"
    assert step_of(one, now + 10_000) is None


def test_failures_are_forgiven_after_a_while_of_running() -> None:
    one = replace(started(), record=msgspec.structs.replace(started().record, failures=5))
    assert child.saw(one, RUNNING, at(child.STABLE_AFTER - 1)).record.failures == 5
    assert child.saw(one, RUNNING, at(child.STABLE_AFTER)).record.failures == 0
    assert child.saw(one, exited(1), at(child.STABLE_AFTER)).record.failures == 1, "even if nobody looked meanwhile"
    assert child.saw(one, exited(1), at(child.STABLE_AFTER - 1)).record.phase is Phase.FAILED


def test_a_one_shot_that_ends_well_is_completed_for_ever() -> None:
    one = child.saw(started(JOB), exited(0), at(0))
    assert (one.record.phase, one.record.exit_code) == (Phase.COMPLETED, 0)
    for boot in ("boot-1", "boot-2"):
        again = child.resume(one.record, at(0, boot))
        for sight in (ABSENT, PREPARED, exited(0), exited(None)):
            seen, step = child.next_step(child.saw(again, sight, at(1, boot)), True, at(1_000, boot))
            assert (step, seen.record.phase) == (None, Phase.COMPLETED)


def test_a_one_shot_that_ends_badly_or_unknown_runs_again() -> None:
    for sight in (exited(1), exited(None)):
        one = child.saw(started(JOB), sight, at(0))
        assert one.record.phase is Phase.BACKING_OFF
        assert step_of(one, 1) == "attach"


def test_a_one_shot_that_completed_while_nobody_looked_is_completed() -> None:
    for phase in (Phase.ASSIGNED, Phase.STARTING, Phase.RUNNING):
        one = child.resume(Record(ATTEMPT, JOB, phase, boot="boot-1"), at(0, "boot-2"))
        assert child.saw(one, exited(0), at(0, "boot-2")).record.phase is Phase.COMPLETED


def test_a_service_that_ends_with_success_is_started_again() -> None:
    assert child.saw(started(), exited(0), at(0)).record.phase is Phase.BACKING_OFF


def test_a_reboot_is_no_failure_of_what_ran() -> None:
    for sight in (ABSENT, exited(None), exited(137)):
        record = Record(ATTEMPT, SERVICE, Phase.RUNNING, failures=5, restarts=1, boot="boot-1")
        one = child.saw(child.resume(record, at(3, "boot-2")), sight, at(3, "boot-2"))
        assert one.record.reason == "the node was restarted"
        one, step = child.next_step(one, True, at(3, "boot-2"))
        assert step == ("prepare" if sight is ABSENT else "attach"), "at once"
        assert (one.record.failures, one.record.restarts) == (5, 2)
        one = child.succeeded(child.next_step(replace(one, seen=PREPARED), True, at(3, "boot-2"))[0], "attach", at(3))
        one = child.succeeded(one, "start", at(4, "boot-2"), exited(1))
        assert one.record.phase is Phase.FAILED, "but the next end is"


def test_a_delay_that_was_under_way_begins_anew_after_a_restart() -> None:
    record = child.saw(started(), exited(1), at(1_000_000)).record
    one = child.saw(child.resume(record, at(10)), exited(1), at(10))
    assert (one.record.failures, one.record.phase) == (1, Phase.BACKING_OFF)
    assert step_of(one, 10.5) is None
    assert step_of(one, 11) == "attach"


def test_a_failed_step_is_tried_again_after_a_delay_and_a_fresh_look() -> None:
    one = child.faulted(life(Phase.PULLING, ABSENT), "prepare", "registry.example: no route", False, at(0))
    assert (one.record.phase, one.record.failures) == (Phase.PULLING, 1)
    assert one.record.reason == "registry.example: no route; failure 1 of 6, tried again after 1 s"
    assert step_of(one, 100) is None
    one = child.saw(one, ABSENT, at(0.1))
    assert step_of(one, 0.9) is None
    assert step_of(one, 1) == "prepare"


def test_a_failed_start_that_happened_all_the_same_is_no_failure() -> None:
    one = replace(life(Phase.STARTING, PREPARED, failures=child.MAX_FAILURES - 1), attached=True)
    one = child.saw(child.faulted(one, "start", "timed out", False, at(0)), RUNNING, at(1))
    assert (one.record.phase, one.record.reason, step_of(one, 2)) == (Phase.RUNNING, "", None)
    one = child.saw(one, exited(1), at(500))
    one, step = child.next_step(one, True, at(600))
    assert (step, one.record.phase) == ("attach", Phase.STARTING), "that it was given up once is forgotten"


@pytest.mark.parametrize(("failures", "permanent"), [(0, True), (child.MAX_FAILURES - 1, False)])
def test_it_is_given_up_only_when_it_is_seen_not_to_run(failures: int, permanent: bool) -> None:
    one = life(Phase.PULLING, ABSENT, failures=failures)
    one = child.faulted(one, "prepare", "image nginx:1 not found", permanent, at(0))
    assert one.record.phase is Phase.PULLING
    one, step = child.next_step(child.saw(one, ABSENT, at(0)), True, at(0))
    assert (one.record.phase, step) == (Phase.FAILED, None)
    assert one.record.reason.startswith("image nginx:1 not found")


def test_what_is_final_must_not_run() -> None:
    for phase in ENDED:
        one = child.saw(life(phase, ABSENT), RUNNING, at(0))
        assert one.record.phase is phase
        one, step = child.next_step(one, True, at(0))
        assert (step, one.record.phase) == ("stop", phase)
        assert step_of(child.succeeded(one, "stop", at(0)), 1) is None


def test_what_is_no_longer_wanted_is_stopped_then_removed() -> None:
    for phase, sight, steps in (
        (Phase.RUNNING, RUNNING, ["stop", "remove"]),
        (Phase.STARTING, PREPARED, ["remove"]),
        (Phase.PULLING, ABSENT, ["remove"]),
        (Phase.ASSIGNED, PREPARED, ["remove"]),
    ):
        one, taken = life(phase, sight), []
        for _ in steps:
            one, step = child.next_step(one, False, at(0))
            assert step is not None
            assert one.record.phase is Phase.STOPPING
            taken.append(step)
            one = child.succeeded(one, step, at(0))
        assert taken == steps


def test_a_delay_does_not_delay_the_stop() -> None:
    one = child.saw(started(), exited(1), at(0))
    assert step_of(one, 0, wanted=False) == "remove"


def test_what_has_ended_keeps_its_phase_while_it_is_removed() -> None:
    for phase in (Phase.COMPLETED, Phase.FAILED):
        one, step = child.next_step(life(phase, exited(0)), False, at(0))
        assert (step, one.record.phase) == ("remove", phase)


def test_of_what_was_never_made_only_the_record_goes() -> None:
    for phase in (Phase.ASSIGNED, Phase.REFUSED):
        for seen in (None, ABSENT):
            assert step_of(life(phase, seen), wanted=False) == "drop"


def test_a_stop_once_begun_is_finished_even_if_it_is_wanted_again() -> None:
    one, _ = child.next_step(life(Phase.RUNNING, RUNNING), False, at(0))
    assert step_of(one, wanted=True) == "stop"
    assert step_of(child.saw(one, exited(137), at(0)), wanted=True) == "remove"


def test_a_failed_stop_is_tried_for_ever_with_a_reason() -> None:
    one = life(Phase.STOPPING, RUNNING)
    now = 0.0
    for attempt in range(12):
        assert step_of(one, now, wanted=False) == "stop"
        one = child.faulted(one, "stop", "docker is stuck", True, at(now))
        assert one.record.reason == "cannot stop it yet: docker is stuck"
        assert one.not_before - now == child.back_off(attempt + 1)
        one = child.saw(one, RUNNING, at(now))
        assert one.record.phase is Phase.STOPPING
        now = one.not_before
    one = child.succeeded(one, "stop", at(now))
    assert step_of(one, now, wanted=False) == "remove"


def test_a_refusal_is_final() -> None:
    one = child.refuse(child.begin(ATTEMPT, SERVICE, at(0)), "no runtime", at(1))
    assert (one.record.phase, one.record.reason, one.record.since) == (Phase.REFUSED, "no runtime", 1_000_001)
    assert step_of(child.saw(one, ABSENT, at(2)), 1_000) is None


def test_a_record_survives_the_disk() -> None:
    record = child.saw(started(), exited(3), at(5)).record
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record
