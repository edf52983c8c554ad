"""A child that mirrors a plan has it soon and for good, whatever is lost; who does not is told nothing of it."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from mangrove.link.child_events import Planned
from mangrove.link.envelope import topic_of, unseal
from mangrove.link.messages import ASSIGNMENT, PLAN, Assign
from mangrove.link.sync import Applied, Replica
from mangrove.model.attempt import Attempt
from mangrove.network.plan import Endpoint, Grant, PlanEntry, Ranges, id_of
from tests.unit.link.talk import KEY, Talk

ATTEMPT = Attempt("a1", "service", 0, 1, "specification")
GRANT = Grant("10.18.0.0/26", "fdff::/64")


def endpoint(number: int, state: Any = "ready") -> Endpoint:
    return Endpoint(f"a{number}", "service", number, "node", f"10.18.0.{number + 2}", state=state)


class Planning(Talk):
    """A child that mirrors a plan. mirror: what it holds."""

    def __init__(self) -> None:
        self.mirror: Replica[Any] = Replica(PLAN, cast(Any, PlanEntry))
        super().__init__()

    def new_child(self, incarnation: int = 1, brokers: int = 1, **changes: Any) -> Any:
        return super().new_child(incarnation, brokers, **{"plan": self.mirror, **changes})

    def plan(self, *put: PlanEntry, remove: tuple[str, ...] = ()) -> None:
        self.parent.plan("c", {id_of(entry): entry for entry in put}, remove)

    def assigns(self, channel: str) -> int:
        """How many of them were sent for a channel."""
        payloads = [payload for direction, kind, payload in self.sent if (direction, kind) == ("down", "assign")]
        messages = [unseal(KEY, topic_of("p", "c", "down", "assign"), payload)[1] for payload in payloads]
        return sum(isinstance(one, Assign) and one.step.channel == channel for one in messages)

    @property
    def news(self) -> list[Applied]:
        """What the child has learnt of its plan."""
        return [event.applied for event in self.learnt if isinstance(event, Planned)]

    @property
    def in_step(self) -> bool:
        return self.mirror.digest == self.parent.peers["c"].plan.digest


def settled() -> Planning:
    talk = Planning()
    talk.settle()
    return talk


def test_a_plan_comes_at_once_and_changes_as_single_entries() -> None:
    talk = settled()
    talk.plan(Ranges(("10.18.0.0/15",)), GRANT, endpoint(0))
    talk.step(0.1)
    assert talk.mirror.entries == {
        "ranges": Ranges(("10.18.0.0/15",)),
        "grant/10.18.0.0/26": GRANT,
        "endpoint/a0": endpoint(0),
    }
    talk.plan(endpoint(0, "stopping"), remove=("ranges",))
    talk.step(0.1)
    assert talk.mirror.entries == {"grant/10.18.0.0/26": GRANT, "endpoint/a0": endpoint(0, "stopping")}
    assert talk.news[-1] == Applied(frozenset({"endpoint/a0"}), frozenset({"ranges"}), complete=False)
    assert talk.assigns(PLAN) == 2


def test_what_stays_as_it_is_is_not_said_again() -> None:
    talk = settled()
    talk.plan(GRANT)
    talk.steps(1.0)
    count = talk.assigns(PLAN)
    talk.plan(GRANT)
    talk.steps(30.0)
    assert talk.assigns(PLAN) == count == 1


def test_a_plan_settles_nothing_and_waits_for_the_first_report() -> None:
    talk = Planning()
    talk.parent.expect("c", talk.now)
    talk.plan(GRANT)
    talk.lost = lambda direction, kind: kind == "report"
    talk.steps(3.0)
    assert talk.state() == "reporting"
    assert talk.assigns(PLAN) == 0
    talk.lost = lambda direction, kind: False
    talk.settle()
    talk.step(0.1)
    assert talk.in_step
    assert talk.mirror.entries


def test_a_child_that_mirrors_no_plan_is_told_nothing() -> None:
    talk = Planning()
    talk.child = talk.new_child(plan=None)
    talk.settle()
    talk.plan(GRANT)
    talk.parent.assign("c", {"a1": ATTEMPT}, frozenset())
    talk.steps(30.0)
    assert (talk.assigns(PLAN), talk.assigns(ASSIGNMENT)) == (0, 2)
    assert talk.parent.peers["c"].applied == talk.parent.peers["c"].assignment.mark


def test_a_child_from_before_there_were_plans_ignores_one() -> None:
    talk = Planning()
    talk.child = talk.new_child(plan=None)
    talk.settle()
    peer = talk.parent.peers["c"]
    peer.plan_held = "0" * 32  # a parent that would tell it all the same
    talk.plan(GRANT)
    talk.steps(3.0)
    assert talk.assigns(PLAN) > 0
    assert talk.state() == "settled"
    assert talk.child.dropped == 0
    assert talk.news == []


def test_a_lost_step_is_sent_again_also_while_others_follow() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: kind == "assign"
    talk.plan(GRANT)
    talk.step(0.1)
    talk.lost = lambda direction, kind: False
    for number in range(60):
        talk.plan(endpoint(number % 7))
        talk.plan(remove=(f"endpoint/a{(number + 3) % 7}",))
        talk.step(0.1)
    assert "grant/10.18.0.0/26" in talk.mirror.entries
    talk.steps(6.0)
    assert talk.in_step


def test_a_child_that_comes_back_is_told_only_the_difference() -> None:
    talk = settled()
    talk.plan(*(endpoint(number) for number in range(50)))
    talk.steps(3.0)
    talk.child = talk.new_child(incarnation=2)
    talk.plan(endpoint(1, "stopping"))
    talk.settle()
    talk.steps(1.0)
    assert talk.in_step
    assert talk.news[-1] == Applied(frozenset({"endpoint/a1"}), frozenset(), complete=False)


def test_a_parent_that_starts_anew_with_the_same_plan_says_nothing() -> None:
    talk = settled()
    talk.plan(GRANT, endpoint(0))
    talk.steps(3.0)
    count = talk.assigns(PLAN)
    talk.parent = talk.new_parent(term=2)
    talk.parent.expect("c", talk.now)
    talk.plan(GRANT, endpoint(0))
    talk.steps(30.0)
    assert talk.state() == "settled"
    assert talk.in_step
    assert talk.assigns(PLAN) == count
    talk.plan(endpoint(1))
    talk.step(0.1)
    assert talk.in_step


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_lost_both_come_to_the_same(seed: int) -> None:
    rng = random.Random(seed)
    talk = Planning()
    loss = 0.4
    talk.lost = lambda direction, kind: rng.random() < loss
    for _ in range(300):
        talk.step(rng.choice([0.05, 0.3]))
        if "c" in talk.parent.peers and rng.random() < 0.5:
            number = rng.randrange(12)
            if rng.random() < 0.3:
                talk.plan(remove=(f"endpoint/a{number}",))
            else:
                talk.plan(endpoint(number, rng.choice(["ready", "doubtful", "stopping"])))
        if rng.random() < 0.01:
            talk.child = talk.new_child(incarnation=talk.child.identity.incarnation + 1)
    loss = 0.0
    talk.steps(20.0)
    assert talk.state() == "settled"
    assert talk.in_step
    assert len(talk.mirror.entries) > 0
