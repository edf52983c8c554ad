"""A parent's loop over slots: each decision, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.base.ids import seeded_ids
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Past, Placement, Refusal, Slot
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect
from mangrove.reconcile.absence import GONE_GRACE, NO_NEWS, Absence
from mangrove.reconcile.failing import AVOID_FOR, Failing
from mangrove.reconcile.parent import (
    ASK_AGAIN,
    HAND_BACK_AFTER,
    RETRY_FIRST,
    RETRY_LAST,
    STEADY_AFTER,
    decide,
)
from mangrove.reconcile.placements import HISTORY
from mangrove.reconcile.view import Decision, Told

LEASE = 10.0
SLOT = Slot("service.0", "service", 0, "digest")
STOPPED = msgspec.structs.replace(SLOT, desired="stop")
NOW = 1000.0


@dataclass
class Children:
    """A `reconcile.parent.View` that is told everything. fits: children that have room, the best first."""

    fits: list[str] = field(default_factory=lambda: ["n1", "n2"])
    statuses: dict[str, Status] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    revisions: dict[str, str] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    policies: dict[str, Disconnect] = field(default_factory=dict)
    news: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    staying: set[str] = field(default_factory=set)
    scored: dict[str, float] = field(default_factory=dict)
    unknown: float = float("inf")
    no_news: float = NO_NEWS
    asked: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)

    def status(self, given: Given) -> Status | None:
        return self.statuses.get(given.attempt)

    def has_ended(self, given: Given) -> bool:
        return given.attempt in self.ended

    def quiet(self, given: Given) -> float:
        return max(0.0, self.now - self.news.setdefault(given.attempt, self.now))  # its clock is not set back

    def absence(self, child: str) -> Absence | None:
        if child not in self.silent and child not in self.gone:
            return None
        unheard = self.silent.get(child, self.gone.get(child, 0.0))
        held = self.held.get(child, 0.0)
        return Absence(unheard, unheard, LEASE, child in self.silent, self.gone.get(child), held)

    def policy(self, specification: str) -> Disconnect:
        return self.policies.get(specification, Disconnect())

    def may_stay(self, given: Given) -> bool:
        return given.attempt in self.staying

    def displace(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> None:
        return None

    def scores(self, slot: Slot, attempts: Sequence[Given]) -> list[float]:
        return [self.scored[given.child] for given in attempts]

    def place(
        self,
        slot: Slot,
        refused: Mapping[str, Refusal],
        avoid: frozenset[str],
        shun: frozenset[str] = frozenset(),
        instead_of: Given | None = None,
    ) -> Chosen | NoFit:
        self.asked.append((frozenset(refused), avoid))
        for child in sorted(self.fits, key=lambda child: child in shun):
            if child not in refused and child not in avoid and child not in self.silent:
                return Chosen(child)
        return NoFit("no room anywhere")

    def revision(self, child: str) -> str:
        return self.revisions.get(child, "r1")

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        self.news[attempt] = self.now
        self.given.append(Given(attempt, child, epoch, slot.specification, Resources(cpu=100)))
        return self.given[-1]

    def name(self, child: str) -> str:
        return f"node {child}"


class Case:
    """One slot through several decisions. now: wall-clock seconds."""

    def __init__(self, children: Children | None = None, placement: Placement | None = None) -> None:
        self.children = children or Children()
        self.placement = placement or Placement(SLOT.id)
        self.now = NOW
        self.told: list[str] = []
        self._new_id = seeded_ids(1)

    def decide(self, slot: Slot | None = SLOT, *, may_refuse: bool = False) -> Decision:
        self.children.now = max(self.children.now, self.now)  # the wall's clock may go back, that of silence never does
        decision = decide(slot, self.placement, self.children, self.now, self._new_id, may_refuse=may_refuse)
        self.told += [told.text for told in decision.told]
        if decision.placement is not None:
            self.placement = decision.placement
        return decision

    @property
    def attempt(self) -> str:
        assert self.placement.current is not None
        return self.placement.current.attempt

    @property
    def child(self) -> str:
        assert self.placement.current is not None
        return self.placement.current.child

    def says(self, phase: Phase, reason: str = "", *, given_up: bool = False) -> None:
        """The child's word about the current attempt."""
        status = Status(self.attempt, phase, reason, silent=given_up, given_up=given_up)
        self.children.statuses[self.attempt] = status
        self.children.news[self.attempt] = self.now

    def final(self) -> Phase | None:
        return self.placement.final.phase if self.placement.final is not None else None

    def homeless(self) -> bool:
        return self.placement.current is None

    def leaving(self) -> list[str]:
        return [given.attempt for given in self.placement.leaving]


