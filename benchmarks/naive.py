"""The plainest judgement of choices: plain Python, row by row, with its own sums. What is placed is checked by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mangrove.model.child import Capacity
from mangrove.model.position import Position, kilometres
from mangrove.model.resources import NOTHING, Resources
from mangrove.model.specification import Constraint, Preference, Specification

#: Scores that differ by less are taken as equal: those of the engine are sums in another order.
_EQUAL = 1e-6

_NONE: Counter[str] = Counter()


class Naive:
    """All children, what was reserved on them, and what runs there; follows what happens, one after the other.

    said: what the children say, by id; all are live.
    """

    def __init__(self, said: dict[str, Capacity]) -> None:
        self._said = dict(said)
        self._reserved: dict[str, Resources] = dict.fromkeys(said, NOTHING)
        self._on: dict[str, Counter[str]] = {}  # service → child → how many

    def report(self, news: Iterable[tuple[str, Capacity]]) -> None:
        """Children say something else."""
        self._said.update(news)

    def take(self, specification: Specification, child: str) -> None:
        """Take in a choice; AssertionError when it was not possible."""
        assert self.possible(specification, child), f"{specification.name} does not fit on {child}"
        self._reserved[child] += specification.resources
        self._on.setdefault(specification.name, Counter())[child] += 1

    def give_back(self, specification: Specification, child: str) -> None:
        """A choice has ended."""
        self._reserved[child] -= specification.resources
        self._on[specification.name][child] -= 1

    def displaced(self, specification: Specification, child: str, victims: list[Specification]) -> None:
        """What makes room on a child ends; AssertionError when it is not less important, or not needed, all of it."""
        assert not self.possible(specification, child), f"{specification.name} fits on {child} as it is"
        for victim in victims:
            assert victim.priority < specification.priority, f"{victim.name} is no less important"
            self.give_back(victim, child)
        for victim in victims:
            self.take(victim, child)
            assert not self.possible(specification, child), f"{victim.name} makes room on {child} without need"
            self.give_back(victim, child)

    def nowhere(self, specification: Specification) -> None:
        """AssertionError when there is a child after all."""
        fitting = next((child for child in self._said if self.possible(specification, child)), None)
        assert fitting is None, f"{specification.name} does fit on {fitting}"

    def best(self, specification: Specification, child: str) -> None:
        """AssertionError when another child has a better score."""
        scores = {one: self._score(specification, one) for one in self._said if self.possible(specification, one)}
        assert child in scores, f"{specification.name} does not fit on {child}"
        better = max(scores, key=lambda one: scores[one])
        assert scores[child] >= scores[better] - _EQUAL, (
            f"{specification.name}: {better} is better than {child}: {scores[better]} against {scores[child]}"
        )

    def possible(self, specification: Specification, child: str) -> bool:
        """Whether one more fits there."""
        said = self._said[child]
        tolerated = {wish.key for wish in specification.constraints if wish.type == "tolerates"}
        return (
            specification.resources.fits_in(said.allocatable - self._reserved[child])
            and specification.runtime in said.runtimes
            and (not specification.architectures or bool(set(specification.architectures) & set(said.architectures)))
            and (
                not specification.operating_systems
                or bool(set(specification.operating_systems) & set(said.operating_systems))
            )
            and all(taint.partition("=")[0] in tolerated for taint in said.taints)
            and all(self._met(wish, said, specification.name, child) for wish in specification.constraints)
        )

    def _met(self, wish: Constraint, said: Capacity, name: str, child: str) -> bool:
        if wish.type == "label":
            value = said.labels.get(wish.key)
            return value is not None if wish.operator == "exists" else value in wish.names
        if wish.type == "per_node":
            return self._there(name, child) < wish.threshold
        if wish.type == "geo":
            return kilometres(said.position or Position(0, 0), wish.position or Position(0, 0)) <= wish.threshold
        if wish.type == "latency":
            return said.round_trip <= wish.threshold
        if wish.type == "direct":
            return f"n{child[1:]}" in wish.node.split(";")
        return True

    def _score(self, specification: Specification, child: str) -> float:
        wishes = specification.preferences or (Preference("best_fit"),)
        return sum(wish.weight * self._scored(wish, specification, child) for wish in wishes)

    def _scored(self, wish: Preference, specification: Specification, child: str) -> float:
        name, said = specification.name, self._said[child]
        if wish.scorer == "best_fit":
            whole, used = dict(said.allocatable.amounts()), dict(self._reserved[child].amounts())
            asked = list(specification.resources.amounts())
            return sum((used.get(key, 0) + amount) / whole[key] for key, amount in asked) / len(asked)
        if wish.scorer == "spread":
            return 1 / (1 + sum(self._there(name, one) for one in self._alike(wish.key, name, child)))
        share = sum(self._there(other, child) > 0 for other in wish.names) / len(wish.names)
        return {"affinity": share, "anti_affinity": 1 - share}[wish.scorer]

    def _alike(self, label: str, service: str, child: str) -> list[str]:
        """Children that may have the service and count together with this one: itself, or those with its label."""
        if not label:
            return [child]
        value = self._said[child].labels.get(label)
        return [one for one in self._on.get(service, ()) if self._said[one].labels.get(label) == value]

    def _there(self, service: str, child: str) -> int:
        return self._on.get(service, _NONE)[child]
