"""The order of a conversation: who may speak when, whom to believe, and what is never answered."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.link.child import DEFAULT_LEASE, HELLO_AGAIN, REFUSED_RETRY, RETRY_LAST, WELCOME_TIMEOUT
from mangrove.link.child_events import Asked, Assigned, TurnedAway, Welcomed
from mangrove.link.envelope import Header, seal, topic_of, unseal
from mangrove.link.messages import DOWN_KINDS, PROTOCOL, UP_KINDS, Ack, Call, Gone, Hello, Reply, Report, Welcome
from mangrove.link.parent import MAX_CALLS, OLD_HELLO
from mangrove.link.parent_events import CapacityChanged, Greeted, Measured, Refused, Reported, Suspect
from mangrove.model.attempt import Attempt, Status, Usage
from mangrove.model.phases import Phase
from tests.unit.link.talk import KEY, SETTINGS, Talk

A1, A2 = (Attempt(id, "service", 0, 1, "specification") for id in ("a1", "a2"))


def settled() -> Talk:
    talk = Talk()
    talk.settle()
    return talk


def opened(payload: bytes, direction: str, kind: str) -> tuple[Header, msgspec.Struct]:
    return unseal(KEY, topic_of("p", "c", "up" if direction == "up" else "down", kind), payload)


# -- the order after a connect


def test_hello_welcome_complete_report_assign() -> None:
    talk = settled()
    order = [kind for _, kind, _ in talk.sent if kind not in ("beat", "ack")]
    assert order[:2] == ["hello", "welcome"]
    assert order.index("report") < order.index("assign")
    assert isinstance(talk.heard[0], Greeted)
    assert isinstance(talk.learnt[0], Welcomed)
    firsts = [event.first for event in talk.heard if isinstance(event, Reported)]
    assert firsts == [True]
    assert any(isinstance(event, CapacityChanged) for event in talk.heard)


def test_no_assign_before_the_complete_report_has_come() -> None:
    talk = Talk()
    talk.lost = lambda direction, kind: kind == "report"
    talk.steps(1.0)
    talk.parent.assign("c", {"a1": A1}, frozenset())
    talk.steps(5.0)
    assert talk.state() == "reporting"
    assert "assign" not in talk.said("down")
    assert not any(isinstance(event, Assigned) for event in talk.learnt)
    talk.lost = lambda direction, kind: False
    talk.steps(3.0)
    assert talk.state() == "settled"
    (assigned,) = (event for event in talk.learnt if isinstance(event, Assigned))
    assert assigned.first
    assert assigned.applied.changed == {"a1"}


def test_nothing_is_assigned_before_the_owner_has_made_it_durable() -> None:
    talk = settled()
    said = len(talk.sent)
    talk.parent.assign("c", {"a1": A1}, frozenset())
    talk.parent.tick(talk.now)
    assert talk.parent.effects == []
    assert len(talk.sent) == said
    talk.step(0.1)
    assert "assign" in talk.said("down")[-2:]


def test_a_repeated_hello_is_answered_and_changes_nothing() -> None:
    talk = settled()
    hello = next(payload for _, kind, payload in talk.sent if kind == "hello")
    talk.parent.receive("c", "hello", hello, 0, talk.now)
    assert [effect.kind for effect in talk.parent.effects] == ["welcome"]
    assert talk.parent.events == []
    assert talk.parent.peers["c"].state == "live"


def test_what_belongs_to_an_earlier_session_is_dropped() -> None:
    talk = settled()
    talk.steps(2 * SETTINGS.beat)
    old = [(kind, payload) for direction, kind, payload in talk.sent if direction == "up" and kind != "hello"]
    talk.child.rejoin(talk.now)
    talk.settle()
    talk.heard.clear()
    dropped = talk.parent.dropped
    for kind, payload in old:
        talk.parent.receive("c", kind, payload, 0, talk.now)
    assert talk.parent.events == []
    assert talk.parent.dropped == dropped + len(old)
    # Only a beat is answered, so that a child whom the parent forgot hears of it; this child is not in that session.
    answers = [opened(effect.payload, "down", effect.kind)[1] for effect in talk.parent.effects]
    assert answers
    assert all(isinstance(answer, Ack) and answer.unknown for answer in answers)
    talk.steps(0.5)
    assert talk.state() == "settled"


def test_what_a_parent_said_in_an_earlier_session_is_dropped() -> None:
    talk = settled()
    for _ in range(5):
        talk.parent.assign("c", {"a1": A1}, frozenset())
        talk.step(0.1)
        talk.parent.assign("c", {}, frozenset({"a1"}))
        talk.step(0.1)
    old = [(kind, payload) for direction, kind, payload in talk.sent if direction == "down"]
    talk.child = talk.new_child(incarnation=2)
    talk.settle()
    dropped = talk.child.dropped
    for kind, payload in old:
        talk.child.receive(kind, payload, talk.now)
    assert talk.waiting() == []
    assert talk.child.dropped == dropped + len(old)


def test_a_child_that_its_parent_forgot_says_hello_again() -> None:
    talk = settled()
    talk.parent = talk.new_parent(term=1)
    talk.steps(SETTINGS.beat + 1.0)
    assert talk.state() == "settled"
    assert talk.said("up").count("hello") == 2


# -- whom to believe


def test_a_parent_refuses_who_belongs_to_another_store() -> None:
    talk = Talk()
    talk.child = talk.new_child(store="another")
    talk.steps(1.0)
    (refused,) = (event for event in talk.heard if isinstance(event, Refused))
    assert "belongs to the store another, and this parent has store" in refused.reason
    assert talk.state() == "closed"
    assert not any(isinstance(event, Greeted | Reported) for event in talk.heard)


def test_a_parent_refuses_who_has_obeyed_a_later_term() -> None:
    talk = Talk()
    talk.child = talk.new_child(term=5)
    talk.steps(1.0)
    (refused,) = (event for event in talk.heard if isinstance(event, Refused))
    assert refused.reason == "this child has obeyed term 5, and this parent is at 1: its store is an old copy"


def test_a_refused_child_says_why_and_asks_again_in_its_time() -> None:
    talk = Talk()
    talk.reason = "an operator has to confirm"
    talk.steps(REFUSED_RETRY - 1.0)
    assert [event.reason for event in talk.learnt if isinstance(event, TurnedAway)] == [talk.reason]
    assert talk.child.turned_away == talk.reason
    assert talk.said("up").count("hello") == 1
    talk.reason = ""
    talk.steps(2.0)
    assert talk.state() == "settled"
    assert talk.child.turned_away == ""


@pytest.mark.parametrize(("store", "term"), [("another", 9), ("store", 2)])
def test_a_child_does_not_listen_to_another_store_or_an_earlier_term(store: str, term: int) -> None:
    talk = Talk()
    talk.parent = talk.new_parent(term=3)
    talk.settle()
    talk.parent.assign("c", {"a1": A1}, frozenset())
    talk.steps(1.0)
    held = talk.child._assignment.mark
    talk.parent = talk.new_parent(term=term, store=store)
    vars(talk.parent)["_reason_to_refuse"] = lambda child, hello: ""  # it would refuse this child by itself
    talk.steps(20.0)
    assert talk.child._assignment.mark == held
    assert (talk.child.store, talk.child.term) == ("store", 3)
    assert talk.state() != "settled"
    if store == "another":
        assert "another store than the one this child belongs to (another instead of store)" in talk.child.turned_away


def test_a_child_obeys_a_later_term_of_its_store_and_remembers_it() -> None:
    talk = settled()
    talk.parent = talk.new_parent(term=4)
    talk.steps(8.0)
    assert talk.state() == "settled"
    assert (talk.child.term, talk.child.tenure, talk.child.revision) == (4, "tenure-4", 7)


def test_a_parent_that_started_anew_is_told_anew_before_it_tells_anything() -> None:
    """Somebody sends it this session's hello and report again, as they were before the child had anything."""
    talk = settled()
    early = [(kind, payload) for direction, kind, payload in talk.sent if direction == "up"]
    talk.parent.assign("c", {"a1": A1}, frozenset())
    talk.steps(1.0)
    session, held = talk.parent.peers["c"].session, talk.child._assignment.mark
    talk.parent = talk.new_parent(term=2)
    for kind, payload in early:
        talk.parent.receive("c", kind, payload, 0, talk.now)
    assert (talk.parent.peers["c"].session, talk.parent.peers["c"].state) == (session, "live"), "it believes that"
    talk.parent.flush(talk.now)
    assert "assign" in [effect.kind for effect in talk.parent.effects]
    for effect in talk.parent.effects:
        talk.child.receive(effect.kind, effect.payload, talk.now)
    talk.parent.effects.clear()
    assert talk.child._assignment.mark == held
    assert not any(isinstance(event, Assigned) for event in talk.child.events)
    hellos = talk.said("up").count("hello")
    talk.steps(0.6)
    assert talk.said("up").count("hello") == hellos + 1
    hello = [opened(payload, "up", kind)[1] for _, kind, payload in talk.sent if kind == "hello"][-1]
    assert isinstance(hello, Hello)
    assert hello.holds == held