def running() -> Case:
    case = Case()
    case.decide()
    case.says(Phase.RUNNING)
    case.decide()
    case.told.clear()
    return case


# -- giving away


def test_a_new_slot_is_given_to_who_has_room() -> None:
    case = Case()
    decision = case.decide()
    assert case.child == "n1"
    assert case.placement.epoch == 1
    assert case.placement.current == msgspec.structs.replace(case.children.given[0], since=NOW)
    assert decision.told == (Told("placed", "is given to node n1"),)
    assert decision.wake == NOW + NO_NEWS, "by then it should have said something"


def test_what_runs_is_left_alone() -> None:
    case = running()
    before = case.placement
    for phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING, Phase.RUNNING, Phase.BACKING_OFF, Phase.STOPPING):
        case.says(phase, "whatever")
        assert case.decide().placement == before
    assert case.told == []


def test_what_fits_nowhere_waits_and_says_why() -> None:
    case = Case(Children(fits=[]))
    decision = case.decide()
    assert case.homeless()
    assert case.placement.reason == "no room anywhere"
    assert decision.wake is None, "it is decided again when something changes"
    case.children.fits = ["n2"]
    case.decide()
    assert case.child == "n2"
    assert (case.placement.reason, case.placement.waiting_since) == ("", 0.0)


def test_each_giving_raises_the_epoch_and_has_an_id_of_its_own() -> None:
    case = Case()
    seen = set()
    for epoch in range(1, 6):
        case.decide()
        assert case.placement.epoch == epoch
        assert case.children.given[-1].epoch == epoch
        seen.add(case.attempt)
        case.says(Phase.LOST, "it is gone")
        case.decide()
        case.now += RETRY_LAST
    assert len(seen) == 5


def test_a_long_reason_is_cut() -> None:
    case = Case()
    case.children.place = lambda *asked: NoFit("x" * 5000)  # type: ignore[method-assign]  # one answer
    case.decide()
    assert len(case.placement.reason) == 400


# -- withdrawing


@pytest.mark.parametrize("slot", [STOPPED, None])
def test_what_is_wanted_no_more_is_withdrawn_and_dropped_when_it_has_ended(slot: Slot | None) -> None:
    case = running()
    attempt = case.attempt
    case.decide(slot)
    assert case.homeless()
    assert case.leaving() == [attempt], "its reservation stays until it is known to have ended"
    assert case.decide(slot).placement == case.placement
    case.children.ended.add(attempt)
    assert case.decide(slot).placement is None


def test_a_slot_that_was_stopped_is_never_given_away() -> None:
    case = Case()
    assert case.decide(STOPPED).placement is None
    assert case.children.given == []


def test_what_has_ended_by_itself_leaves_nothing() -> None:
    case = running()
    case.says(Phase.FAILED, "exit code 1")
    assert case.decide(STOPPED).placement is None


def test_another_specification_replaces_the_attempt() -> None:
    case = running()
    old = case.attempt
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert case.leaving() == [old]
    assert case.placement.current is not None
    assert case.placement.current.specification == "newer"


# -- ends


def test_a_completed_slot_needs_no_attempt_any_more() -> None:
    case = running()
    case.says(Phase.COMPLETED)
    case.decide()
    assert case.homeless()
    assert case.placement.leaving == ()
    assert case.placement.final == Status(case.children.given[0].attempt, Phase.COMPLETED)
    before = case.placement
    assert case.decide().placement == before
    assert len(case.children.given) == 1
    assert case.decide(STOPPED).placement is None


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.LOST])
def test_what_failed_is_given_away_again_after_a_pause_that_grows(phase: Phase) -> None:
    case = Case(Children(fits=["n1"]))
    pauses = []
    for _ in range(10):
        case.decide()
        case.says(phase, "exit code 1")
        decision = case.decide()
        assert case.homeless()
        assert case.placement.reason == "failed on node n1: exit code 1"
        assert decision.wake == case.placement.not_before
        pauses.append(decision.wake - case.now)
        case.now = decision.wake - 0.1
        assert case.decide().placement == case.placement, "not before its time"
        case.now += 0.2
    assert pauses[:3] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST]
    assert pauses[-1] == RETRY_LAST
    assert case.told[:3] == [
        "is given to node n1",
        "failed on node n1, and is given away again in 2 s: exit code 1",
        "is given to node n1 again: failed on node n1: exit code 1",
    ]


