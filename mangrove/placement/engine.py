"""Filter, then score. Reserving is the caller's next word to the fleet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.specification import Specification
from mangrove.placement.filters import ATTRIBUTES, FILTERS, LIMITS, PLACES
from mangrove.placement.filters.fit import Fit
from mangrove.placement.filters.interface import Filter
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.scorers import scorer_named
from mangrove.placement.table import MOST, Amounts, Numbers
from mangrove.placement.words import Mask, Rows

#: Against equal scores: the child with the fewest attempts, so that what asks for nothing is spread; then the first.
_CROWD = 1e-9
#: Where less than one row in so many is left, these are taken out of the columns and looked at alone.
_FEW = 4
#: Scores that are looked at together when many are placed: some megabytes, and most of a pass is not overhead.
_BLOCK = 1 << 17


@dataclass(frozen=True, slots=True)
class Clause:
    """What one condition did: how many children it ruled out of those that were left, in numbers and in words."""

    condition: str
    ruled_out: int
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What there is to say about a request. best: the first few that pass with their scores, the best first."""

    children: int
    passed: int
    clauses: tuple[Clause, ...]
    best: tuple[tuple[str, float], ...]

    @property
    def reason(self) -> str:
        """All that stands in the way, in one line."""
        return "; ".join(clause.text for clause in self.clauses)


def place(
    fleet: Fleet,
    specification: Specification,
    *,
    avoid: Collection[str] = (),
    refused: Mapping[str, Refusal] = {},
) -> Chosen | NoFit:
    """Choose a child for one instance.

    avoid: children that must not be chosen. refused: those that did not take this before, and why.
    """
    if not fleet.rows:
        return NoFit(f"no {fleet.noun} has joined yet")
    request = fleet.request(specification)
    row = _best(fleet, request, _feasible(fleet, request, avoid, refused))
    if row is None:
        return NoFit(judge(fleet, specification, avoid=avoid, refused=refused).reason or f"no other {fleet.noun}")
    return Chosen(fleet.at(row).id)


def fits_instead(fleet: Fleet, specification: Specification, attempt: str) -> bool:
    """Whether an instance may fit where `attempt` is, once that has gone.

    On which of a child's nodes room would come is not known here: on its largest, is assumed. So the answer may be too
    hopeful, never too gloomy.
    """
    child, resources, kinds = fleet.reservation(attempt)
    row = fleet.rows.get(child)
    if row is None or not row.open:
        return False
    request, table, here = fleet.request(specification), fleet.table, np.array([row.number], np.intp)
    needs, largest = specification.resources, row.capacity.largest
    if not needs.fits_in(row.free + resources) or (
        largest and not any(needs.fits_in(room + resources) for room in largest)
    ):
        return False
    table.tallies.add(kinds, row.number, -1)
    try:
        return all(
            condition.check(request, fleet, here)[0]
            for condition in FILTERS
            if not isinstance(condition, Fit) and condition.applies(request, fleet)
        )
    finally:
        table.tallies.add(kinds, row.number, 1)


def scores_of(
    fleet: Fleet, specification: Specification, attempts: Sequence[str], *, fits: bool = False
) -> list[float]:
    """How good the place of each of these attempts is for the specification, as if none of them were there.

    -inf where it would not fit; fits: it is known to fit, since it runs there. (What a cluster tells of its largest
    free nodes does not say how large they would be without it.)
    """
    table, held = fleet.table, [fleet.reservation(attempt) for attempt in attempts]
    rows = [fleet.rows.get(child) for child, _, _ in held]
    there = [(row.number, one, kinds) for row, (_, one, kinds) in zip(rows, held, strict=True) if row is not None]
    for number, one, kinds in there:
        table.reserve(number, one, -1)
        table.tallies.add(kinds, number, -1)
    try:
        request = fleet.request(specification)
        feasible = _feasible(fleet, request, (), ())
        scores = _scores(fleet, request, slice(0, table.size), 0)
        return [
            float(scores[row.number]) if row is not None and (fits or feasible[row.number]) else -np.inf for row in rows
        ]
    finally:
        for number, one, kinds in there:
            table.reserve(number, one, 1)
            table.tallies.add(kinds, number, 1)


def place_many(
    fleet: Fleet,
    specification: Specification,
    count: int,
    *,
    avoid: Collection[str] = (),
    refused: Mapping[str, Refusal] = {},
) -> list[str]:
    """Children for `count` instances in one pass: the very ones that placing and reserving one by one would choose.

    Fewer when no more fit.
    """
    request = fleet.request(specification)
    mask = _feasible(fleet, request, avoid, refused)
    if all(
        scorer is None or scorer.separable(preference)
        for preference in request.preferences
        for scorer in (scorer_named(preference.scorer),)
    ):
        rows = _in_lanes(fleet, request, np.flatnonzero(mask), count)
    else:
        rows = _one_by_one(fleet, request, mask, count)
    return [fleet.at(row).id for row in rows]


