"""What each slot of a service should have while a newer specification is rolled out."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from mangrove.model.attempt import Status
from mangrove.model.documents import Given, Past, Placement, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.reconcile.rollout import HOLD, HOLD_LONGEST, Member, rollout, specification_now

NOW = 1000.0


def member(number: int, has: str, phase: Phase | None = Phase.RUNNING, *, wants: str = "v2", **more: Any) -> Member:
    """A slot that has an attempt of `has` (nothing: none yet), of which this is the newest word."""
    slot = Slot(f"s.{number}", "s", number, wants)
    current = Given(f"a{number}", "child", 1, has, Resources()) if has else None
    placed = {name: more.pop(name) for name in ("reason", "renewing", "history", "failures", "leaving") if name in more}
    heard = more.pop("heard", NOW - 100)
    status = Status(f"a{number}", phase, more.pop("said", ""), **more) if phase is not None and has else None
    return Member(slot, Placement(slot.id, current=current, **placed), status, heard)


def past(specification: str, phase: Phase = Phase.FAILED) -> Past:
    return Past("before", "child", specification, phase)


def now(*members: Member) -> list[str]:
    state = rollout(members, NOW)
    return [specification_now(one, state) for one in members]


def told(*members: Member) -> tuple[str, int, int]:
    state = rollout(members, NOW)
    return state.state, state.updated, state.total


def test_without_a_newer_specification_there_is_nothing_to_do() -> None:
    members = [member(0, "v2"), member(1, "v2", Phase.BACKING_OFF, said="exit code 1"), member(2, "")]
    assert told(*members) == ("done", 3, 3)
    assert now(*members) == ["v2"] * 3
    assert rollout(members, NOW).next_look is None


def test_it_begins_when_all_run_the_old_one() -> None:
    members = [member(0, "v1"), member(1, "v1")]
    assert told(*members) == ("rolling", 0, 2)
    assert now(*members) == ["v2", "v2"], "each alone may; who replaces one says so to those that come after it"
    state = dataclasses.replace(rollout(members, NOW), going=True)
    assert specification_now(members[1], state) == "v1"


@pytest.mark.parametrize("phase", [None, Phase.ASSIGNED, Phase.PULLING, Phase.STARTING, Phase.PENDING])
def test_one_at_a_time(phase: Phase | None) -> None:
    members = [member(0, "v2", phase, renewing=True), member(1, "v1"), member(2, "v1")]
    assert told(*members) == ("rolling", 0, 3)
    assert now(*members) == ["v2", "v1", "v1"]


def test_the_next_one_comes_when_the_last_has_held_for_a_while() -> None:
    young, old = member(0, "v2", heard=NOW - HOLD + 1), member(1, "v1")
    assert now(young, old) == ["v2", "v1"]
    assert rollout([young, old], NOW).next_look == NOW + 1
    assert told(young, old) == ("rolling", 1, 2)
    assert now(member(0, "v2", heard=NOW - HOLD), old) == ["v2", "v2"]


def test_what_restarted_must_hold_for_longer() -> None:
    twice = member(0, "v2", restarts=2, heard=NOW - 3 * HOLD)
    assert now(twice, member(1, "v1")) == ["v2", "v1"]
    assert now(dataclasses.replace(twice, heard=NOW - 4 * HOLD), member(1, "v1")) == ["v2", "v2"]
    often = member(0, "v2", restarts=10**6, heard=NOW - HOLD_LONGEST)
    assert now(often, member(1, "v1")) == ["v2", "v2"]


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    assert now(member(0, "v2", heard=NOW + 86_400), member(1, "v1")) == ["v2", "v2"]


@pytest.mark.parametrize(
    "failing",
    [
        member(0, "v2", Phase.BACKING_OFF, said="exit code 1"),
        member(0, "v2", Phase.FAILED, said="exit code 1"),
        member(0, "v2", Phase.REFUSED, said="exit code 1"),
        member(0, "v2", Phase.STARTING, said="exit code 1", restarts=1),
        member(0, "v2", Phase.PENDING, said="exit code 1"),
        member(0, "v2", Phase.RUNNING, said="exit code 1", silent=True),
        member(0, "v2", Phase.ASSIGNED, reason="exit code 1", failures=1),
        member(0, "", reason="exit code 1", failures=1, history=(past("v2"),)),
        member(0, "", reason="exit code 1", renewing=True, history=(past("v1"),)),
    ],
    ids=lambda member: str(member.status.phase if member.status is not None else member.placement.failures),
)
def test_it_stands_still_while_one_fails(failing: Member) -> None:
    state = rollout([failing, member(1, "v1"), member(2, "v1")], NOW)
    assert state.state == "stopped"
    assert state.reason == "instance 0: exit code 1"
    assert now(failing, member(1, "v1"), member(2, "v1", Phase.BACKING_OFF)) == ["v2", "v1", "v1"]


def test_what_must_move_meanwhile_keeps_what_it_had() -> None:
    failing = member(0, "v2", Phase.BACKING_OFF)
    lost = member(1, "", reason="moved away", history=(past("v0"), past("v1", Phase.RUNNING)))
    assert now(failing, lost, member(2, "v1")) == ["v2", "v1", "v1"]
    assert now(member(0, "v2", Phase.STARTING), lost) == ["v2", "v1"], "nobody knows yet whether it will fail"
    assert now(member(0, "v2", Phase.STARTING), member(1, "v1", silent=True)) == ["v2", "v1"]
    assert now(member(0, "v2"), lost, member(2, "v1")) == ["v2", "v2", "v2"], "and when nothing fails, the newest"


def test_waiting_for_the_one_before_to_end_is_no_failure() -> None:
    leaving = (Given("b", "child", 1, "v1", Resources()),)
    waiting = member(0, "v2", Phase.PENDING, said="needs 1 CPU core", renewing=True, leaving=leaving)
    assert told(waiting, member(1, "v1"))[0] == "rolling"
    homeless = member(0, "", reason="needs 1 CPU core", renewing=True, leaving=leaving, history=(past("v1"),))
    assert told(homeless, member(1, "v1"))[0] == "rolling"
    assert now(homeless, member(1, "v1")) == ["v2", "v1"]


def test_what_does_not_run_takes_the_newest_at_once() -> None:
    down = [member(n, "v1", phase) for n, phase in enumerate((Phase.BACKING_OFF, Phase.STARTING, Phase.FAILED))]
    pending = member(3, "", reason="no room", failures=2, history=(past("v1"),))
    under_way = member(4, "v2", Phase.STARTING)
    assert now(*down, pending, under_way) == ["v2"] * 5


def test_what_never_had_a_place_keeps_nobody_waiting() -> None:
    assert now(member(0, "", reason="no room"), member(1, "v1")) == ["v2", "v2"]


def test_what_completed_or_is_stopped_has_no_part_in_it() -> None:
    completed = member(0, "")
    final = Status("a", Phase.COMPLETED)
    completed = dataclasses.replace(completed, placement=msgspec.structs.replace(completed.placement, final=final))
    stopped = member(1, "v1", Phase.STOPPING)
    stopped = dataclasses.replace(stopped, slot=msgspec.structs.replace(stopped.slot, desired="stop"))
    assert told(completed, stopped, member(2, "v2")) == ("done", 2, 2)


def test_what_fits_nowhere_stops_it_and_says_so() -> None:
    kept = member(0, "v1", reason="the newer version fits nowhere: needs 64 GiB")
    state = rollout([kept, member(1, "v1")], NOW)
    assert (state.state, state.reason) == ("stopped", f"instance 0: {kept.placement.reason}")
    assert now(kept, member(1, "v1")) == ["v2", "v2"], "it is asked again"


def test_the_last_one_must_run_too() -> None:
    assert told(member(0, "v2"), member(1, "v2", Phase.STARTING, renewing=True)) == ("rolling", 1, 2)
    assert told(member(0, "v2"), member(1, "v2", Phase.BACKING_OFF, renewing=True)) == ("stopped", 1, 2)
    assert told(member(0, "v2"), member(1, "v2", Phase.BACKING_OFF)) == ("done", 2, 2), "it ran: that is another story"


def test_a_newer_one_yet_replaces_what_failed_at_once_and_the_rest_one_by_one() -> None:
    failing = member(0, "v2", Phase.BACKING_OFF, wants="v3", renewing=True)
    assert now(failing, member(1, "v1", wants="v3")) == ["v3", "v1"]
    mended = member(0, "v3", Phase.STARTING, wants="v3", renewing=True)
    assert now(mended, member(1, "v1", wants="v3")) == ["v3", "v1"]
    assert told(failing, member(1, "v1", wants="v3")) == ("rolling", 0, 2)


@pytest.mark.parametrize("phase", [None, Phase.ASSIGNED, Phase.STARTING, Phase.BACKING_OFF, Phase.FAILED])
def test_one_that_is_down_takes_a_newer_one_yet_before_any_that_runs(phase: Phase | None) -> None:
    """Whatever their order, and whether an earlier rollout took it down or it fell by itself."""
    runs, down = member(0, "v1", wants="v3"), member(1, "v2", phase, wants="v3", renewing=True)
    assert now(runs, down) == ["v1", "v3"]
    assert now(runs, member(1, "v1", phase, wants="v3")) == ["v1", "v3"]


def test_one_that_is_down_and_cannot_take_a_newer_one_stops_the_rest_and_says_so() -> None:
    away = member(1, "v2", Phase.STARTING, wants="v3", renewing=True, silent=True, reason="needs 64 GiB")
    state = rollout([member(0, "v1", wants="v3"), away], NOW)
    assert (state.state, state.reason) == ("stopped", "instance 1: needs 64 GiB")
    assert now(member(0, "v1", wants="v3"), away) == ["v1", "v3"]


def test_going_back_needs_nobody_who_runs() -> None:
    failing = member(0, "v2", Phase.BACKING_OFF, wants="v1", renewing=True)
    assert now(failing, member(1, "v1", wants="v1")) == ["v1", "v1"]