def test_running_for_a_while_makes_the_pauses_short() -> None:
    case = Case(placement=Placement(SLOT.id, failures=5))
    case.decide()
    case.says(Phase.RUNNING)
    decision = case.decide()
    assert case.placement.failures == 5, "it may end the next moment"
    assert decision.wake == NOW + STEADY_AFTER
    case.now = NOW + STEADY_AFTER
    assert case.decide().wake is None
    assert case.placement.failures == 0


def test_what_fails_soon_after_each_start_is_paused_for_longer_and_longer() -> None:
    case = Case()
    for _ in range(4):
        case.decide()
        case.says(Phase.RUNNING)
        case.now += STEADY_AFTER / 2
        case.decide()
        case.says(Phase.FAILED, "exit code 1")
        decision = case.decide()
        assert decision.wake is not None
        pause, case.now = decision.wake - case.now, decision.wake
    assert pause == 8 * RETRY_FIRST


def test_what_failed_moves_to_another_child_and_keeps_away_for_a_while() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.now += RETRY_FIRST
    case.decide()
    assert case.child == "n2"
    assert case.told[-1] == "moved from node n1 to node n2: failed on node n1: exit code 1"
    case.says(Phase.LOST, "the disk broke")
    case.decide()
    case.now += 2 * RETRY_FIRST
    case.decide()
    assert case.child == "n1", "when both are bad, they are used all the same"
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.now += AVOID_FOR + RETRY_LAST
    case.children.fits = ["n2", "n1"]
    case.decide()
    assert case.child == "n2", "it is forgotten after a while"


def test_a_newer_version_is_tried_on_every_child() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert case.child == "n1"


def test_what_failed_for_one_instance_is_known_to_the_others() -> None:
    failing = Failing()
    past = Past("a", "n1", "digest", Phase.FAILED, ended=NOW)
    fine = msgspec.structs.replace(past, child="n2", phase=Phase.RUNNING)
    failing.note(Placement(SLOT.id, history=(past, fine)))
    assert failing.children("digest", NOW + 1) == {"n1"}
    assert failing.children("other", NOW + 1) == frozenset()
    assert failing.children("digest", NOW + AVOID_FOR) == frozenset()
    for number in range(5000):
        failing.note(Placement("s", history=(msgspec.structs.replace(past, specification=f"{number}"),)))
    assert len(failing._ended) < 5000, "bounded"


# -- no progress


@pytest.mark.parametrize("phase", [None, Phase.ASSIGNED, Phase.PULLING, Phase.STARTING])
def test_a_child_that_says_nothing_more_is_replaced_after_a_deadline(phase: Phase | None) -> None:
    case = Case()
    decision = case.decide()
    if phase is not None:
        case.says(phase, "layer 1 of 5")
    decision = case.decide()
    assert decision.wake == NOW + NO_NEWS
    case.now = NOW + NO_NEWS - 1
    old = case.attempt
    if phase is not None:
        case.says(phase, "layer 2 of 5")
        assert case.decide().wake == case.now + NO_NEWS, "news of a long pull count"
        case.now += NO_NEWS - 1
    assert case.decide().placement is not None
    assert case.child == "n1"
    case.now += 1
    case.decide()
    assert case.child == "n2"
    assert case.leaving() == [old]
    where = phase.value if phase is not None else "assigned"
    assert case.told[-1] == f"moved from node n1 to node n2: no news from node n1 for 300 s, where it is {where}"
    assert case.placement.failures == 1
    case.says(Phase.FAILED)
    case.decide()
    case.now += RETRY_LAST
    case.decide()
    assert case.child == "n1", "both are as bad"


def test_without_room_elsewhere_what_does_not_get_on_stays() -> None:
    case = Case(Children(fits=["n1"]))
    case.decide()
    case.now += NO_NEWS
    case.decide()
    assert case.child == "n1"
    reason = "no news from node n1 for 300 s, where it is assigned, and nothing else fits: no room anywhere"
    assert case.placement.reason == reason
    case.says(Phase.PULLING)
    case.decide()
    assert case.placement.reason == ""


def test_what_stays_on_a_silent_node_below_is_not_said_to_get_on_badly() -> None:
    case = Case()
    case.decide()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.ASSIGNED, "node x is silent", silent=True)
    case.now += 10 * NO_NEWS
    case.decide()
    assert case.child == "n1"


