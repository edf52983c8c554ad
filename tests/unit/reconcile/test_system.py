"""Which nodes should have an instance of a system service."""

from __future__ import annotations

import pytest

from mangrove.model.documents import Slot
from mangrove.reconcile.system import Changes, Pin, Verdict, changes, verdict

N1: Pin = ("c", "n1")
N2: Pin = ("c", "n2")


def slot(number: int, pin: Pin) -> Slot:
    return Slot(f"s.{number}", "s", number, "spec", pin=pin)


@pytest.mark.parametrize(
    ("matches", "live", "cordoned", "drained", "alone", "expected"),
    [
        (True, True, False, False, False, Verdict.WANTED),
        (True, False, False, False, False, Verdict.KEPT),  # it is waited for
        (True, True, True, False, True, Verdict.KEPT),
        (True, True, True, True, False, Verdict.KEPT),  # others are still there
        (True, True, True, True, True, Verdict.UNWANTED),
        (False, True, False, False, False, Verdict.UNWANTED),  # its labels changed
        (False, False, False, False, False, Verdict.KEPT),  # what it said last may be old
    ],
)
def test_what_a_node_means(
    matches: bool, live: bool, cordoned: bool, drained: bool, alone: bool, expected: Verdict
) -> None:
    said = verdict(matches=matches, stays=False, live=live, cordoned=cordoned, drained=drained, alone=alone)
    assert said is expected


def test_a_node_that_lacks_something_for_a_while_keeps_what_it_has_and_gets_nothing() -> None:
    assert verdict(matches=False, stays=True, live=True, cordoned=False, drained=False, alone=True) is Verdict.KEPT
    assert verdict(matches=False, stays=True, live=True, cordoned=True, drained=True, alone=True) is Verdict.UNWANTED


def test_a_node_without_gets_one_and_one_that_should_have_none_loses_it() -> None:
    verdicts = {N1: Verdict.WANTED, N2: Verdict.UNWANTED}
    assert changes([slot(0, N2)], verdicts, {"c"}, ()) == Changes((N1,), ("s.0",))
    assert changes([slot(1, N1)], verdicts, {"c"}, ()) == Changes()


def test_a_node_that_is_kept_loses_nothing_and_gets_nothing() -> None:
    assert changes([slot(0, N1)], {N1: Verdict.KEPT, N2: Verdict.KEPT}, {"c"}, ()) == Changes()


def test_a_node_that_its_cluster_does_not_tell_of_keeps_it_until_the_cluster_says_that_it_was_removed() -> None:
    assert changes([slot(0, N1)], {}, {"c"}, ()) == Changes(), "the cluster may have lost its store"
    assert changes([slot(0, N1)], {}, {"c"}, {"s.0"}) == Changes((), ("s.0",))
    assert changes([slot(0, N1)], {N1: Verdict.KEPT}, {"c"}, {"s.0"}) == Changes(), "it was refused for another reason"


def test_a_cluster_that_was_removed_takes_its_instances_with_it() -> None:
    assert changes([slot(0, N1)], {}, (), ()) == Changes((), ("s.0",))


def test_of_two_on_one_node_the_elder_stays() -> None:
    assert changes([slot(2, N1), slot(1, N1)], {N1: Verdict.WANTED}, {"c"}, ()) == Changes((), ("s.2",))


def test_what_belongs_nowhere_is_no_instance_of_a_system_service() -> None:
    assert changes([slot(0, ())], {}, {"c"}, ()) == Changes((), ("s.0",))