def judge(
    fleet: Fleet,
    specification: Specification,
    *,
    avoid: Collection[str] = (),
    refused: Mapping[str, Refusal] = {},
    shown: int = 3,
) -> Judgement:
    """The same for a person: what each condition rules out, one after the other, and the best of the rest."""
    request, table = fleet.request(specification), fleet.table
    clauses = []
    left = np.flatnonzero(table.open[: table.size])
    cordoned = sum(row.live and row.cordoned for row in fleet.rows.values()) if table.cordoned.any() else 0
    odd = sum(row.live and not row.cordoned for row in (fleet.rows[child] for child in fleet.quarantined))
    silent = len(fleet.rows) - len(left) - cordoned - odd
    if silent:
        clauses.append(Clause("live", silent, f"{silent} of {_count(len(fleet.rows), fleet.noun)} not connected"))
    if cordoned:
        clauses.append(Clause("cordon", cordoned, f"{cordoned} of {_count(len(fleet.rows), fleet.noun)} cordoned"))
    if odd:
        text = f"{odd} of {_count(len(fleet.rows), fleet.noun)} quarantined, for reporting nonsense"
        clauses.append(Clause("quarantine", odd, text))
    left = np.setdiff1d(left, [fleet.rows[child].number for child in avoid if child in fleet.rows])
    said_no = [row for child in refused if (row := fleet.rows.get(child)) is not None and row.number in left]
    if said_no:
        told = sorted(f"refused by {row.name}: {refused[row.id].reason}" for row in said_no)
        clauses.append(Clause("refused", len(said_no), "; ".join(told[:3])))
        left = np.setdiff1d(left, [row.number for row in said_no])
    for condition in FILTERS:
        if not condition.applies(request, fleet):
            continue
        passed = condition.check(request, fleet, left)
        if not passed.all():
            rejected = left[~passed]
            name = type(condition).__name__.lower()
            clauses.append(Clause(name, len(rejected), condition.explain(request, fleet, rejected)))
            left = left[passed]
    best: list[tuple[str, float]] = []
    if len(left):
        scores = _scores(fleet, request, left, 0)
        best = [(fleet.at(int(left[at])).id, round(float(scores[at]), 4)) for at in _largest(scores, shown)]
    return Judgement(len(fleet.rows), len(left), tuple(clauses), tuple(best))


def suitable(fleet: Fleet, request: Request, avoid: Iterable[str]) -> Mask:
    """Rows that could take an instance if there were room: all conditions but those of `LIMITS`."""
    table = fleet.table
    mask = table.open[: table.size] & _attributes(fleet, request)
    for child in avoid:
        row = fleet.rows.get(child)
        if row is not None:
            mask[row.number] = False
    _narrow(mask, fleet, request, PLACES)
    return mask


def _feasible(fleet: Fleet, request: Request, avoid: Collection[str], refused: Collection[str]) -> Mask:
    mask = suitable(fleet, request, (*avoid, *refused))
    _narrow(mask, fleet, request, LIMITS)
    return mask


def _attributes(fleet: Fleet, request: Request) -> Mask:
    """Rows whose attributes pass. Remembered with the request until a row changes; what each condition finds of rows
    that did not change is remembered by the columns."""
    table, known = fleet.table, request.attributes
    if known is None or len(known) != table.size or request.seen != table.changes:
        rows = slice(0, table.size)
        masks = [each.check(request, fleet, rows) for each in ATTRIBUTES if each.applies(request, fleet)]
        known = np.ones(table.size, np.bool_)
        for mask in masks:
            known &= mask
        request.attributes, request.seen = known, table.changes
    return known


def _narrow(mask: Mask, fleet: Fleet, request: Request, conditions: Sequence[Filter]) -> None:
    """Take away rows that do not meet all of these conditions; where few are left, only these are looked at."""
    applying = [condition for condition in conditions if condition.applies(request, fleet)]
    if not applying:
        return
    if _FEW * np.count_nonzero(mask) >= len(mask):
        for condition in applying:
            mask &= condition.check(request, fleet, slice(0, len(mask)))
        return
    left = np.flatnonzero(mask)
    for condition in applying:
        left = left[condition.check(request, fleet, left)]
    mask[:] = False
    mask[left] = True