def test_a_wall_clock_that_is_set_back_holds_nothing_up() -> None:
    case = Case()
    case.decide()
    case.says(Phase.FAILED)
    case.decide()
    case.now -= 86_400
    case.decide()
    assert case.placement.current is not None


# -- refusals


def test_a_child_that_refused_is_not_asked_again_while_nothing_changes_there() -> None:
    case = Case()
    case.decide()
    case.says(Phase.REFUSED, "no GPU is free")
    case.decide()
    assert case.child == "n2"
    assert case.placement.refused == {"n1": Refusal("r1", "no GPU is free")}
    assert case.leaving() == [], "a refusal is final: it holds nothing"
    assert "was refused by node n1: no GPU is free" in case.told


def test_once_it_runs_all_refusals_are_forgotten() -> None:
    case = Case()
    case.decide()
    case.says(Phase.REFUSED)
    case.decide()
    case.says(Phase.RUNNING)
    case.decide()
    assert case.placement.refused == {}


def test_all_are_asked_again_after_a_while() -> None:
    case = Case(Children(fits=["n1"]))
    case.decide()
    case.says(Phase.REFUSED, "port 80 is taken")
    decision = case.decide()
    assert case.homeless()
    assert decision.wake == NOW + ASK_AGAIN
    case.now = NOW + ASK_AGAIN
    case.decide()
    assert case.child == "n1"


# -- silence


def test_a_slot_moves_away_from_a_silent_child_when_another_has_room() -> None:
    case = running()
    old = case.attempt
    case.children.silent["n1"] = 12.0
    case.decide()
    assert case.child == "n2"
    assert case.leaving() == [old], "it may still run there"
    assert case.told == ["moved from node n1 to node n2: node n1 silent for 12.0 s"]


def test_without_room_elsewhere_it_stays_and_says_so() -> None:
    case = running()
    case.children.silent = {"n1": 12.0, "n2": 30.0}
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason == "node n1 is silent, and nothing else fits: no room anywhere"
    assert case.children.asked[-1] == (frozenset(), frozenset({"n1"})), "not to where it is"
    del case.children.silent["n1"]
    case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")
    assert case.told == []


def test_what_a_child_does_not_hear_below_moves_as_well() -> None:
    case = running()
    case.says(Phase.RUNNING, "node x is silent, and nothing else fits: full", given_up=True)
    case.children.fits = ["n1"]
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason.startswith("node n1: node x is silent, and nothing else fits: full")
    case.children.fits = ["n2"]
    case.decide()
    assert case.child == "n2"


def test_what_was_on_a_child_that_was_removed_is_withdrawn_whether_it_fits_elsewhere_or_not() -> None:
    case = running()
    case.children.silent["n1"] = float("inf")
    case.children.ended.add(case.attempt)
    case.children.fits = []
    case.decide()
    assert case.homeless()
    assert "inf" not in case.placement.reason
    assert case.leaving() == []


def test_who_refused_is_asked_again_also_from_a_silent_child() -> None:
    case = running()
    case.placement = msgspec.structs.replace(case.placement, refused={"n2": Refusal("r1", "port 80 is taken")})
    case.says(Phase.STARTING)
    case.children.silent["n1"] = 11.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == NOW + ASK_AGAIN
    case.now = NOW + ASK_AGAIN
    case.decide()
    assert case.child == "n2"


# -- policies


def with_policy(policy: Disconnect) -> Case:
    case = running()
    case.children.policies["digest"] = policy
    return case


def test_a_policy_may_be_more_patient_than_the_lease() -> None:
    case = with_policy(Disconnect(60.0))
    case.children.silent["n1"] = 12.0
    decision = case.decide()
    assert case.child == "n1"
    assert case.placement.reason == "node n1 is silent; it is replaced after 60 s of that"
    assert decision.wake == pytest.approx(case.now + 48.0)
    assert case.decide().placement == decision.placement, "it is not written again and again"
    case.children.silent["n1"] = 60.0
    case.decide()
    assert case.child == "n2"
    assert case.told == ["moved from node n1 to node n2: node n1 silent for 60.0 s"]


def test_never_means_never() -> None:
    case = with_policy(Disconnect("never"))
    case.children.silent["n1"] = 1e6
    assert case.decide().wake is None
    assert (case.child, case.placement.reason) == ("n1", "node n1 is silent; it stays there, as its policy says")
    del case.children.silent["n1"]
    case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")


