"""Users who ask for what is wrong, is not there, or is not theirs: they are told so, and nothing is changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from mangrove.base.errors import InvalidInput, MangroveError
from mangrove.store.interface import StoreUnavailable
from mangrove.store.memory import MemoryStore
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.auth.users import Caller
from tests.simulation.world import InvariantBroken, World

#: What is asked for, and what the answer must name.
Blunder = tuple[Callable[[], object], str]

_SERVICE = {"microservice_name": "web", "microservice_namespace": "ns", "virtualization": "container", "code": "web"}
_APPLICATION = {"application_name": "other", "application_namespace": "ns", "microservices": [_SERVICE]}
_AGREEMENT = {"sla_version": "v2.0", "customerID": "", "applications": [_APPLICATION]}

#: Fields of a microservice, each with what it cannot be.
_WRONG: Sequence[tuple[str, object]] = (
    ("microservice_name", ""),
    ("microservice_name", "two words"),
    ("virtualization", 7),
    ("code", " "),
    ("memory", -1),
    ("memory", "100MB"),
    ("vcpus", 1.5),
    ("vgpus", None),
    ("port", "65536:80"),
    ("port", "80:80;80:81"),
    ("environment", ["KEY"]),
    ("cmd", "sleep 1"),
    ("one_shot", "yes"),
    ("arch", "amd64"),
    ("constraints", [{"type": "geo", "threshold": -1}]),
    ("disconnect", {"lost_after": -1}),
    ("disconnect", {"lost_after": 1, "stop_on_child_after": 60}),
    ("resources", {"tpu": 0}),
)


class Blunders:
    """Somebody who makes one mistake after the other. owner: who has the application of that name."""

    def __init__(
        self, world: World, rng: random.Random, desired: Desired, store: MemoryStore, owner: Caller, application: str
    ) -> None:
        self._world = world
        self._rng = rng
        self._desired = desired
        self._store = store
        self._owner = owner
        self._application = application

    def make(self, services: Sequence[str]) -> None:
        """One mistake. services: ids of those that are there. Raises StoreUnavailable when nobody can answer."""
        kinds = (self._wrong_field, self._wrong_field, self._half_right, self._not_there, self._not_theirs)
        kind = self._rng.choice(kinds)
        ask, named = kind(services)
        self._world.note(f"user blunders: {kind.__name__.strip('_')}, {named}")
        number = 9 if kind == self._not_theirs else 10
        before = self._store.revision()
        try:
            ask()
        except StoreUnavailable:
            raise
        except MangroveError as error:
            if named not in error.message or (isinstance(error, InvalidInput) and named not in error.field):
                raise InvariantBroken(number, f"{named} is wrong, and the answer is: {error.message}") from error
        else:
            raise InvariantBroken(number, f"{named} is wrong, and nobody says so")
        if self._store.revision() != before:
            raise InvariantBroken(number, f"{named} is wrong, which was said, and something was changed")

    def _wrong_field(self, services: Sequence[str]) -> Blunder:
        agreement: dict[str, Any] = deepcopy(_AGREEMENT)
        field, value = self._rng.choice(_WRONG)
        agreement["applications"][0]["microservices"][0][field] = value
        return lambda: self._create(agreement), f"applications[0].microservices[0].{field}"

    def _half_right(self, services: Sequence[str]) -> Blunder:
        """The first application is as it should be, and the name of the second is taken."""
        agreement: dict[str, Any] = deepcopy(_AGREEMENT)
        agreement["applications"].append({**_APPLICATION, "application_name": self._application})
        return lambda: self._create(agreement), self._application

    def _not_there(self, services: Sequence[str]) -> Blunder:
        if services and self._rng.random() < 0.5:
            service = self._rng.choice(list(services))
            return lambda: self._desired.remove_instances(self._owner, service, 10**6), "1000000"
        unknown = "0" * 24
        return lambda: self._desired.add_instance(self._owner, unknown), unknown

    def _not_theirs(self, services: Sequence[str]) -> Blunder:
        stranger = Caller("s" * 24, "stranger", "p" * 24, self._owner.roles)
        service = self._rng.choice(list(services)) if services else "0" * 24
        return lambda: self._desired.delete_service(stranger, service), service

    def _create(self, agreement: object) -> None:
        self._desired.create_applications(self._owner, read_sla(agreement))