def _scores(fleet: Fleet, request: Request, rows: Rows, more: Amounts | int) -> Numbers:
    crowd = fleet.table.attempts[rows]
    total: Numbers = np.asarray((crowd + more if np.ndim(more) else crowd) * -_CROWD)
    for preference in request.preferences:
        scorer = scorer_named(preference.scorer)
        if scorer is not None:  # a parent that does not have it goes by the others
            score = scorer.score(request, fleet, preference, rows, more)
            total += score if preference.weight == 1.0 else preference.weight * score
    return total


def _best(fleet: Fleet, request: Request, mask: Mask) -> int | None:
    count = np.count_nonzero(mask)
    if not count:
        return None
    if _FEW * count < len(mask):
        possible = np.flatnonzero(mask)
        return int(possible[_scores(fleet, request, possible, 0).argmax()])
    scores = _scores(fleet, request, slice(0, len(mask)), 0)
    return int(np.where(mask, scores, -np.inf).argmax())


def _one_by_one(fleet: Fleet, request: Request, mask: Mask, count: int) -> list[int]:
    """For scores that depend on other rows too."""
    table, chosen = fleet.table, list[int]()
    limits = [limit for limit in LIMITS if limit.applies(request, fleet)]
    while len(chosen) < count:
        row = _best(fleet, request, mask)
        if row is None:
            break
        chosen.append(row)
        table.reserve(row, request.specification.resources, 1)
        table.tallies.add(request.kinds, row, 1)
        here = np.array([row], np.intp)
        mask[row] = all(limit.check(request, fleet, here)[0] for limit in limits)
    for row in chosen:
        table.reserve(row, request.specification.resources, -1)
        table.tallies.add(request.kinds, row, -1)
    return chosen


def _in_lanes(fleet: Fleet, request: Request, rows: Amounts, count: int) -> list[int]:
    """For scores of rows by themselves: each row is a lane of the scores of its first, second, … instance.

    Always taking the lane with the best head is the same as sorting all entries by the smallest score up to them in
    their lane (what stands behind a small one comes at once when it is better), then by row, then by position. Only a
    block of that is looked at: the best lanes, so far. What the block cannot decide, because a lane goes on behind its
    edge or a lane outside has a better head, is left to the next block.
    """
    room = np.full(len(rows), MOST)
    for limit in LIMITS:
        if limit.applies(request, fleet):
            np.minimum(room, limit.room(request, fleet, rows), out=room)
    chosen: list[int] = []
    used = np.zeros(len(rows), np.int64)
    width = max(1, _BLOCK // max(1, len(rows)))
    while len(chosen) < count:
        lanes, missing = np.flatnonzero(used < room), count - len(chosen)
        if not len(lanes):
            break
        width = max(1, min(width, missing, int((room[lanes] - used[lanes]).max()), _BLOCK))
        bound, first_out = -np.inf, len(rows)
        if len(lanes) * width > _BLOCK:
            heads = _scores(fleet, request, rows[lanes], used[lanes])
            kept = np.sort(_largest(heads, max(1, _BLOCK // width)))
            out = np.ones(len(lanes), np.bool_)
            out[kept] = False
            if out.any():
                bound = float(heads[out].max())
                first_out = int(lanes[out & (heads == bound)][0])
            lanes = lanes[kept]
        steps = np.arange(width)
        more = used[lanes][:, None] + steps
        keys = np.minimum.accumulate(_scores(fleet, request, rows[lanes][:, None], more), axis=1)
        keys[more >= room[lanes][:, None]] = -np.inf
        order = _largest(keys.ravel(), missing)
        lane, step, key = lanes[order // width], order % width, keys.ravel()[order]
        good = (key > bound) | ((key == bound) & (lane < first_out) & (key > -np.inf))
        undecided = np.flatnonzero(~good)
        end = int(undecided[0]) if len(undecided) else len(order)
        cut = np.flatnonzero((step == width - 1) & (used[lane] + width < room[lane]))
        edge = len(cut) > 0 and int(cut[0]) < end
        end = int(cut[0]) + 1 if edge else end
        chosen += rows[lane[:end]].tolist()
        used += np.bincount(lane[:end], minlength=len(used))
        width = 2 * width if edge else max(1, width // 2)
    return chosen


def _largest(values: Numbers, count: int) -> Amounts:
    """Where the `count` largest values are, the largest first, of equal ones the first first."""
    if count < len(values):
        cut = np.partition(values, len(values) - count)[len(values) - count]
        above = np.flatnonzero(values > cut)
        equal = np.flatnonzero(values == cut)[: count - len(above)]
        found = np.sort(np.concatenate([above, equal]))
    else:
        found = np.arange(len(values))
    return found[np.argsort(-values[found], kind="stable")]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
