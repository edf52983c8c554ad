"""How good the choices are: small cases against the best there is, by SciPy's solver of integer programs."""

from __future__ import annotations

import random
import statistics

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.fleets import capacities, fleet_of
from benchmarks.result import Figure
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.position import Position, kilometres
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Preference, Specification
from mangrove.placement.engine import place
from mangrove.placement.filters.where import MS_PER_KM
from mangrove.placement.request import kinds_of

#: Children and requests of one case: what the solver mostly proves in a second.
_CHILDREN, _REQUESTS = 8, 40
#: Packing is compared on children of one size, as the literature on bins does: else a server stands for ten boards.
_ALIKE = Capacity(Resources(cpu=16_000, memory=32_768), runtimes=("docker",))
#: Seconds for one case; what is not proven by then is left out.
_LIMIT = 3.0


def gaps(cases: int) -> list[Figure]:
    """How far from the best: instances placed, children used, kilometres from users."""
    placed, opened, far = [], [], []
    for seed in range(cases):
        dice = random.Random(seed)
        said = list(capacities(_CHILDREN, seed))
        wanted = [_request(dice, number) for number in range(_REQUESTS)]
        placed.append(_gap_of_placed(said, [_scaled(each, 6) for each in wanted]))
        opened.append(_gap_of_opened([_ALIKE] * _CHILDREN, wanted))
        far.append(_gap_of_distance(said, [_near(each, dice) for each in wanted]))
    return [
        _figure("instances placed when not all fit, less than the best", placed),
        _figure("children in use by best fit, all alike, more than the best", opened),
        _figure("latency of `nearest` to its users, more than the best", far),
    ]


def _figure(name: str, found: list[float | None]) -> Figure:
    solved = [100 * gap for gap in found if gap is not None]
    note = f"median; {statistics.mean(solved):.2g} on average, at most {max(solved):.3g}; {len(solved)} cases proven"
    return Figure(f"quality: {name}", statistics.median(solved), "%", None, note)


def _request(dice: random.Random, number: int) -> Specification:
    needs = Resources(cpu=dice.randrange(100, 2000), memory=dice.randrange(128, 4096))
    return Specification(f"service{number}", resources=needs, constraints=(Constraint("tolerates", key="owner"),))


def _scaled(specification: Specification, by: int) -> Specification:
    needs = specification.resources
    larger = Resources(cpu=by * needs.cpu, memory=by * needs.memory)
    return Specification(specification.name, resources=larger, constraints=specification.constraints)


def _near(specification: Specification, dice: random.Random) -> Specification:
    user = Position(dice.uniform(46, 55), dice.uniform(6, 15))
    wish = (Preference("nearest", position=user),)
    return Specification(
        specification.name, resources=specification.resources, constraints=specification.constraints, preferences=wish
    )


def _chosen(said: list[Capacity], wanted: list[Specification]) -> list[int | None]:
    """What Mangrove does, one after the other: the number of the child for each."""
    fleet, found = fleet_of(said), list[int | None]()
    for specification in wanted:
        answer = place(fleet, specification)
        if isinstance(answer, Chosen):
            fleet.reserve(specification.name, answer.child, specification.resources, kinds_of(specification))
            found.append(int(answer.child[1:]))
        else:
            found.append(None)
    return found


def _gap_of_placed(said: list[Capacity], wanted: list[Specification]) -> float | None:
    best = _solved(said, wanted, -np.ones((len(wanted), len(said))), all_of_them=False)
    own = sum(child is not None for child in _chosen(said, wanted))
    return None if best is None else (-best - own) / max(1.0, -best)


def _gap_of_opened(said: list[Capacity], wanted: list[Specification]) -> float | None:
    found = _chosen(said, wanted)
    best = _solved(said, wanted, np.zeros((len(wanted), len(said))), all_of_them=True, opened=1.0)
    return None if best is None or None in found else (len(set(found)) - best) / best


def _gap_of_distance(said: list[Capacity], wanted: list[Specification]) -> float | None:
    cost = np.array([[_latency(each, child) for child in said] for each in wanted])
    found = _chosen(said, wanted)
    best = _solved(said, wanted, cost, all_of_them=True)
    if best is None or None in found:
        return None
    own = sum(cost[row, child] for row, child in enumerate(found) if child is not None)
    return float((own - best) / best)


def _latency(specification: Specification, child: Capacity) -> float:
    user = specification.preferences[0].position
    assert user is not None
    assert child.position is not None
    return MS_PER_KM * kilometres(user, child.position)


def _solved(
    said: list[Capacity], wanted: list[Specification], cost: np.ndarray, *, all_of_them: bool, opened: float = 0.0
) -> float | None:
    """The least cost of any placement: x[request, child] is 0 or 1, y[child] whether it is used; None if unproven."""
    requests, children = cost.shape
    pairs = requests * children
    c = np.concatenate([cost.ravel(), np.full(children, opened)])
    once = np.zeros((requests, pairs + children))
    for row in range(requests):
        once[row, row * children : (row + 1) * children] = 1
    conditions = [LinearConstraint(once, 1 if all_of_them else 0, 1)]
    for key in ("cpu", "memory"):
        room = np.zeros((children, pairs + children))
        for child in range(children):
            for row in range(requests):
                room[child, row * children + child] = getattr(wanted[row].resources, key)
            room[child, pairs + child] = -getattr(said[child].allocatable, key)
        conditions.append(LinearConstraint(room, -np.inf, 0))
    answer = milp(
        c,
        constraints=conditions,
        integrality=np.ones(pairs + children),
        bounds=Bounds(0, 1),
        options={"time_limit": _LIMIT, "mip_rel_gap": 0.0},
    )
    return float(answer.fun) if answer.status == 0 else None