def test_who_has_no_key_is_no_child() -> None:
    talk = settled()
    hello = next(payload for _, kind, payload in talk.sent if kind == "hello")
    talk.parent.receive("d", "hello", hello, 0, talk.now)
    assert talk.waiting() == []
    assert "an unknown child" in talk.parent.newest_drop
    assert "d" not in talk.parent.peers


def test_a_child_that_was_given_up_is_heard_no_more() -> None:
    talk = settled()
    talk.parent.forget("c")
    talk.parent._key_of = lambda child: None
    dropped = talk.parent.dropped
    talk.steps(SETTINGS.beat + 1)
    assert talk.parent.dropped > dropped
    assert "c" not in talk.parent.peers


# -- getting through


def lose(talk: Talk, kind: str, times: int) -> None:
    """Lose the next messages of a kind, in whatever direction they go."""
    left = [times]

    def lost(direction: str, said: str) -> bool:
        left[0] -= said == kind
        return said == kind and left[0] >= 0

    talk.lost = lost


@pytest.mark.parametrize("kind", ["hello", "welcome"])
def test_a_hello_that_is_not_answered_is_said_again_on_the_same_connection(kind: str) -> None:
    talk = Talk()
    lose(talk, kind, 1)
    talk.step(0.0)
    assert talk.child.next_wake() == talk.now + HELLO_AGAIN
    talk.steps(HELLO_AGAIN + 0.2)
    assert talk.state() == "settled"
    assert (talk.opened, talk.said("up").count("hello")) == ([0], 2)
    first, again = (opened(payload, "up", said) for _, said, payload in talk.sent if said == "hello")
    assert first[0].session == again[0].session
    assert first[1] == again[1]


