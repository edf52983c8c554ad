"""Mirroring a set: whatever is lost, repeated or out of order, the mirror is the set as it once was, and becomes it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.link import sync
from mangrove.link.messages import Mark, Sync
from mangrove.link.sync import EMPTY, Applied, Replica, Source
from mangrove.link.transports.interface import MAX_PAYLOAD
from mangrove.model.attempt import Attempt

IDS = [f"a{number}" for number in range(8)]

#: A change: ids to put, each with the epoch it gets then, and ids to remove.
Change = tuple[dict[str, int], set[str]]
changes = st.tuples(
    st.dictionaries(st.sampled_from(IDS), st.integers(1, 5), max_size=4), st.sets(st.sampled_from(IDS), max_size=3)
)


def specification_json(digest: str) -> bytes:
    return msgspec.json.encode({"name": digest, "filler": "x" * 20})


def attempt(id: str, epoch: int = 1, specification: str = "") -> Attempt:
    return Attempt(id, "service", 0, epoch, specification or f"specification-{epoch}")


def source() -> Source:
    return Source(
        "assignment",
        specification_of=lambda entry: entry.specification if isinstance(entry, Attempt) else "",
        specification=specification_json,
    )


def replica() -> Replica[Attempt]:
    return Replica("assignment", Attempt, specification_of=lambda entry: entry.specification)


def change(there: Source, put: dict[str, int], remove: set[str]) -> None:
    there.change({id: attempt(id, epoch) for id, epoch in put.items()}, remove - put.keys())


def over_the_wire(step: Sync) -> Sync:
    return msgspec.json.decode(msgspec.json.encode(step), type=Sync)


def all_of(steps: Sequence[Sync], here: Replica[Attempt]) -> None:
    for step in steps:
        here.receive(over_the_wire(step))


def same(there: Source, here: Replica[Attempt]) -> bool:
    return there.digest == here.digest and there.ids == here.entries.keys()


def test_an_empty_set_is_an_empty_mirror() -> None:
    assert source().digest == replica().digest == EMPTY
    here = replica()
    applied = here.receive(source().complete()[0])
    assert applied is not None
    assert applied.complete
    assert not applied.changed | applied.removed


def test_a_delta_brings_what_differs_and_nothing_else() -> None:
    there, here = source(), replica()
    change(there, {"a0": 1, "a1": 1, "a2": 1}, set())
    all_of(there.complete(), here)
    change(there, {"a3": 2}, {"a0"})
    (delta,) = there.steps_from(here.digest)
    assert (set(delta.put), delta.remove, set(delta.specifications)) == ({"a3"}, ("a0",), {"specification-2"})
    applied = here.receive(over_the_wire(delta))
    assert applied is not None
    assert applied == Applied(frozenset({"a3"}), frozenset({"a0"}), complete=False)
    assert same(there, here)
    assert here.version == there.version


def test_a_step_that_is_applied_already_or_does_not_fit_changes_nothing() -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    first = over_the_wire(there.steps_from(EMPTY)[0])
    change(there, {"a1": 1}, set())
    (second,) = there.steps_from(first.to.digest)
    assert here.receive(over_the_wire(second)) is None
    assert here.digest == EMPTY
    assert here.receive(first) is not None
    assert here.receive(first) is None
    assert here.receive(over_the_wire(second)) is not None
    assert same(there, here)


def test_a_step_that_leads_elsewhere_than_it_says_is_not_applied() -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    for step in (*there.steps_from(EMPTY), *there.complete()):
        wrong = msgspec.structs.replace(step, to=Mark(1, "f" * 32))
        assert here.receive(over_the_wire(wrong)) is None
    assert not here.entries


def test_the_digest_says_what_is_there_however_it_came_about() -> None:
    one, other = source(), source()
    change(one, {"a0": 1, "a1": 2}, set())
    change(other, {"a1": 1, "a5": 1}, set())
    change(other, {"a1": 2, "a0": 1}, {"a5"})
    assert one.digest == other.digest
    change(other, {"a1": 3}, set())
    assert one.digest != other.digest


@settings(deadline=None)
@given(st.lists(changes, max_size=8), st.lists(changes, max_size=8))
def test_equal_sets_have_equal_digests_and_others_have_not(left: list[Change], right: list[Change]) -> None:
    one, other = source(), source()
    for put, remove in left:
        change(one, put, remove)
    for put, remove in right:
        change(other, put, remove)
    contents = [{id: raw for step in there.complete() for id, raw in step.put.items()} for there in (one, other)]
    assert (one.digest == other.digest) == (contents[0] == contents[1])


@settings(deadline=None)
@given(st.lists(changes, min_size=1, max_size=12), st.integers(0, 2**32), st.sampled_from([60, 150, 100_000]))
def test_whatever_is_lost_repeated_or_late_it_converges(plan: list[Change], seed: int, part_bytes: int) -> None:
    """Messages of all ages fly about, as the worst network has it; the mirror is always some state that the set had."""
    dice = random.Random(seed)
    there, here = source(), replica()
    flying: list[Sync] = []
    history = {there.digest: set[str]()}
    with patch.object(sync, "_PART_BYTES", part_bytes):
        for put, remove in plan:
            change(there, put, remove)
            history[there.digest] = set(there.ids)
            flying += there.steps_from(dice.choice([here.digest, *history]))
            dice.shuffle(flying)
            for _ in range(dice.randint(0, len(flying))):
                step = dice.choice(flying)
                if dice.random() < 0.5:
                    flying.remove(step)
                if dice.random() < 0.7:
                    here.receive(over_the_wire(step))
                assert history[here.digest] == set(here.entries)
                assert {entry.specification for entry in here.entries.values()} <= here.specifications.keys()
        for _ in range(2):  # the network is well again: what the mirror says of itself is answered
            all_of(there.steps_from(here.digest), here)
        assert same(there, here)


@settings(deadline=None)
@given(st.permutations(range(len(IDS))), st.integers(0, 7))
def test_a_complete_set_counts_when_its_last_part_is_there(order: list[int], late: int) -> None:
    there, here = source(), replica()
    change(there, dict.fromkeys(IDS, 1), set())
    change(there, {"a0": 2}, set())
    here.load(7, {"old": attempt("old")}, {"specification-1": b"{}"})
    with patch.object(sync, "_PART_BYTES", 150):
        parts = there.complete()
    assert 4 <= len(parts) <= len(IDS)
    arriving = [parts[number] for number in order if number < len(parts)]
    last = arriving.pop(late % len(arriving))
    for part in arriving:
        assert here.receive(over_the_wire(part)) is None
        assert here.receive(over_the_wire(part)) is None  # repeated
        assert set(here.entries) == {"old"}
    applied = here.receive(over_the_wire(last))
    assert applied is not None
    assert applied == Applied(frozenset(IDS), frozenset({"old"}), complete=True)
    assert same(there, here)


def test_parts_of_two_sets_never_make_one() -> None:
    there, here = source(), replica()
    with patch.object(sync, "_PART_BYTES", 150):
        change(there, dict.fromkeys(IDS, 1), set())
        before = there.complete()
        change(there, dict.fromkeys(IDS, 2), set())
        after = there.complete()
    assert len(before) == len(after)
    for number in range(len(before)):
        assert here.receive(over_the_wire((before, after)[number % 2][number])) is None
    assert not here.entries
    all_of(after, here)
    assert same(there, here)


@pytest.mark.parametrize(("part", "parts"), [(-1, 2), (2, 2), (5, 2), (0, 0), (0, -1)])
def test_parts_that_cannot_be_are_passed_over(part: int, parts: int) -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    wrong = msgspec.structs.replace(there.complete()[0], part=part, parts=parts)
    assert here.receive(over_the_wire(wrong)) is None
    assert not here.entries


@pytest.mark.parametrize("base", [None, EMPTY])
def test_an_entry_that_is_not_what_it_should_be_changes_nothing(base: str | None) -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    good = there.steps_from(EMPTY)[0] if base else there.complete()[0]
    raw = b'{"id": 7}'
    to = Mark(1, f"{sync.entry_hash('a0', raw):032x}")
    bad = msgspec.structs.replace(good, put={"a0": msgspec.Raw(raw)}, to=to)
    with pytest.raises(msgspec.DecodeError):
        here.receive(over_the_wire(bad))
    assert here.digest == EMPTY
    assert here.receive(over_the_wire(good)) is not None


@pytest.mark.parametrize("base", [None, EMPTY])
def test_without_the_specification_that_an_entry_names_nothing_is_applied(base: str | None) -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    step = there.steps_from(EMPTY)[0] if base else there.complete()[0]
    assert here.receive(over_the_wire(msgspec.structs.replace(step, specifications={}))) is None
    assert here.digest == EMPTY
    assert here.receive(over_the_wire(step)) is not None
    assert here.specifications == {"specification-1": specification_json("specification-1")}


@pytest.mark.parametrize("base", [None, EMPTY])
def test_a_specification_that_makes_no_sense_is_not_applied(base: str | None) -> None:
    there, here = source(), replica()
    change(there, {"a0": 1}, set())
    step = there.steps_from(EMPTY)[0] if base else there.complete()[0]
    wrong = msgspec.structs.replace(step, specifications={"specification-1": msgspec.Raw(b'{"name": 7}')})
    with pytest.raises(msgspec.DecodeError):
        here.receive(over_the_wire(wrong))
    assert here.digest == EMPTY


def test_specifications_that_no_entry_names_are_forgotten_in_time() -> None:
    there, here = source(), replica()
    for number in range(100):
        there.change({"a0": attempt("a0", specification=f"specification-{number}")}, ())
        all_of(there.steps_from(here.digest), here)
    assert len(here.specifications) < 30
    assert "specification-99" in here.specifications


def test_a_specification_goes_once_into_each_message() -> None:
    there = source()
    change(there, dict.fromkeys(IDS, 1), set())
    with patch.object(sync, "_PART_BYTES", 500):
        parts = there.complete()
    assert len(parts) > 1
    assert all(part.specifications.keys() == {"specification-1"} for part in parts)


def test_a_state_of_long_ago_gets_the_complete_set() -> None:
    there = source()
    change(there, {"a0": 1}, set())
    long_ago = there.digest
    for epoch in range(2, 400):
        change(there, {"a1": epoch}, set())
    assert [step.base for step in there.steps_from(long_ago)] == [None]
    assert [step.base for step in there.steps_from("never")] == [None]
    change(there, {"a1": 400}, set())
    assert [set(step.put) for step in there.steps_from(there.digest)] == [set()]


def test_no_message_outgrows_the_largest_payload() -> None:
    there, here = source(), replica()
    many = {f"{number:024}": attempt(f"{number:024}", specification=f"s{number % 50}") for number in range(5000)}
    there.change(many, ())
    steps = there.steps_from(EMPTY)
    assert len(steps) > 1
    assert max(len(msgspec.json.encode(step)) for step in steps) < MAX_PAYLOAD
    all_of(steps, here)
    assert same(there, here)


def test_versions_go_on_above_what_the_other_side_has_seen() -> None:
    there = source()
    there.raise_version(40)
    assert there.mark == Mark(40, EMPTY)
    change(there, {"a0": 1}, set())
    assert there.version == 41
    there.raise_version(3)
    assert there.version == 41


def test_a_change_that_changes_nothing_is_none() -> None:
    there = source()
    change(there, {"a0": 1}, set())
    before = there.mark
    assert not there.change({"a0": attempt("a0")}, ["nobody"])
    assert there.mark == before