@pytest.mark.parametrize("policy", [Disconnect(60.0), Disconnect("never")])
def test_a_newer_version_does_not_get_around_the_policy(policy: Disconnect) -> None:
    case = with_policy(policy)
    case.children.silent["n1"] = 12.0
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    assert case.child == "n1"
    assert case.placement.reason == "the newer version waits for node n1, which is not heard"
    del case.children.silent["n1"]
    case.decide(newer)
    assert case.placement.current is not None
    assert case.placement.current.specification == "newer"


def test_a_cluster_says_when_the_policy_gives_up_one_of_its_nodes() -> None:
    case = with_policy(Disconnect(60.0))
    status = Status(case.attempt, Phase.RUNNING, "node x is silent", silent=True)
    case.children.statuses[case.attempt] = status
    case.decide()
    assert case.child == "n1", "it is not heard, and its policy waits"
    case.says(Phase.RUNNING, "node x is silent, and nothing else fits: full", given_up=True)
    case.decide()
    assert case.child == "n2"


def test_who_acts_on_gone_waits_for_a_short_grace_only() -> None:
    case = with_policy(Disconnect(act_on_gone=True))
    case.children.gone["n1"] = 0.0
    decision = case.decide()
    assert (case.child, case.placement.reason) == ("n1", "")
    assert decision.wake == case.now + GONE_GRACE
    case.children.gone["n1"] = GONE_GRACE
    case.decide()
    assert case.child == "n2"
    assert case.told == ["moved from node n1 to node n2: node n1 lost its connection"]


@pytest.mark.parametrize("policy", [Disconnect(), Disconnect(None, 30.0, act_on_gone=True)])
def test_others_wait_for_the_lease(policy: Disconnect) -> None:
    case = with_policy(policy)
    case.children.gone["n1"] = 9.0
    assert case.decide().wake is None
    assert case.child == "n1"


def test_nothing_moves_to_a_child_whose_connection_broke_as_well() -> None:
    case = with_policy(Disconnect(act_on_gone=True))
    case.children.gone = {"n1": 2.0, "n2": 2.0}
    case.decide()
    assert case.child == "n1"
    assert case.placement.reason.endswith("nothing else fits: node n2 is not heard either")


def test_the_brake_holds_back_what_would_move() -> None:
    case = with_policy(Disconnect())
    case.children.silent["n1"] = 11.0
    case.children.held["n1"] = 7.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == case.now + 7.0
    assert "many others" in case.placement.reason


# -- exclusive


EXCLUSIVE = Disconnect(None, 20.0, act_on_gone=True, on_return="keep_original")


def test_what_is_exclusive_moves_only_when_it_has_stopped() -> None:
    case = with_policy(EXCLUSIVE)
    case.children.silent["n1"] = 25.0
    decision = case.decide()
    assert case.child == "n1"
    assert decision.wake == pytest.approx(case.now + 0.02)
    case.children.silent["n1"] = 25.03
    case.decide()
    assert case.child == "n2"


def test_an_exclusive_attempt_that_was_withdrawn_must_end_before_the_next_begins() -> None:
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    case.children.policies["newer"] = EXCLUSIVE
    newer = msgspec.structs.replace(SLOT, specification="newer")
    assert case.decide(newer).wake is None, "its child will say so"
    assert case.homeless()
    assert case.placement.reason == "waits until it has stopped on node n1"
    case.children.silent["n1"] = 11.0
    assert case.decide(newer).wake == pytest.approx(case.now + 25.02 - 11)
    assert case.homeless()
    del case.children.silent["n1"]
    case.children.ended.add(old)
    case.decide(newer)
    assert case.child == "n1"


def test_what_was_not_exclusive_never_stops_by_itself() -> None:
    case = running()
    case.children.policies["newer"] = EXCLUSIVE
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    case.children.silent["n1"] = 1e6
    assert case.decide(newer).wake is None
    assert case.homeless()


def test_what_was_exclusive_has_ended_before_another_version_begins() -> None:
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    newer = msgspec.structs.replace(SLOT, specification="newer")
    case.decide(newer)
    assert case.homeless()
    case.children.ended.add(old)
    case.decide(newer)
    assert case.child == "n1"


