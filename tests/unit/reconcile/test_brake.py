"""The brake against mass loss, one child after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mangrove.reconcile.brake import LET_GO, Brake

LEASE = 10.0


def fall(brake: Brake, children: int, there: int, now: float = 100.0) -> list[int]:
    """So many fall at once, of whom `there` others are left. What is answered to each."""
    return [brake.fell(f"c{n}", there, LEASE, now) for n in range(children)]


@pytest.mark.parametrize(("fallen", "there"), [(1, 0), (2, 0), (3, 6), (3, 100), (30, 60)])
def test_few_or_a_third_are_no_mass(fallen: int, there: int) -> None:
    brake = Brake()
    assert fall(brake, fallen, there) == [0] * fallen
    assert [brake.holds(f"c{n}", 100.0) for n in range(fallen)] == [0.0] * fallen


@pytest.mark.parametrize(("fallen", "there"), [(3, 0), (3, 5), (31, 60)])
def test_more_than_two_and_more_than_a_third_are_held_for_one_lease(fallen: int, there: int) -> None:
    brake = Brake()
    answers = fall(brake, fallen, there)
    assert answers == [0] * (fallen - 1) + [fallen], "told once, of all of them"
    assert min(brake.holds(f"c{n}", 100.0) for n in range(fallen)) == LEASE


def test_those_who_fell_shortly_before_are_held_too_and_those_of_long_ago_do_not_count() -> None:
    brake = Brake()
    assert brake.fell("old", 6, LEASE, 80.0) == 0
    assert brake.fell("a", 5, LEASE, 92.0) == 0
    assert brake.fell("b", 4, LEASE, 99.0) == 0
    assert brake.fell("c", 3, LEASE, 100.0) == 3
    assert brake.holds("a", 100.0) == LEASE
    assert brake.holds("old", 100.0) == 0.0


def test_after_the_pause_one_after_the_other_is_let_go() -> None:
    brake = Brake()
    fall(brake, 40, 0)
    free = sorted(brake.holds(f"c{n}", 100.0) for n in range(40))
    assert free[0] == LEASE
    steps = {round(later - earlier, 6) for earlier, later in pairwise(free)}
    assert max(steps) == LEASE / 1, "at least one in a lease"
    assert free[-1] <= LEASE + LEASE / LET_GO


def test_who_falls_while_the_brake_is_on_has_to_wait_behind_the_others() -> None:
    brake = Brake()
    fall(brake, 4, 2)
    assert brake.fell("late", 1, LEASE, 112.0) == 0
    assert brake.holds("late", 112.0) == max(brake.holds(f"c{n}", 112.0) for n in range(4)) + LEASE


def test_who_is_heard_again_is_held_no_more() -> None:
    brake = Brake()
    fall(brake, 4, 0)
    brake.heard("c1")
    assert brake.holds("c1", 100.0) == 0.0


def test_when_all_were_let_go_the_brake_is_off() -> None:
    brake = Brake()
    fall(brake, 3, 0)
    later = 100.0 + LEASE + 3 * LEASE
    assert brake.fell("c9", 5, LEASE, later) == 0
    assert brake.holds("c9", later) == 0.0


def test_who_falls_again_and_again_does_not_keep_others_for_ever() -> None:
    brake = Brake()
    now = 100.0
    for _ in range(100):
        for child in ("a", "b", "c"):
            brake.fell(child, 0, LEASE, now)
        now += 3.0
        for child in ("a", "b", "c"):
            brake.heard(child)
    brake.fell("dead", 0, LEASE, now)
    assert brake.holds("dead", now) <= LEASE + LEASE / LET_GO
