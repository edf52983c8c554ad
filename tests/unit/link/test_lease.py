"""Who may conclude that someone is lost: the lease, from both ends."""

from __future__ import annotations

import math
import random

import pytest

from mangrove.link.envelope import Header, seal, topic_of, unseal
from mangrove.link.messages import PROTOCOL, Ack, Gone, Mark, Reply, Report, Welcome
from mangrove.link.pace import Settings
from mangrove.link.parent_events import Greeted, Silent
from mangrove.model.attempt import Attempt
from tests.unit.link.talk import KEY, SETTINGS, Talk

LEASE = SETTINGS.lease


def settled() -> Talk:
    talk = Talk()
    talk.settle()
    talk.steps(5.0)
    return talk


def silent(talk: Talk) -> bool:
    return talk.parent.peers["c"].silent


def test_who_beats_is_never_silent() -> None:
    talk = settled()
    talk.steps(6 * LEASE)
    assert not any(isinstance(event, Silent) for event in talk.heard)
    assert talk.said("up").count("hello") == 1


def test_a_child_is_silent_when_nothing_was_heard_for_its_whole_lease() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: direction == "up"
    heard = talk.parent.peers["c"].heard
    while talk.now < heard + LEASE - 0.1:
        talk.step(0.1)
        assert not silent(talk)
    # Waiting longer by the rate at which two clocks may differ, and at most one look late.
    talk.steps(1.0)
    assert talk.heard[-1] == Silent("c")
    assert (talk.parent.peers["c"].state, talk.parent.peers["c"].session) == ("away", "")


def test_a_child_that_fell_silent_is_told_of_once_and_comes_back_by_a_hello() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: True
    talk.steps(3 * LEASE)
    talk.lost = lambda direction, kind: False
    talk.steps(LEASE)
    told = [type(event) for event in talk.heard if isinstance(event, Silent | Greeted)]
    assert told == [Greeted, Silent, Greeted]
    assert talk.state() == "settled"


@pytest.mark.parametrize("kind", ["report", "reply"])
def test_any_word_counts(kind: str) -> None:
    talk = settled()
    talk.lost = lambda direction, what: what == "beat"
    for _ in range(4):
        talk.steps(LEASE / 2)
        session = talk.parent.peers["c"].session
        assert not silent(talk)
        header = Header(PROTOCOL, session, 10_000 + round(talk.now))
        word = {"report": Report(Mark(0, ""), {}), "reply": Reply("nobody asked")}[kind]
        talk.parent.receive("c", kind, seal(KEY, topic_of("p", "c", "up", kind), header, word), 0, talk.now)
    assert not silent(talk)


def test_silence_does_not_count_while_the_parent_hears_nobody() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: direction == "up"
    talk.parent.disconnected(0, talk.now)
    talk.steps(3 * LEASE)
    assert not silent(talk)
    talk.parent.connected(0, talk.now)
    talk.steps(LEASE - 0.5)
    assert not silent(talk)
    talk.steps(1.5)
    assert silent(talk)


def test_with_two_brokers_who_was_at_the_broken_one_has_a_lease_to_notice_and_another_to_come() -> None:
    talk = settled()
    talk.parent.connected(1, talk.now)
    talk.lost = lambda direction, kind: direction == "up"
    talk.parent.disconnected(0, talk.now)
    talk.steps(2 * LEASE - 0.5)
    assert not silent(talk)
    talk.steps(1.5)
    assert silent(talk)


def test_with_two_brokers_who_is_at_the_other_one_is_judged_as_ever() -> None:
    talk = settled()
    talk.parent.connected(1, talk.now)
    talk.lost = lambda direction, kind: direction == "up"
    talk.parent.disconnected(1, talk.now)
    talk.steps(LEASE + 1.0)
    assert silent(talk)


def test_after_a_stall_every_lease_starts_anew() -> None:
    talk = settled()
    talk.now += 10 * LEASE  # the process stood still: what was said meanwhile waits in its queues
    talk.parent.tick(talk.now)
    assert not silent(talk)
    talk.lost = lambda direction, kind: direction == "up"
    talk.steps(LEASE - 0.5)
    assert not silent(talk)
    talk.steps(1.5)
    assert silent(talk)