@pytest.mark.parametrize("phase", [Phase.PULLING, Phase.STARTING, Phase.RUNNING])
def test_what_is_exclusive_does_not_go_back_while_its_replacement_may_run(phase: Phase) -> None:
    """What a cluster says on return of a node that it has not missed yet is old."""
    case, _, replacement = moved(EXCLUSIVE)
    case.children.statuses[replacement] = Status(replacement, phase)
    case.decide()
    assert case.attempt == replacement
    case.children.silent["n2"] = 11.0
    case.decide()
    assert case.attempt == replacement


def test_what_is_exclusive_goes_back_when_nothing_else_of_it_may_run() -> None:
    given = [Given("old", "n1", 1, "digest", Resources()), Given("older", "n2", 0, "digest", Resources())]
    children = Children(silent={"n2": 11.0}, policies={"digest": EXCLUSIVE}, staying={"old"})
    children.statuses["old"] = Status("old", Phase.RUNNING)
    case = Case(children, Placement(SLOT.id, epoch=1, leaving=tuple(given)))
    case.decide()
    assert case.homeless()
    children.silent["n2"] = 26.0
    case.decide()
    assert case.attempt == "old"


def test_a_cluster_does_not_hand_back_what_may_still_run() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    children = Children(fits=[], silent={"n1": 11.0}, policies={"digest": EXCLUSIVE})
    case = Case(children, Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0))
    case.decide(may_refuse=True)
    assert case.final() is None
    children.silent["n1"] = 26.0
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_the_root_believes_a_cluster_that_says_that_it_has_stopped_only_once_that_has_withdrawn_it() -> None:
    """Until then the node, back this very moment, would start it again by the cluster's word."""
    case = with_policy(EXCLUSIVE)
    old = case.attempt
    case.says(Phase.RUNNING, "node x silent for 26.0 s", given_up=True)
    case.decide()
    assert case.homeless()
    assert case.leaving() == [old]
    case.children.statuses[old] = Status(old, Phase.STOPPING, "being removed")
    case.decide()
    assert case.homeless()
    case.children.statuses[old] = Status(old, Phase.STOPPING, "being removed", given_up=True)
    case.decide()
    assert case.child == "n2"


# -- returning


def moved(policy: Disconnect) -> tuple[Case, str, str]:
    """A slot that moved from n1 to n2 and runs there; n1 is back and runs the original still. And both attempts."""
    case = with_policy(policy)
    original = case.attempt
    case.children.statuses[original] = Status(original, Phase.RUNNING, since=100.0)
    case.children.silent["n1"] = 99.0
    case.decide()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.RUNNING, since=200.0)
    case.decide()
    case.told.clear()
    del case.children.silent["n1"]
    case.children.staying.add(original)
    return case, original, case.attempt


def test_the_replacement_stays_unless_the_policy_says_otherwise() -> None:
    case, original, replacement = moved(Disconnect())
    case.decide()
    assert (case.attempt, case.leaving()) == (replacement, [original])
    assert case.told == ["stays on node n2: node n1 is back, and stops its own"]


def test_the_original_stays_without_a_restart() -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_original"))
    case.decide()
    assert case.attempt == original
    assert case.leaving() == [replacement]
    assert case.placement.current is not None
    assert case.placement.current.epoch == case.placement.epoch == 3, "higher than that of the replacement"
    assert [past.attempt for past in case.placement.history] == [replacement]
    assert case.told == ["stays on node n1, which is back, and goes from node n2"]
    before = case.placement
    case.children.staying.clear()
    assert case.decide().placement == before


@pytest.mark.parametrize(("since", "stays"), [(100.0, True), (300.0, False)])
def test_what_runs_the_longest_stays(since: float, stays: bool) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_longest_running"))
    case.children.statuses[original] = Status(original, Phase.RUNNING, since=since)
    case.decide()
    assert case.attempt == (original if stays else replacement)


@pytest.mark.parametrize(("score", "stays"), [(2.0, True), (1.0, True), (0.5, False)])
def test_the_better_place_is_kept(score: float, stays: bool) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_best"))
    case.children.scored = {"n1": score, "n2": 1.0}
    case.decide()
    assert case.attempt == (original if stays else replacement)


@pytest.mark.parametrize("phase", [Phase.ASSIGNED, Phase.PULLING, Phase.BACKING_OFF])
def test_what_does_not_run_makes_way_for_what_does(phase: Phase) -> None:
    case, original, replacement = moved(Disconnect())
    case.children.statuses[replacement] = Status(replacement, phase)
    case.decide()
    assert case.attempt == original


