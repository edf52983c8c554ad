"""A child that refused: why is not forgotten, and when it is asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mangrove.model.attempt import Status
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect, Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet
from mangrove.reconcile.absence import NO_NEWS, Absence
from mangrove.reconcile.parent import decide

SLOT = Slot("service.0", "service", 0, "digest")


class OneCluster:
    """A `reconcile.parent.View` of a cluster named alpha that refuses whatever it is given."""

    no_news = NO_NEWS
    unknown = float("inf")

    def __init__(self) -> None:
        self.fleet = Fleet("cluster")
        self.fleet.add("alpha-id", "alpha")
        self.fleet.set_live("alpha-id", True)
        self.has(4096)

    def has(self, memory: int) -> None:
        room = Resources(cpu=1000, memory=memory)
        self.fleet.update("alpha-id", Capacity(room, (room,), runtimes=("docker",)))

    def status(self, given: Given) -> Status:
        return Status(given.attempt, Phase.REFUSED, "needs node late: not n1, n2")

    def has_ended(self, given: Given) -> bool:
        return True

    def quiet(self, given: Given) -> float:
        return 0.0

    def absence(self, child: str) -> Absence | None:
        return None

    def policy(self, specification: str) -> Disconnect:
        return Disconnect()

    def may_stay(self, given: Given) -> bool:
        return False

    def displace(self, slot: Slot, refused: Mapping[str, Refusal], avoid: frozenset[str]) -> None:
        return None

    def scores(self, slot: Slot, attempts: Sequence[Given]) -> list[float]:
        return [0.0 for _ in attempts]

    def place(
        self,
        slot: Slot,
        refused: Mapping[str, Refusal],
        avoid: frozenset[str],
        shun: frozenset[str] = frozenset(),
        instead_of: Given | None = None,
    ) -> Chosen | NoFit:
        return place(self.fleet, Specification("web", resources=Resources(memory=200)), refused=refused, avoid=avoid)

    def revision(self, child: str) -> str:
        return self.fleet.rows[child].revision

    def give(self, slot: Slot, child: str, attempt: str, epoch: int) -> Given:
        return Given(attempt, child, epoch, slot.specification, Resources())

    def name(self, child: str) -> str:
        return "alpha"

    def decide(self, placement: Placement) -> Placement:
        after = decide(SLOT, placement, self, 100.0, lambda: "attempt").placement
        assert after is not None
        return after


def test_the_user_reads_what_the_child_said() -> None:
    cluster = OneCluster()
    given = cluster.decide(Placement(SLOT.id))
    waiting = cluster.decide(given)
    assert waiting.current is None
    assert waiting.reason == "refused by alpha: needs node late: not n1, n2"
    assert cluster.decide(waiting) == waiting  # and goes on reading it


def test_a_child_that_came_back_to_what_it_had_is_asked_again() -> None:
    cluster = OneCluster()
    waiting = cluster.decide(cluster.decide(Placement(SLOT.id)))
    # It refused because something had taken its room, which it tells only now; then that leaves again.
    cluster.has(100)
    waiting = cluster.decide(waiting)
    assert waiting.reason == "needs 200 MiB memory: 1 cluster too small or too full (best has 100 MiB memory free)"
    cluster.has(4096)
    assert cluster.decide(waiting).current is not None