def test_after_a_start_every_known_child_has_a_whole_lease() -> None:
    talk = settled()
    talk.parent = talk.new_parent(term=2)
    talk.lost = lambda direction, kind: True
    talk.parent.expect("c", talk.now)
    talk.steps(LEASE - 0.5)
    assert not silent(talk)
    talk.steps(1.5)
    assert silent(talk)


def test_a_broken_connection_leaves_the_lease_as_it_is() -> None:
    talk = settled()
    peer = talk.parent.peers["c"]
    heard = peer.heard
    gone = seal(KEY, topic_of("p", "c", "up", "gone"), Header(PROTOCOL, peer.session, 1), Gone())
    talk.parent.receive("c", "gone", gone, 0, talk.now)
    assert peer.heard == heard, "what the broker says is no word of the child"
    talk.lost = lambda direction, kind: direction == "up"
    while talk.now < heard + LEASE - 0.1:
        talk.step(0.1)
        assert not silent(talk)


def test_the_childs_lease_runs_from_when_it_sent_the_beat_that_was_acknowledged() -> None:
    talk = settled()
    acks: list[bytes] = []
    talk.steps(3 * SETTINGS.beat)
    talk.lost = lambda direction, kind: kind == "ack"
    before = talk.child.lease_until
    sent = len(talk.sent)
    while not acks:
        talk.step(0.1)
        acks = [payload for direction, kind, payload in talk.sent[sent:] if kind == "ack"]
    beaten = talk.now
    assert talk.child.lease_until == before, "that the broker took the beat proves nothing"
    talk.now += 1.5  # the ack was long under way
    talk.child.receive("ack", acks[0], talk.now)
    assert talk.child.lease_until == pytest.approx(beaten + LEASE)


def test_the_childs_lease_ends_before_its_parent_acts() -> None:
    """Whatever the network does between them."""
    talk, dice = settled(), random.Random(3)
    weather = [0.0]
    talk.lost = lambda direction, kind: dice.random() < weather[0]
    for _ in range(200):
        weather[0] = dice.choice((0.0, 0.3, 1.0))
        talk.steps(1.0)
        if silent(talk):
            assert talk.child.lease_until <= talk.now


def test_a_child_that_is_not_answered_tries_another_way() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: kind == "ack"
    talk.steps(LEASE + 2.0)
    assert talk.said("up").count("hello") >= 2


def test_a_large_fleet_beats_more_slowly_and_has_a_longer_lease() -> None:
    few, many = Settings().for_fleet(10), Settings().for_fleet(5000)
    assert few == (10.0, 2.0)
    assert many == (40.0, 10.0)
    for children in (1, 1000, 1001, 3000, 10_000):
        lease, beat = Settings().for_fleet(children)
        assert lease >= 4 * beat
        assert children / beat <= Settings().beats_per_second + 0.001


def test_when_the_fleet_grows_who_came_early_beats_more_slowly_too() -> None:
    talk = settled()
    talk.parent._settings = Settings(beats_per_second=0.1)
    talk.lost = lambda direction, kind: kind == "ack"
    talk.steps(3.0)
    assert talk.parent.peers["c"].lease == 40.0, "the parent waits longer at once"
    assert talk.child.lease == LEASE
    talk.lost = lambda direction, kind: False
    talk.steps(3.0)
    assert talk.child.lease == 40.0
    begun = talk.said("up").count("beat")
    talk.steps(100.0)
    assert 8 <= talk.said("up").count("beat") - begun <= 12
    assert not silent(talk)
    assert talk.said("up").count("hello") == 1


def test_the_welcome_tells_the_periods() -> None:
    talk = settled()
    assert (talk.child.lease, talk.child.usage_period) == (SETTINGS.lease, SETTINGS.usage)
    begun = talk.said("up").count("beat")
    talk.steps(40 * SETTINGS.beat)
    assert 34 <= talk.said("up").count("beat") - begun <= 46, "each period with up to 15 % of jitter"


