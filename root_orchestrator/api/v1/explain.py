"""Why instances are where they are, or nowhere, and what would become of others: placement's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Annotated

import msgspec
from msgspec import Meta

from mangrove.base.errors import InvalidInput, MangroveError, Unavailable
from mangrove.model.documents import Mode, Refusal
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement
from mangrove.placement.trial import Trial
from mangrove.roles.routes import Route
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.foresight import foresee
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.api.oakestra.sla_form import EXAMPLE, Agreement
from root_orchestrator.api.views import InstanceView, There, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import CHANGE_APPLICATIONS, READ_APPLICATIONS

#: Different refusals for which placement is asked; instances with the same ones share an answer, and those beyond have
#: that of the service. Each asks all of the fleet, in the one thread that also controls it.
_JUDGED = 4
#: Instances that are tried at once: a second of one thread.
_TRIED = 10_000


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


class Displaced(msgspec.Struct, frozen=True):
    """An instance that would have to make room. name: of its service; null, and so is id, when that is not yours to
    see. cluster, node: names."""

    id: str | None
    name: str | None
    number: int
    priority: int
    cluster: str
    node: str


class NodeWithout(msgspec.Struct, frozen=True):
    """A node (cluster, node: names) that has no instance of a system service, and why."""

    cluster: str
    node: str
    text: str


class Explained(msgspec.Struct, frozen=True):
    """A service and each of its slots. displaces: who would make room for one more that fits nowhere, by what the
    clusters have told. without: of a system service, the nodes that have none; `choice` and `displaces` then say
    nothing of interest, for nothing is chosen."""

    id: str
    mode: Mode
    choice: Choice
    slots: list[SlotExplained]
    displaces: list[Displaced]
    without: list[NodeWithout]


class Trying(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """instances: of each service that the SLA declares."""

    instances: Annotated[int, Meta(ge=1, le=1000)] = 1


class Share(msgspec.Struct, frozen=True):
    """A cluster that would be given so many."""

    id: str
    name: str
    instances: int


class ServiceTried(msgspec.Struct, frozen=True):
    """What would become of a service. placed: instances that would fit, of `wanted`; displacing: how many of these only
    if others make room; displaces: which others, by what the clusters have told; clusters: where, most first.

    choice: what placement says of the first instance; missing: of the first that fits nowhere, null when all fit.
    """

    name: str
    wanted: int
    placed: int
    displacing: int
    displaces: list[Displaced]
    clusters: list[Share]
    choice: Choice
    missing: Choice | None


class Tried(msgspec.Struct, frozen=True):
    """What would become of an SLA. fits: whether all of it would; note: how far that can be relied on."""

    fits: bool
    note: str
    services: list[ServiceTried]


_NOTE = (
    "nothing was written; this is what the clusters have told the root, which does not know each of their nodes: "
    "a cluster may hand an instance back, and then the root tries the next one"
)


def routes(catalog: Catalog, fleet: Fleet, views: Views) -> list[Route]:
    """Of what is there, and of what is not there yet."""

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
            trials = [] if choice.passed else list(fleet.try_out([(view.specification, 1)]))
        own = {slot: choices.get(_question(one)) for slot, one in refused.items()}
        displaces = _displaced(views, catalog, [(view.specification, trial) for trial in trials])
        slots = [_slot(each, own.get(each.slot.id), choice) for each in view.instances]
        mode, without = view.service.mode, fleet.without(service) if view.service.mode == "global" else ()
        nodes = [NodeWithout(*each) for each in without]
        return Explained(view.service.id, mode, choice, slots, displaces[0] if displaces else [], nodes)

    def try_sla(query: Trying, body: Annotated[object, Agreement]) -> Tried:
        services = [service for application in read_sla(body, fleet.soonest_stop()) for service in application.services]
        if len(services) * query.instances > _TRIED:
            problem = f"is {query.instances}, of {len(services)} services each; at most {_TRIED} in all can be tried"
            raise InvalidInput("instances", problem)
        names = {cluster.child.id: cluster.child.name for cluster in views.clusters_alone()}
        with turn(caller().id):
            trials = fleet.try_out([(service.specification, query.instances) for service in services])
        named = [(service.specification, trial) for service, trial in zip(services, trials, strict=True)]
        tried = [
            _tried(specification.name, query.instances, trial, displaced, names)
            for (specification, trial), displaced in zip(named, _displaced(views, catalog, named), strict=True)
        ]
        return Tried(all(each.missing is None for each in tried), _NOTE, tried)

    one, trying = "/api/v1/services/<service>/explain", "Explain where an SLA would run, without deploying it"
    return [
        Route("GET", one, explain, READ_APPLICATIONS, "Explain where instances are, or why nowhere"),
        Route("POST", "/api/v1/explain", try_sla, CHANGE_APPLICATIONS, trying, example=EXAMPLE, reads=True),
    ]


def _displaced(views: Views, catalog: Catalog, trials: Sequence[tuple[Specification, Trial]]) -> list[list[Displaced]]:
    """Who would make room in each trial. Reads much of the store, but only when somebody would."""
    found: list[list[Displaced]] = [[] for _ in trials]
    chosen = {cluster for _, trial in trials for cluster in trial.displacing}
    if not chosen:
        return found
    there = views.where(chosen)
    for cluster in views.clusters():
        if cluster.child.id not in chosen:
            continue
        wanted = [(specification, trial.placed.get(cluster.child.id, 0)) for specification, trial in trials]
        names = {node.id: node.name for node in cluster.nodes}
        for number, victims in enumerate(foresee(cluster, there[cluster.child.id], wanted)):
            found[number] += [
                _victim(one, catalog, cluster.child.name, names.get(one.node, one.node)) for one in victims
            ]
    return found


def _victim(one: There, catalog: Catalog, cluster: str, node: str) -> Displaced:
    priority = one.specification.priority
    try:
        service = catalog.service(caller(), one.slot.service).value
    except MangroveError:  # of somebody else
        return Displaced(None, None, one.slot.number, priority, cluster, node)
    return Displaced(one.slot.id, service.name, one.slot.number, priority, cluster, node)


def _tried(name: str, wanted: int, trial: Trial, displaces: list[Displaced], names: dict[str, str]) -> ServiceTried:
    shares = sorted(trial.placed.items(), key=lambda each: -each[1])
    return ServiceTried(
        name,
        wanted,
        sum(trial.placed.values()),
        sum(trial.displacing.values()),
        displaces,
        [Share(id, names.get(id, id), count) for id, count in shares],
        _choice(trial.choice, names),
        None if trial.missing is None else _choice(trial.missing, names),
    )


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
