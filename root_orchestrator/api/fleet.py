"""What the API asks of the live fleet, beyond what the store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from mangrove.base.errors import Unavailable
from mangrove.link.pace import Settings
from mangrove.model.attempt import Usage
from mangrove.model.documents import Refusal
from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement
from mangrove.placement.trial import Trial
from mangrove.roles.rebalancing import Moved
from mangrove.roles.streams import Source
from mangrove.roles.system_services import Without

#: The last piece of an answer that breaks off, made of why it does.
Apology = Callable[[str], bytes]

_NO_CLUSTERS = "this process does not know the clusters; ask the root that runs the controller"


class Fleet(Protocol):
    """The children as this process hears them. May be called from any thread; none of it reads the store."""

    def usage(self, ids: Iterable[str]) -> Mapping[str, Sequence[Usage]]:
        """What was measured last, by id of attempt or child: oldest first, at most 100; unknown ids are left out."""

    def soonest_stop(self) -> float:
        """The least `stop_on_child_after`, in seconds, by which nothing is stopped between two beats."""

    def ages(self) -> Mapping[str, float]:
        """Seconds since each child was last heard, by its id."""

    def judge(self, specification: Specification, refused: Mapping[str, Refusal]) -> Judgement:
        """What placement has to say about one more instance, and which clusters refused it. Raises Unavailable."""

    def without(self, service: str) -> Sequence[Without]:
        """The nodes that have no instance of a system service (an id), and why. Raises Unavailable."""

    def try_out(self, wanted: Sequence[tuple[Specification, int]]) -> Sequence[Trial]:
        """What would become of so many instances of each specification, one after the other. Raises Unavailable."""

    def rebalance(self, dry_run: bool) -> Sequence[Moved]:
        """Move some of what runs to better clusters, or only say which. Raises Unavailable."""

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Ask a child, and wait at most `timeout` seconds for its answer.

        Raises Unavailable when it does not answer in time, and the MangroveError that it answers with.
        """

    def stream(self, child: str, method: str, params: dict[str, Any], apology: Apology) -> Source:
        """Ask a child for an answer in pieces, and wait until it has said that there will be one.

        apology: what to say last when the stream breaks, made of why. Raises Conflict with its reason when the child
        says no, Unavailable when it does not answer in time.
        """


class NoFleet:
    """No live fleet: nothing measured, nobody to call. For tests, and for a copy of the API without a link."""

    def usage(self, ids: Iterable[str]) -> Mapping[str, Sequence[Usage]]:
        return {}

    def soonest_stop(self) -> float:
        return Settings().soonest_stop

    def ages(self) -> Mapping[str, float]:
        return {}

    def judge(self, specification: Specification, refused: Mapping[str, Refusal]) -> Judgement:
        raise Unavailable(_NO_CLUSTERS)

    def without(self, service: str) -> Sequence[Without]:
        raise Unavailable(_NO_CLUSTERS)

    def try_out(self, wanted: Sequence[tuple[Specification, int]]) -> Sequence[Trial]:
        raise Unavailable(_NO_CLUSTERS)

    def rebalance(self, dry_run: bool) -> Sequence[Moved]:
        raise Unavailable(_NO_CLUSTERS)

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        raise Unavailable(f"{child} is not connected to this process; try again later")

    def stream(self, child: str, method: str, params: dict[str, Any], apology: Apology) -> Source:
        raise Unavailable(f"{child} is not connected to this process; try again later")
