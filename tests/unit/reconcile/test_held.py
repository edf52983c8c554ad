"""A parent's loop over slots: what a person holds."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.attempt import Status
from mangrove.model.phases import Phase
from tests.unit.reconcile.case import SLOT, Case, running

HELD = "held at cluster alpha by an operator: the arm is open"
NEWER = msgspec.structs.replace(SLOT, specification="newer")


def test_what_is_held_by_a_child_that_is_not_heard_says_both() -> None:
    case = Case()
    case.decide()
    attempt = case.attempt
    held = "held at cluster alpha by an operator"
    case.children.statuses[attempt] = Status(attempt, Phase.HELD, held)
    case.decide()
    assert case.placement.reason == ""
    case.children.silent["n1"] = 1000.0
    case.decide()
    assert (case.attempt, case.placement.reason) == (attempt, f"{held}, and node n1 is not heard")
    del case.children.silent["n1"]
    case.decide()
    assert (case.attempt, case.placement.reason) == (attempt, "")


def held() -> Case:
    case = running()
    case.says(Phase.HELD, HELD)
    case.decide()
    return case


def test_what_is_held_is_not_replaced_by_a_newer_version_until_it_is_released() -> None:
    case = held()
    before = case.placement.current
    case.decide(NEWER)
    assert case.placement.current == before
    assert case.placement.reason == f"the newer version waits until it is released: {HELD}"
    case.says(Phase.RUNNING)
    case.decide(NEWER)
    assert case.placement.current != before
    assert case.leaving() == [before.attempt if before is not None else ""]


@pytest.mark.parametrize("removed", [False, True])
def test_what_is_held_stays_so_on_a_child_that_is_not_heard_and_goes_with_one_that_was_removed(removed: bool) -> None:
    case = held()
    case.children.silent["n1"] = float("inf") if removed else 1e6
    case.decide(NEWER)
    assert (case.child == "n1") is not removed


def test_a_delete_ends_what_is_held() -> None:
    case = held()
    case.children.ended.add(case.attempt)
    assert case.decide(None).placement is None
