"""The benchmark of placement runs, and its checker catches choices that are wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import placement
from benchmarks.fleets import capacities, request
from benchmarks.naive import Naive
from benchmarks.result import table
from mangrove.model.choice import Chosen, Displacement, NoFit
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Preference, Specification

SMALL = Resources(cpu=100, memory=64)


def naive(count: int = 20) -> Naive:
    return Naive({f"c{number}": said for number, said in enumerate(capacities(count))})


def test_all_workloads_run(tmp_path: Path) -> None:
    size = placement.Size(children=(30,), placements=8, long=100, cases=1, peer=False)

    result = placement.measure(tmp_path, size)

    figures = {figure.name: figure for figure in result.figures}
    assert "8 of 8 placed" in figures["30 children, basic, with reports"].note
    assert "2 of 2 placed" in figures["30 children, preemption"].note
    assert all(figure.value >= 0 for figure in result.figures)
    assert result.title in table(result)


@pytest.mark.parametrize(
    "wanted",
    [
        Specification("huge", resources=Resources(cpu=10**6)),
        Specification("elsewhere", resources=SMALL, architectures=("riscv64",)),
        Specification("system", resources=SMALL, operating_systems=("plan9",)),
        Specification("zone", resources=SMALL, constraints=(Constraint("label", key="zone", names=("none",)),)),
        Specification("pinned", resources=SMALL, constraints=(Constraint("direct", node="n7"),)),
        Specification("quick", resources=SMALL, constraints=(Constraint("latency", threshold=0.5),)),
    ],
    ids=lambda wanted: wanted.name,
)
def test_what_is_not_possible_is_caught(wanted: Specification) -> None:
    with pytest.raises(AssertionError, match="does not fit"):
        naive().take(wanted, "c0")


def test_what_is_too_much_together_is_caught() -> None:
    checker, wanted = naive(), Specification("a", resources=Resources(cpu=3000))
    small = next(f"c{number}" for number, said in enumerate(capacities(20)) if said.allocatable.cpu == 4000)
    checker.take(wanted, small)

    with pytest.raises(AssertionError, match="does not fit"):
        checker.take(wanted, small)


def test_a_worse_choice_is_caught() -> None:
    checker, wanted = naive(), Specification("a", resources=SMALL)
    largest = max((said.allocatable.cpu, f"c{number}") for number, said in enumerate(capacities(20)))[1]

    with pytest.raises(AssertionError, match="is better than"):
        checker.best(wanted, largest)


@pytest.mark.parametrize("preference", [Preference("spread"), Preference("spread", key="zone")])
def test_a_worse_spread_is_caught(preference: Preference) -> None:
    checker, wanted = naive(), Specification("a", resources=SMALL, preferences=(preference,))
    checker.take(wanted, "c0")

    with pytest.raises(AssertionError, match="is better than"):
        checker.best(wanted, "c0")


def test_a_refusal_without_need_is_caught() -> None:
    with pytest.raises(AssertionError, match="does fit"):
        naive().nowhere(Specification("a", resources=SMALL))


def test_room_made_without_need_is_caught() -> None:
    checker = naive()
    cpu = next(capacities(1)).allocatable.cpu
    half = Specification("half", resources=Resources(cpu=cpu // 2))
    checker.take(half, "c0")
    checker.take(half, "c0")
    more = Specification("more", resources=Resources(cpu=cpu // 2), priority=1)

    with pytest.raises(AssertionError, match="without need"):
        checker.displaced(more, "c0", [half, half])
    with pytest.raises(AssertionError, match="no less important"):
        naive_full(half).displaced(half, "c0", [half])


def naive_full(half: Specification) -> Naive:
    checker = naive()
    checker.take(half, "c0")
    checker.take(half, "c0")
    return checker


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("place", lambda fleet, wanted: Chosen("c0")),
        ("place", lambda fleet, wanted: NoFit("no")),
        ("place_many", lambda fleet, wanted, count: ["c0"] * count),
        ("displace", lambda fleet, wanted: Displacement("c0", ("c0.0", "c0.1", "c0.2", "c0.3"))),
    ],
    ids=["always-the-first", "nowhere", "all-on-one", "too-many-go"],
)
def test_a_wrong_engine_fails_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., object]
) -> None:
    monkeypatch.setattr(placement, name, wrong)

    with pytest.raises(AssertionError):
        placement.measure(tmp_path, placement.Size((30,), 40, 100, 1, peer=False))


def test_reports_change_what_is_known() -> None:
    said = list(capacities(20))
    run = placement.Run(said)
    for number in range(30):
        run.report(random.Random(number), 5)
        run.one(request(random.Random(number), number))
    run.check()

    assert run.reports == 150
    assert run.asked == run.placed == 30
