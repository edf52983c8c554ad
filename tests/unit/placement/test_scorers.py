"""Which of those that can: each scorer by what it is for, and scorers of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import msgspec
import pytest

from mangrove.base.errors import InvalidInput
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.position import Position, kilometres
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Preference, Specification
from mangrove.placement import scorers
from mangrove.placement.engine import judge, place, place_many
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of
from tests.unit.placement.fleets import clusters, machine, nodes

MUNICH, BERLIN = Position(48.137, 11.575), Position(52.520, 13.405)


def web(by: str, key: str = "", *names: str, position: Position | None = None, **more: object) -> Specification:
    wanted = (Preference(by, key=key, names=names, position=position),)
    return Specification("web", image="web", resources=Resources(cpu=500), preferences=wanted, **more)  # type: ignore[arg-type]


def put(fleet: Fleet, child: str, name: str, count: int = 1, image: str = "", cpu: int = 100) -> None:
    for _ in range(count):
        one = Specification(name, image=image, resources=Resources(cpu=cpu))
        fleet.reserve(f"{name}-{len(fleet.reservations)}", child, one.resources, kinds_of(one))


def chosen(fleet: Fleet, specification: Specification) -> str:
    answer = place(fleet, specification)
    assert isinstance(answer, Chosen)
    return answer.child


def test_best_fit_fills_what_is_in_use() -> None:
    fleet = nodes(machine(), machine(), machine())
    put(fleet, "id-1", "db")
    assert chosen(fleet, web("best_fit")) == "id-1"


def test_rom_takes_the_child_with_most_left() -> None:
    fleet = nodes(machine(), machine(cpu=8000), machine(cpu=7000, memory=8192))
    assert chosen(fleet, web("rom")) == "id-2"
    put(fleet, "id-2", "db", cpu=6500)
    assert chosen(fleet, web("rom")) == "id-1"


def test_balanced_keeps_shares_alike() -> None:
    fleet = nodes(machine(), machine())
    fleet.reserve("a", "id-0", Resources(cpu=1000))
    fleet.reserve("b", "id-1", Resources(memory=1000))
    assert chosen(fleet, web("balanced")) == "id-1"


def test_lowest_load_believes_what_was_measured_or_promised() -> None:
    fleet = nodes(machine(), machine(), machine())
    fleet.measured("id-0", Usage(cpu=90.0))
    fleet.measured("id-1", Usage(memory_percent=95.0))
    assert chosen(fleet, web("lowest_load")) == "id-2"
    put(fleet, "id-2", "db", cpu=3450)
    assert chosen(fleet, web("lowest_load")) == "id-0"


def test_spread_over_nodes_counts_only_the_service_itself() -> None:
    fleet = nodes(machine(), machine(), machine())
    put(fleet, "id-0", "db", 3)
    put(fleet, "id-1", "web")
    put(fleet, "id-2", "web", 2)
    assert place_many(fleet, web("spread"), 4) == ["id-0", "id-1", "id-0", "id-1"]


def test_spread_over_a_label() -> None:
    a, b = machine(labels={"zone": "a"}), machine(labels={"zone": "b"})
    fleet = nodes(a, a, a, b)
    put(fleet, "id-0", "web")
    put(fleet, "id-3", "web", 2)
    assert chosen(fleet, web("spread", "zone")) == "id-1"
    assert sorted(place_many(fleet, web("spread", "zone"), 3)) == ["id-1", "id-2", "id-3"]


def test_spread_over_clusters_by_their_nodes_or_by_themselves() -> None:
    fleet = clusters(machine(cpu=40_000, nodes=10), machine(nodes=1))
    put(fleet, "id-0", "web", 3)
    put(fleet, "id-1", "web", 1)
    assert chosen(fleet, web("spread")) == "id-0"
    assert chosen(fleet, web("spread", "cluster")) == "id-1"


def test_where_the_image_is() -> None:
    fleet = nodes(machine(), machine())
    put(fleet, "id-1", "other", image="web")
    assert chosen(fleet, web("image")) == "id-1"


def test_near_and_away_from_other_services() -> None:
    fleet = nodes(machine(), machine(), machine())
    put(fleet, "id-1", "db")
    put(fleet, "id-2", "noisy")
    assert chosen(fleet, web("affinity", "", "db", "cache")) == "id-1"
    assert chosen(fleet, web("anti_affinity", "", "db", "noisy")) == "id-0"
    assert place_many(fleet, web("anti_affinity", "", "web"), 3) == ["id-0", "id-1", "id-2"]


def test_preferred_labels() -> None:
    fleet = nodes(machine(), machine(labels={"disk": "hdd"}), machine(labels={"disk": "ssd"}))
    assert chosen(fleet, web("labels", "disk", "ssd", "nvme")) == "id-2"
    assert chosen(fleet, web("labels", "disk")) == "id-1"


def test_the_nearest_to_a_point_or_to_what_the_constraints_name() -> None:
    fleet = nodes(machine(), machine(position=BERLIN), machine(position=MUNICH))
    assert chosen(fleet, web("nearest", position=Position(49, 11))) == "id-2"
    wish = Constraint("geo", position=Position(52, 13), threshold=10_000)
    assert chosen(fleet, web("nearest", constraints=(wish,))) == "id-1"


def test_ldp_is_furthest_below_the_thresholds_and_then_by_what_is_left() -> None:
    near = Position(48.2, 11.6)
    fleet = nodes(machine(position=BERLIN, cpu=32_000), machine(position=near), machine(position=near, cpu=8000))
    wish = Constraint("geo", position=MUNICH, threshold=1000)
    assert chosen(fleet, web("ldp", constraints=(wish,))) == "id-2"
    assert chosen(fleet, web("ldp")) == "id-0"


def test_rom_by_hand() -> None:
    """A has half of B's cores and a third more memory. Shares of the largest, after 0.5 cores are taken:
    A (3.5/8 + 8/8) / 2, B (7.5/8 + 6/8) / 2. Oakestra's own goes by whoever comes first, for neither has more of both.
    """
    a, b = machine(cpu=4000, memory=8192), machine(cpu=8000, memory=6144)
    for fleet, best in ((nodes(a, b), "id-1"), (nodes(b, a), "id-0")):
        assert judge(fleet, web("rom")).best[0] == (best, 0.8438)
        assert judge(fleet, web("rom")).best[1][1] == 0.7188


def test_ldp_by_hand() -> None:
    """Within 100 km of Munich: Garching is 14 km away, Augsburg 56, Berlin is ruled out, however large it is. The
    nearer one is chosen, though the other has twice the room."""
    garching, augsburg = Position(48.249, 11.651), Position(48.371, 10.898)
    fleet = nodes(
        machine(position=BERLIN, cpu=64_000), machine(position=augsburg, cpu=8000), machine(position=garching, cpu=4000)
    )
    wish = Constraint("geo", position=MUNICH, threshold=100)
    told = judge(fleet, web("ldp", constraints=(wish,)))
    assert (told.passed, [clause.condition for clause in told.clauses]) == (2, ["geo"])
    near, far = (kilometres(MUNICH, each) for each in (garching, augsburg))
    assert (round(near), round(far)) == (14, 56)
    rooms = ((3500 / 64_000 + 1) / 2, (7500 / 64_000 + 1) / 2)
    assert [id for id, _ in told.best] == ["id-2", "id-1"]
    scores = [0.99 * (1 - away / 100) + 0.01 * room for away, room in zip((near, far), rooms, strict=True)]
    assert [score for _, score in told.best] == pytest.approx(scores, abs=1e-4)


def test_every_scorer_chooses_among_clusters_too() -> None:
    big, small = machine(cpu=40_000, memory=40_960, nodes=10), machine(nodes=1)
    there = {
        "best_fit": "id-1",
        "balanced": "id-0",
        "lowest_load": "id-0",
        "spread": "id-0",
        "image": "id-1",
        "affinity": "id-1",
        "anti_affinity": "id-0",
        "labels": "id-1",
        "nearest": "id-1",
        "rom": "id-0",
        "ldp": "id-1",
    }
    assert there.keys() == scorers.BUILT_IN.keys()
    for by, expected in there.items():
        fleet = clusters(
            msgspec.structs.replace(big, position=BERLIN, label_values={"disk": ("hdd", None)}),
            msgspec.structs.replace(small, position=MUNICH, label_values={"disk": ("hdd", "ssd")}),
        )
        put(fleet, "id-1", "db", image="web")
        key, names = ("disk", ["ssd"]) if by == "labels" else ("", ["db"])
        wish = Constraint("geo", position=MUNICH, threshold=1000)
        assert chosen(fleet, web(by, key, *names, constraints=(wish,))) == expected, by


def test_weights_count() -> None:
    fleet = nodes(machine(labels={"disk": "ssd"}), machine(position=MUNICH))

    def best(disk: float, place_: float) -> str:
        wanted = (
            Preference("labels", disk, "disk"),
            Preference("nearest", place_, position=MUNICH),
        )
        return chosen(fleet, Specification("web", preferences=wanted))

    assert [best(1, 2), best(2, 1), best(-1, 0.1)] == ["id-1", "id-0", "id-1"]


def test_a_parents_own_preferences_are_for_those_who_say_nothing() -> None:
    fleet = Fleet("node", preferences=scorers.preferences_in("spread"))
    for id in ("a", "b"):
        fleet.add(id, id)
        fleet.update(id, Capacity(Resources(cpu=1000), runtimes=("docker",)))
        fleet.set_live(id, True)
    put(fleet, "a", "web")
    assert chosen(fleet, Specification("web", resources=Resources(cpu=100))) == "b"
    assert chosen(fleet, web("best_fit")) == "a"


def test_the_first_few_are_shown_with_their_scores() -> None:
    fleet = nodes(machine(), machine(cpu=1000), machine(cpu=2000))
    told = judge(fleet, web("best_fit"))
    assert told.best == (("id-1", 0.5), ("id-2", 0.25), ("id-0", 0.125))


# -- by name


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if a package had named the example in its entry points."""
    entry = EntryPoint("quiet", "examples.placement.quiet:Quiet", scorers.GROUP)

    def found(group: str, name: str = "quiet") -> list[EntryPoint]:
        return [entry] if (group, name) == (scorers.GROUP, "quiet") else []

    monkeypatch.setattr(scorers, "entry_points", found)
    scorers.scorer_named.cache_clear()
    scorers.known_names.cache_clear()
    yield
    scorers.scorer_named.cache_clear()
    scorers.known_names.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_scorer_of_another_package_is_found_by_its_name() -> None:
    fleet = nodes(machine(), machine(), machine())
    put(fleet, "id-0", "db", 2)
    put(fleet, "id-1", "db", 1)
    put(fleet, "id-2", "db", 4)
    assert "quiet" in scorers.known_names()
    assert scorers.preferences_in("quiet=3") == (Preference("quiet", 3.0),)
    assert place_many(fleet, web("quiet"), 3) == ["id-1", "id-0", "id-1"]


def test_a_parent_without_the_scorer_goes_by_the_others() -> None:
    fleet = nodes(machine(), machine(labels={"disk": "ssd"}))
    wanted = (Preference("quiet", 9.0), Preference("labels", key="disk"))
    assert chosen(fleet, Specification("web", preferences=wanted)) == "id-1"


def test_options_are_read() -> None:
    assert scorers.preferences_in("spread:zone=2, best_fit") == (
        Preference("spread", 2.0, "zone"),
        Preference("best_fit"),
    )
    for text, problem in (("magic", "no known scorer; there are affinity"), ("spread=much", "no weight")):
        with pytest.raises(InvalidInput, match=problem):
            scorers.preferences_in(text)