def test_hellos_come_ever_more_slowly_and_at_once_with_a_short_lease() -> None:
    talk = Talk()
    lose(talk, "welcome", 99)
    talk.child.lease = 1.0
    said: list[float] = []
    while len(talk.opened) < 2:
        before = talk.said("up").count("hello")
        talk.step(1 / 16)
        said += [talk.now] * (talk.said("up").count("hello") - before)
    gaps = [later - earlier for earlier, later in itertools.pairwise(said[:-1])]
    assert gaps == [0.25, 0.25, 0.5, 1.0, 2.0]


def test_the_lease_counts_from_the_first_hello_whichever_was_heard() -> None:
    talk = Talk()
    first = talk.now
    talk.lost = lambda direction, kind: kind == "ack" or (kind == "hello" and talk.now < first + HELLO_AGAIN / 2)
    talk.step(0.0)
    talk.steps(HELLO_AGAIN + 0.2)
    assert talk.state() == "settled"
    assert talk.child.lease_until == first + SETTINGS.lease


def test_a_late_hello_of_a_session_that_was_given_up_begins_a_new_one_at_once() -> None:
    """The parent heard the first hello, and then nothing for its lease; or has started anew since."""
    talk = Talk()
    lose(talk, "welcome", 1)
    talk.step(0.0)
    talk.parent = talk.new_parent(term=2)
    talk.reason = OLD_HELLO
    while talk.state() == "greeting":
        talk.step(0.1)
    assert not any(isinstance(event, TurnedAway) for event in talk.learnt), "nobody was refused"
    assert not any(isinstance(event, Refused) for event in talk.heard)
    assert talk.parent.newest_drop.endswith(OLD_HELLO)
    talk.reason = ""
    talk.steps(1.0)
    assert talk.state() == "settled"


def test_without_a_welcome_the_next_broker_is_tried() -> None:
    talk = Talk()
    talk.child = talk.new_child(brokers=3)
    talk.lost = lambda direction, kind: kind == "welcome"
    talk.steps(3 * (WELCOME_TIMEOUT + 2.0))
    assert talk.opened[:3] == [0, 1, 2]
    assert talk.opened[3:] in ([], [0])


def test_pauses_between_attempts_grow_up_to_a_limit() -> None:
    talk = Talk()
    child = talk.child
    child.lease = 3600.0
    pauses = []
    for _ in range(12):
        child.tick(talk.now)
        assert child.state == "opening"
        child.disconnected(talk.now)
        pauses.append(child.next_wake() - talk.now)
        talk.now = child.next_wake()
    assert pauses[0] < 1.0
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses[:5]))
    assert RETRY_LAST <= max(pauses) <= RETRY_LAST * 1.3


