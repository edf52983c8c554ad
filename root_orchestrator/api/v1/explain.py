"""Why instances are where they are, or nowhere: placement's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from threading import Lock

import msgspec

from mangrove.base.errors import Unavailable
from mangrove.model.documents import Refusal
from mangrove.model.phases import Phase
from mangrove.placement.engine import Judgement
from mangrove.roles.routes import Route
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.views import InstanceView, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS

#: Different refusals for which placement is asked; instances with the same ones share an answer, and those beyond have
#: that of the service. Each asks all of the fleet, in the one thread that also controls it.
_JUDGED = 4


class Condition(msgspec.Struct, frozen=True):
    """What one condition did: clusters that it ruled out of those that were left, and why, for people."""

    condition: str
    ruled_out: int
    text: str


class Candidate(msgspec.Struct, frozen=True):
    """A cluster that could take it. score: the highest is chosen."""

    id: str
    name: str
    score: float


class Choice(msgspec.Struct, frozen=True):
    """What placement would do just now with one more. clusters: how many there are; passed: how many could take it;
    conditions: in the order in which they were asked; best: the first few candidates."""

    clusters: int
    passed: int
    conditions: list[Condition]
    best: list[Candidate]


class SlotExplained(msgspec.Struct, frozen=True):
    """Where an instance is (cluster, node: names), or why it is nowhere. choice: where clusters refused it, what
    placement does for it, for the first few different refusals; else that of the service counts."""

    id: str
    number: int
    phase: Phase
    cluster: str | None
    node: str | None
    text: str
    choice: Choice | None


class Explained(msgspec.Struct, frozen=True):
    """A service and each of its slots."""

    id: str
    choice: Choice
    slots: list[SlotExplained]


def routes(catalog: Catalog, fleet: Fleet, views: Views) -> list[Route]:
    """The one route."""

    asking: set[str] = set()
    lock = Lock()

    @contextmanager
    def turn(asker: str) -> Iterator[None]:
        with lock:
            if asker in asking:
                raise Unavailable("you are having something explained already; wait for its answer")
            asking.add(asker)
        try:
            yield
        finally:
            with lock:
                asking.remove(asker)

    def explain(service: str) -> Explained:
        view = views.services([catalog.service(caller(), service).value])[0]
        names = {cluster.child.id: cluster.child.name for cluster in views.clusters_alone()}
        refused = {each.slot.id: each.placement.refused for each in view.instances if not each.attempt}
        questions = {_question(one): one for one in refused.values() if one}
        with turn(caller().id):
            choice = _choice(fleet.judge(view.specification, {}), names)
            choices = {
                question: _choice(fleet.judge(view.specification, one), names)
                for question, one in islice(questions.items(), _JUDGED)
            }
        own = {slot: choices.get(_question(one)) for slot, one in refused.items()}
        return Explained(
            view.service.id, choice, [_slot(each, own.get(each.slot.id), choice) for each in view.instances]
        )

    path = "/api/v1/services/<service>/explain"
    return [Route("GET", path, explain, READ_APPLICATIONS, "Explain where instances are, or why nowhere")]


def _question(refused: Mapping[str, Refusal]) -> frozenset[tuple[str, str]]:
    """What is the same where placement says the same."""
    return frozenset((cluster, refusal.reason) for cluster, refusal in refused.items())


def _slot(instance: InstanceView, own: Choice | None, choice: Choice) -> SlotExplained:
    status = instance.status
    cluster = instance.cluster.child.name if instance.cluster is not None else None
    node = (status.node_name or status.node or None) if instance.attempt else None
    return SlotExplained(
        instance.slot.id, instance.slot.number, status.phase, cluster, node, _text(instance, own or choice), own
    )


def _text(instance: InstanceView, choice: Choice) -> str:
    status = instance.status
    if status.phase is Phase.COMPLETED:
        return "has completed"
    if instance.attempt:
        where = instance.cluster.child.name if instance.cluster is not None else "a cluster that is gone"
        place = f"{status.node_name} of {where}" if status.node_name else where
        return f"is on {place}" + (f": {status.reason}" if status.reason else "")
    if status.reason:
        return f"is nowhere: {status.reason}"
    if choice.passed:
        return f"is nowhere yet: {choice.best[0].name} could take it"
    return "is nowhere: " + ("; ".join(each.text for each in choice.conditions) or "no cluster has joined yet")


def _choice(judgement: Judgement, names: dict[str, str]) -> Choice:
    return Choice(
        judgement.children,
        judgement.passed,
        [Condition(clause.condition, clause.ruled_out, clause.text) for clause in judgement.clauses],
        [Candidate(id, names.get(id, id), score) for id, score in judgement.best],
    )