def test_what_is_not_heard_makes_way_for_what_is() -> None:
    case, original, _ = moved(Disconnect())
    case.children.silent["n2"] = 11.0
    case.decide()
    assert case.attempt == original


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.BACKING_OFF, Phase.FAILED])
def test_an_original_that_does_not_run_goes(phase: Phase) -> None:
    case, original, replacement = moved(Disconnect(on_return="keep_original"))
    case.children.statuses[original] = Status(original, phase)
    case.decide()
    assert case.attempt == replacement


def test_an_original_that_was_told_to_go_does_not_come_back() -> None:
    case, _, replacement = moved(Disconnect(on_return="keep_original"))
    case.children.staying.clear()
    case.decide()
    assert case.attempt == replacement


def test_an_original_of_an_older_version_goes() -> None:
    case, original, _ = moved(Disconnect(on_return="keep_original"))
    case.children.policies["newer"] = Disconnect(on_return="keep_original")
    case.decide(msgspec.structs.replace(SLOT, specification="newer"))
    assert original in case.leaving()


def test_a_slot_without_an_attempt_takes_back_what_still_runs() -> None:
    case, original, replacement = moved(Disconnect())
    case.children.statuses[replacement] = Status(replacement, Phase.FAILED, "exit code 1")
    case.children.staying.clear()
    case.decide()
    assert case.homeless()
    case.children.staying.add(original)
    case.told.clear()
    decision = case.decide()
    assert (case.attempt, case.placement.not_before) == (original, 0.0)
    assert decision.told == (Told("returned", "stays on node n1, which is back"),)


# -- handing back


def test_a_cluster_hands_back_at_once_what_it_never_ran() -> None:
    case = Case(Children(fits=[]))
    decision = case.decide(may_refuse=True)
    assert case.placement.final == Status(SLOT.id, Phase.REFUSED, "no room anywhere", since=NOW)
    assert decision.told == (Told("handed-back", "is handed back: no room anywhere"),)


def test_a_cluster_looks_for_room_of_its_own_before_it_hands_back_what_ran() -> None:
    case = running()
    case.says(Phase.LOST, "the disk broke")
    case.children.fits = []
    case.decide(may_refuse=True)
    case.now += RETRY_FIRST
    decision = case.decide(may_refuse=True)
    assert case.final() is None
    assert decision.wake == case.now + HAND_BACK_AFTER
    case.now = decision.wake
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_what_is_still_being_stopped_is_not_handed_back() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    case = Case(Children(fits=[]), Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0))
    case.decide(may_refuse=True)
    assert case.final() is None
    case.children.ended.add("old")
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED


def test_what_is_left_on_a_lost_node_holds_nothing_back() -> None:
    given = Given("old", "n1", 1, "digest", Resources())
    case = Case(
        Children(fits=[], silent={"n1": 99.0}), Placement(SLOT.id, epoch=1, leaving=(given,), waiting_since=1.0)
    )
    case.decide(may_refuse=True)
    assert case.final() is Phase.REFUSED
    assert case.leaving() == ["old"], "what it holds there is still reserved"


def test_a_root_hands_nothing_back() -> None:
    case = Case(Children(fits=[]))
    for _ in range(5):
        case.decide(may_refuse=False)
        case.now += 100
    assert case.final() is None


# -- whatever happens

words = st.sampled_from([None, *Phase])


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(
            words,
            st.booleans(),
            st.sets(st.sampled_from(["n1", "n2"])),
            st.lists(st.sampled_from(["n1", "n2"]), unique=True),
            st.sampled_from([0.0, 1.0, 70.0, -5000.0]),
            st.booleans(),
        ),
        max_size=25,
    ),
    st.booleans(),
)
def test_nothing_is_forgotten_and_nothing_is_wanted_twice(
    plan: list[tuple[Phase | None, bool, set[str], list[str], float, bool]], cluster: bool
) -> None:
    case = Case()
    open_attempts: dict[str, Given] = {}
    for word, ended, silent, fits, seconds, stop in plan:
        case.now += seconds
        case.children.silent = dict.fromkeys(silent, 7.0)
        case.children.fits = fits
        if case.placement.current is not None and word is not None:
            case.says(word)
        if ended:
            case.children.ended.update(case.leaving())
        given_before = len(case.children.given)
        decision = case.decide(STOPPED if stop else SLOT, may_refuse=cluster)
        fresh = case.children.given[given_before:]
        assert len(fresh) <= 1
        open_attempts |= {given.attempt: given for given in fresh}
        for attempt in list(open_attempts):
            status = case.children.statuses.get(attempt)
            if attempt in case.children.ended or (status is not None and status.phase in ENDED):
                del open_attempts[attempt]
        if decision.placement is None:
            assert open_attempts == {}, "its last reservation is gone"
            return
        held = {given.attempt for given in decision.placement.leaving}
        if decision.placement.current is not None:
            assert decision.placement.current.attempt not in held
            held.add(decision.placement.current.attempt)
            assert not stop
        assert set(open_attempts) <= held, "what may still run keeps its reservation"
        assert decision.wake is None or decision.wake - case.now <= max(RETRY_LAST, ASK_AGAIN, HAND_BACK_AFTER, NO_NEWS)
        assert decision.placement.current is not None or decision.placement.final or decision.placement.reason


