"""When to look at a runtime, and what of a look can be believed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from node_engine.operations import Operation
from node_engine.runtimes.interface import Instance

#: Seconds between two looks at a runtime. Ends are told at once by those that watch (`poke`); this finds what they
#: miss, and what others did to our instances, at a cost of about a thousandth of a core.
PERIOD = 5.0

#: Least seconds between two looks, however many changes are told: a crash loop must not become a loop of looking.
GAP = 0.1

#: Seconds after which a runtime that was asked and says nothing counts as away. Far above what a busy one needs.
PATIENCE = 30.0


@dataclass(slots=True)
class Lookout:
    """Over one runtime. due: when to look next. look: the look under way, begun at `asked`. answers: whether what was
    seen last still counts. fault: why not, empty before the first look. unclaimed: what the engine knows nothing of,
    kept while no assignment says whether it is wanted. overlooked: what a look saw ended while an
    operation on it was under way, so that it could not be believed.
    """

    due: float = 0.0
    asked: float = 0.0
    look: Operation | None = None
    answers: bool = False
    fault: str = ""
    unclaimed: dict[str, Instance] = field(default_factory=dict)
    overlooked: set[str] = field(default_factory=set)
    _touched: dict[str, int] = field(default_factory=dict)  # attempt → newest number at the end of its last operation

    def poke(self, now: float) -> None:
        """Look soon."""
        self.due = min(self.due, max(now, self.asked + GAP))

    def ready(self, now: float) -> bool:
        return self.look is None and now >= self.due

    def begin(self, look: Operation, now: float) -> None:
        self.look, self.asked, self.due = look, now, now + PERIOD

    def overdue(self, now: float) -> bool:
        """Whether the look under way has just taken too long."""
        return self.look is not None and not self.fault and now >= self.asked + PATIENCE

    def wake(self) -> float:
        """When there is something to do; infinite while an answer is waited for in vain."""
        if self.look is None:
            return self.due
        return float("inf") if self.fault else self.asked + PATIENCE

    def touched(self, attempt: str, newest: int) -> None:
        """An operation on `attempt` has ended; no look with a number up to `newest` can know what it did."""
        self._touched[attempt] = newest

    def landed(self, instances: Iterable[Instance]) -> tuple[dict[str, Instance], frozenset[str]]:
        """The look under way has ended: what it showed, and the attempts of which it may show an older state."""
        number = 0 if self.look is None else self.look.number
        self.look = None
        self.answers, self.fault = True, ""
        self._touched = {id: newest for id, newest in self._touched.items() if newest >= number}
        return {instance.attempt: instance for instance in instances}, frozenset(self._touched)

    def failed(self, fault: str) -> bool:
        """The runtime does not answer; whether that is news."""
        news = fault != self.fault
        self.answers, self.fault = False, fault
        return news