def test_a_parent_that_was_away_for_long_is_found_again_within_its_lease() -> None:
    """It counts silence from its start, and moves what runs on those who are not back in time."""
    talk = Talk()
    child = talk.child
    assert child.lease == DEFAULT_LEASE
    for _ in range(50):
        child.tick(talk.now)
        child.disconnected(talk.now)
        assert child.next_wake() - talk.now + WELCOME_TIMEOUT < child.lease
        talk.now = child.next_wake()


def test_a_welcome_makes_the_pauses_short_again() -> None:
    talk = Talk()
    for _ in range(6):
        talk.child.tick(talk.now)
        talk.child.disconnected(talk.now)
        talk.now = talk.child.next_wake()
    talk.settle()
    talk.child.disconnected(talk.now)
    assert talk.child.next_wake() - talk.now < 1.0


def test_words_of_the_transport_at_the_wrong_time_mean_nothing() -> None:
    talk = settled()
    talk.child.connected(talk.now)
    assert talk.state() == "settled"
    assert talk.child.effects == []
    talk.child.disconnected(talk.now)
    wake = talk.child.next_wake()
    talk.child.disconnected(talk.now)
    assert talk.child.next_wake() == wake
    talk.child.connected(talk.now)
    assert talk.state() == "closed"


# -- usage, calls, and the last will


def test_usage_is_told_once_and_only_when_settled() -> None:
    talk = Talk()
    talk.child.send_usage({"": Usage(cpu=1.0)})
    talk.settle()
    talk.child.send_usage({})
    talk.child.send_usage({"": Usage(cpu=2.0), "a1": Usage(cpu=3.0)})
    talk.steps(5.0)
    measured = [event.usage for event in talk.heard if isinstance(event, Measured)]
    assert measured == [{"": Usage(cpu=2.0), "a1": Usage(cpu=3.0)}]


def test_a_call_is_answered_once() -> None:
    talk = settled()
    replies: list[Reply] = []
    talk.parent.call("c", Call("1", "logs", {"tail": 3}, 5.0), replies.append, talk.now)
    talk.step(0.1)
    (asked,) = (event for event in talk.learnt if isinstance(event, Asked))
    assert asked.call == Call("1", "logs", {"tail": 3}, 5.0)
    for _ in range(2):
        talk.child.reply(Reply("1", {"text": "…"}))
        talk.child.reply(Reply("never asked"))
    talk.steps(10.0)
    assert replies == [Reply("1", {"text": "…"})]


def test_a_call_that_nobody_answers_ends_in_time() -> None:
    talk = settled()
    replies: list[Reply] = []
    talk.parent.call("c", Call("1", "logs", {}, 5.0), replies.append, talk.now)
    talk.steps(4.0)
    assert replies == []
    talk.steps(2.0)
    assert replies == [Reply("1", error="no answer in time", again=True)]


def test_a_call_to_who_is_not_there_is_answered_at_once() -> None:
    talk = Talk()
    replies: list[Reply] = []
    talk.parent.call("c", Call("1", "logs", {}, 5.0), replies.append, talk.now)
    talk.parent.call("d", Call("2", "logs", {}, 5.0), replies.append, talk.now)
    assert replies == [Reply("1", error="not connected", again=True), Reply("2", error="not connected", again=True)]


def test_calls_that_wait_are_bounded() -> None:
    talk = settled()
    replies: list[Reply] = []
    for number in range(MAX_CALLS + 1):
        talk.parent.call("c", Call(str(number), "logs", {}, 5.0), replies.append, talk.now)
    assert [reply.id for reply in replies] == [str(MAX_CALLS)]
    assert "too many" in replies[0].error


def test_a_broken_connection_makes_a_child_suspect_and_no_more() -> None:
    talk = settled()
    session = talk.parent.peers["c"].session
    gone = seal(KEY, topic_of("p", "c", "up", "gone"), Header(PROTOCOL, session, 1), Gone())
    talk.parent.receive("c", "gone", gone, 0, talk.now)
    assert talk.parent.events == [Suspect("c")]
    peer = talk.parent.peers["c"]
    assert (peer.state, peer.silent) == ("live", False)
    # The same word once more, or of a session that is over, is nothing.
    talk.parent.events.clear()
    talk.parent.receive("c", "gone", gone, 0, talk.now)
    old = seal(KEY, topic_of("p", "c", "up", "gone"), Header(PROTOCOL, "an old one", 1), Gone())
    talk.parent.receive("c", "gone", old, 0, talk.now)
    assert talk.parent.events == []


# -- junk