# -- a newer specification

NEWER = msgspec.structs.replace(SLOT, specification="newer")


def test_a_newer_specification_replaces_the_attempt_and_counts_failures_anew() -> None:
    case = running()
    before = case.attempt
    case.says(Phase.FAILED, "exit code 1")
    case.decide()
    case.placement = msgspec.structs.replace(case.placement, refused={"n1": Refusal("r1", "no")})
    case.decide(NEWER)
    assert case.placement.current is not None
    assert (case.placement.current.specification, case.child) == ("newer", "n1"), "at once, and n1 is asked again"
    assert (case.placement.failures, case.placement.refused, case.placement.not_before) == (0, {}, 0.0)
    assert [one.attempt for one in case.placement.history] == [before]


def test_it_is_renewing_until_that_runs() -> None:
    case = running()
    before = case.attempt
    case.decide(NEWER)
    assert case.placement.renewing
    assert case.leaving() == [before]
    assert case.told == ["is replaced by a newer version", "is given to node n1"]
    case.says(Phase.STARTING)
    assert case.decide(NEWER).placement == case.placement
    case.says(Phase.RUNNING)
    case.decide(NEWER)
    assert not case.placement.renewing


def test_what_runs_is_kept_when_the_newer_one_fits_nowhere() -> None:
    case = running()
    before = case.attempt
    case.children.fits = []
    case.decide(NEWER)
    assert case.attempt == before
    assert case.placement.reason == "the newer version fits nowhere: no room anywhere"
    assert not case.placement.renewing
    case.children.fits = ["n2"]
    case.decide(NEWER)
    assert (case.child, case.leaving()) == ("n2", [before])


def test_what_is_not_heard_is_replaced_only_when_something_else_fits() -> None:
    case = running()
    before = case.attempt
    case.children.silent = {"n1": 12.0, "n2": 12.0}
    case.decide(NEWER)
    assert case.attempt == before
    case.children.silent = {"n1": 12.0}
    case.decide(NEWER)
    assert case.child == "n2"


def test_what_does_not_run_is_replaced_without_a_question() -> None:
    case = running()
    case.says(Phase.BACKING_OFF, "exit code 1")
    case.children.fits = []
    case.decide(NEWER)
    assert case.homeless()
    assert case.placement.renewing


# -- history


def test_past_attempts_are_remembered_with_how_they_ended() -> None:
    case = running()
    first = case.attempt
    status = Status(first, Phase.FAILED, "exit code 3", restarts=2, exit_code=3, node="n", node_name="pi")
    case.children.statuses[first] = status
    case.now += 60
    case.decide()
    assert case.placement.history == (
        Past(first, "n1", "digest", Phase.FAILED, "failed on node n1: exit code 3", "n", "pi", 2, 3, NOW, NOW + 60),
    )


def test_the_oldest_of_many_attempts_are_forgotten() -> None:
    case = running()
    attempts = []
    for _ in range(HISTORY + 3):
        attempts.append(case.attempt)
        case.says(Phase.FAILED, "x" * 5000)
        case.decide()
        case.now += RETRY_LAST
        case.decide()
    assert [one.attempt for one in case.placement.history] == attempts[-HISTORY:]
    assert len(msgspec.json.encode(case.placement)) < 8000


def test_what_completed_is_history_too() -> None:
    case = running()
    case.children.statuses[case.attempt] = Status(case.attempt, Phase.COMPLETED, exit_code=0)
    case.decide()
    assert [(one.phase, one.exit_code, one.reason) for one in case.placement.history] == [(Phase.COMPLETED, 0, "")]
    assert case.told == ["has completed on node n1"]


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