def test_a_parent_that_is_itself_a_child_says_how_far_behind_it_is() -> None:
    talk = Talk()
    talk.parent = talk.new_parent(term=1, behind=lambda now: 7.00001)
    talk.settle()
    talk.steps(3.0)
    for kind, form in (("welcome", Welcome), ("ack", Ack)):
        topic = topic_of("p", "c", "down", kind)
        told = next(unseal(KEY, topic, payload)[1] for _, said, payload in talk.sent if said == kind)
        assert isinstance(told, form)
        assert told.behind == 7.001, "never less than it is"


def said_gone(talk: Talk) -> None:
    peer = talk.parent.peers["c"]
    gone = seal(KEY, topic_of("p", "c", "up", "gone"), Header(PROTOCOL, peer.session, 1), Gone())
    talk.parent.receive("c", "gone", gone, 0, talk.now)


def test_who_is_gone_is_there_again_with_its_next_word() -> None:
    talk = settled()
    said_gone(talk)
    assert talk.parent.peers["c"].gone == talk.now
    talk.steps(3.0)
    assert talk.parent.peers["c"].gone is None


def test_nobody_is_gone_to_a_parent_that_is_cut_off_itself() -> None:
    talk = settled()
    said_gone(talk)
    talk.parent.disconnected(0, talk.now)
    assert talk.parent.peers["c"].gone is None
    assert talk.parent.deaf


def test_when_it_could_hear_again_the_silence_of_the_silent_counts_anew_too() -> None:
    talk = settled()
    talk.lost = lambda direction, kind: direction == "up"
    talk.steps(2 * LEASE)
    heard = talk.parent.peers["c"].heard
    talk.parent.disconnected(0, talk.now)
    talk.parent.connected(0, talk.now)
    assert talk.parent.peers["c"].counted == talk.now
    assert (talk.parent.peers["c"].heard, silent(talk)) == (heard, True)


def test_with_a_lease_of_an_hour_deadlines_are_still_looked_at_every_second() -> None:
    talk = Talk()
    talk.parent = talk.new_parent(term=1)
    talk.parent._settings = Settings(lease=3600.0)
    talk.parent.tick(talk.now)
    assert talk.parent.next_wake(talk.now) <= talk.now + 1.0


def test_what_is_exclusive_counts_from_what_all_above_have_heard() -> None:
    talk = Talk()
    behind = [0.0]
    talk.parent = talk.new_parent(term=1, behind=lambda now: behind[0])
    assert talk.child.vouched == -math.inf
    begun = talk.now
    talk.settle()
    assert begun <= talk.child.vouched <= talk.now
    talk.steps(3 * SETTINGS.beat)
    newest, behind[0] = talk.child.vouched, 30.0
    assert newest > begun + SETTINGS.beat
    talk.steps(3 * SETTINGS.beat)
    assert talk.child.vouched == newest, "those above have heard nothing newer"
    assert talk.child.lease_until > newest + LEASE + SETTINGS.beat, "the parent has"


def test_a_child_that_does_not_know_yet_what_our_own_parent_took_away_is_not_vouched_for() -> None:
    talk = Talk()
    talk.parent = talk.new_parent(term=1, behind=lambda now: 0.0)
    talk.settle()
    talk.steps(SETTINGS.beat * 2)
    talk.lost = lambda direction, kind: kind == "assign"
    talk.parent.assign("c", {"a1": Attempt("a1", "service", 0, 1, "specification")}, frozenset())
    talk.parent.vouch_anew()
    before = talk.child.vouched
    talk.steps(SETTINGS.beat * 2)
    assert talk.child.vouched == before
    talk.lost = lambda direction, kind: False
    talk.steps(SETTINGS.beat * 3)
    assert talk.child.vouched > before


def test_a_late_ack_counts_from_its_beat() -> None:
    talk = settled()
    acks: list[bytes] = []
    talk.lost = lambda direction, kind: kind == "ack"
    sent = len(talk.sent)
    while not acks:
        talk.step(0.1)
        acks = [payload for direction, kind, payload in talk.sent[sent:] if kind == "ack"]
    beaten = talk.now
    talk.now += 1.5
    talk.child.receive("ack", acks[0], talk.now)
    assert talk.child.vouched == pytest.approx(beaten)