@settings(deadline=None)
@given(st.text(max_size=10), st.sampled_from(sorted(UP_KINDS | DOWN_KINDS | {"", "x"})), st.binary(max_size=80))
def test_junk_is_counted_and_nothing_else(child: str, kind: str, payload: bytes) -> None:
    talk = settled()
    before = talk.parent.dropped, talk.child.dropped
    for who in (child, "c"):
        talk.parent.receive(who, kind, payload, 0, talk.now)
    talk.child.receive(kind, payload, talk.now)
    assert (talk.parent.dropped, talk.child.dropped) == (before[0] + 2, before[1] + 1)
    assert talk.waiting() == []
    assert len(talk.parent.newest_drop) < 400


@pytest.mark.parametrize("kind", sorted(DOWN_KINDS))
def test_a_kind_that_goes_down_is_not_heard_from_below(kind: str) -> None:
    talk = settled()
    header = Header(PROTOCOL, talk.parent.peers["c"].session, 1000)
    payload = seal(KEY, topic_of("p", "c", "up", kind), header, Welcome(True))
    talk.parent.receive("c", kind, payload, 0, talk.now)
    assert talk.parent.newest_drop == f"c {kind}: a kind that does not go up"


@pytest.mark.parametrize("kind", sorted(UP_KINDS))
def test_a_kind_that_goes_up_is_not_heard_from_above(kind: str) -> None:
    talk = settled()
    talk.child.receive(kind, b"", talk.now)
    assert talk.child.newest_drop == f"{kind}: a kind that does not come down"


def test_a_report_on_a_channel_that_nobody_knows_is_dropped() -> None:
    talk = settled()
    report = next(payload for _, kind, payload in reversed(talk.sent) if kind == "report")
    header, message = opened(report, "up", "report")
    assert isinstance(message, Report)
    step = msgspec.structs.replace(message.steps[0], channel="gossip")
    wrong = msgspec.structs.replace(message, steps=(step,))
    newer = msgspec.structs.replace(header, sequence=1000)
    talk.parent.receive("c", "report", seal(KEY, topic_of("p", "c", "up", "report"), newer, wrong), 0, talk.now)
    assert "an unknown channel 'gossip'" in talk.parent.newest_drop


def test_an_early_word_of_the_parent_is_not_heard() -> None:
    """A child that has no session hears nothing."""
    talk = settled()
    welcome = next(payload for _, kind, payload in talk.sent if kind == "welcome")
    fresh = talk.new_child()
    fresh.receive("welcome", welcome, talk.now)
    fresh.tick(talk.now)
    fresh.receive("welcome", welcome, talk.now)
    assert fresh.state == "opening"
    assert fresh.events == []


def test_a_hello_says_what_the_child_holds_and_who_gave_it() -> None:
    talk = settled()
    talk.parent.assign("c", {"a1": A1, "a2": A2}, frozenset())
    talk.steps(1.0)
    talk.child.rejoin(talk.now)
    talk.settle()
    hello = [opened(payload, "up", kind)[1] for _, kind, payload in talk.sent if kind == "hello"][-1]
    assert isinstance(hello, Hello)
    assert hello.holds == talk.parent.peers["c"].assignment.mark
    assert (hello.store, hello.term, hello.tenure, hello.revision) == ("store", 1, "tenure-1", 7)
    assert (hello.incarnation, hello.connect) == (1, 2)


def test_statuses_of_before_are_told_with_the_first_report() -> None:
    talk = Talk()
    talk.statuses.change({"a1": Status("a1", Phase.RUNNING)})
    talk.settle()
    (reported,) = (event for event in talk.heard if isinstance(event, Reported))
    assert reported.first
    assert reported.applied.changed == {"a1"}


def test_what_was_withdrawn_may_stay_until_the_child_was_told() -> None:
    talk = Talk()
    talk.settle()
    talk.parent.assign("c", {"a": Attempt("a", "s", 0, 1, "d" * 32)}, frozenset())
    talk.steps(1.0)
    talk.statuses.change({"a": Status("a", Phase.RUNNING)}, [])
    talk.steps(1.0)
    assert not talk.parent.may_stay("c", "a"), "it is assigned"
    talk.lost = lambda direction, kind: True
    talk.parent.assign("c", {}, frozenset({"a"}))
    talk.steps(30.0)
    assert not talk.parent.may_stay("c", "a"), "it is not there"
    told: list[bool] = []
    flush = talk.parent.flush
    talk.parent.flush = lambda now: (told.append(talk.parent.may_stay("c", "a")), flush(now))[1]  # type: ignore[func-returns-value,method-assign]
    talk.lost = lambda direction, kind: False
    talk.settle()
    talk.steps(2.0)
    assert True in told
    assert not talk.parent.may_stay("c", "a"), "it was told"
    assert told.index(True) < len(told) - 1
    assert not any(told[told.index(True) + 1 :]), "once told, never again"
