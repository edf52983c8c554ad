"""Users who keep changing their minds, through the API's own writer."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Literal, get_args

import msgspec

from mangrove.base.errors import NotFound
from mangrove.model.documents import ORGANIZATIONS, SERVICES, USERS
from mangrove.model.resources import Resources
from mangrove.model.specification import USUAL, Disconnect, OnReturn, Port, Specification
from mangrove.store.interface import Put, StoreUnavailable
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.changing import Changing
from root_orchestrator.api.declared import DeclaredApplication, DeclaredService
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.fleet import NoFleet
from root_orchestrator.api.views import Views
from root_orchestrator.auth.users import Caller
from tests.simulation.blunders import Blunders
from tests.simulation.disks import ShakyStore
from tests.simulation.invariants import Watch
from tests.simulation.processes import NODE_SIZE, NodeProcess, RootProcess
from tests.simulation.world import World

_APPLICATION = "app"
_CALLER = Caller("u" * 24, "user", "o" * 24, ("Application_Provider",))


#: How important the first, second, … service is; of these, who displaces nobody.
PRIORITIES = (0, 0, 100, 50, 10, 100, -10)
MODEST = 5

#: Seconds after which exclusive instances stop: less than the lease, and more.
EXCLUSIVE = (3.0, 8.0)


class Users:
    """They want at most `instances` of all services together. The API answers while the root does. exclusive: whether
    all services are."""

    def __init__(
        self,
        world: World,
        root: RootProcess,
        watch: Watch,
        rng: random.Random,
        instances: int,
        *,
        exclusive: bool = False,
    ) -> None:
        self._world = world
        self._root = root
        self._watch = watch
        self._rng = rng
        self._instances = instances
        self._exclusive = exclusive
        self._services: list[str] = []
        self._named = 0
        self._in_doubt: set[str] = set()  # slots that what is being asked for may stop
        root.true_store.apply([Put(USERS, _CALLER.id, {"name": "user"}), Put(ORGANIZATIONS, _CALLER.organization, {})])
        store = ShakyStore(root.true_store, lambda: root.trouble, root.at_write)
        catalog = Catalog(store)
        self._desired = Desired(store, catalog, world.new_id)
        self._changing = Changing(store, catalog, Views(store, catalog, NoFleet(), world.clock))
        self._declared: dict[str, DeclaredService] = {}
        dice = random.Random(f"blunders {world.seed}")
        self._blunders = Blunders(world, dice, self._desired, root.true_store, _CALLER, _APPLICATION)

    def declare(self, services: int) -> None:
        """The application; its second service runs once, its third is larger than any node, its fourth has a port, and
        its fifth is exclusive."""
        declared = [
            self._service(one_shot=n == 1, impossible=n == 2, port=n == 3, exclusive=n == 4) for n in range(services)
        ]
        self._desired.create_applications(_CALLER, [DeclaredApplication("", _APPLICATION, "ns", "", tuple(declared))])
        stored = self._root.true_store.load(SERVICES)
        self._application = str(stored[0].document["application"])
        self._services = [one.id for one in stored]
        named = {each.name: each for each in declared}
        self._declared = {one.id: named[str(one.document["name"])] for one in stored}

    def write(self) -> None:
        """One of them wants something. What the API does not acknowledge is not held against anybody."""
        if not self._root.alive or self._root.impostor or self._root.paused_until > self._world.clock.now():
            return
        if not self._root.survives(self._say):
            self._world.note("user gets no answer")
            self._watch.wanted.difference_update(self._in_doubt)
            return
        self._root.guarded(lambda: None, self._root.life)

    def blunder(self) -> None:
        """One of them makes a mistake."""
        if self._root.alive and not self._root.impostor and self._root.paused_until <= self._world.clock.now():
            there = {one.id for one in self._root.true_store.load(SERVICES)}  # a deletion may be in doubt
            with suppress(StoreUnavailable):
                self._blunders.make([service for service in self._services if service in there])

    def _say(self) -> None:
        """What is not acknowledged is not held against anybody; after a kill nobody knows what was done."""
        self._in_doubt.clear()
        try:
            self._write()
        except (NotFound, StoreUnavailable) as error:
            self._world.note(f"user is told: {error}")

    def _write(self) -> None:
        wanted = sorted(self._watch.wanted)
        if self._rng.random() < 0.04:
            self._replace_service()
        elif self._rng.random() < 0.08:
            self._change_service()
        elif self._rng.random() < 0.05:
            self._scale_service(self._rng.randint(0, self._instances))
        elif len(wanted) < self._rng.randint(0, self._instances):
            service = self._rng.choice(self._services)
            number = self._desired.add_instance(_CALLER, service)
            self._watch.wanted.add(f"{service}.{number}")
            self._watch.acknowledged([f"{service}.{number}"])
            self._world.note(f"user wants {service[:6]}.{number}")
        elif wanted:
            slot = self._rng.choice(wanted)
            service, _, number_text = slot.partition(".")
            self._in_doubt = {slot}
            self._desired.remove_instances(_CALLER, service, int(number_text))
            self._stopped([slot])

    def _replace_service(self) -> None:
        """A service is deleted, and another one declared."""
        service = self._rng.choice(self._services)
        self._in_doubt = {slot for slot in self._watch.wanted if slot.startswith(service)}
        self._desired.delete_service(_CALLER, service)
        self._services.remove(service)
        self._stopped([slot for slot in self._watch.wanted if slot.startswith(service)])
        declared = self._service()
        added = self._desired.add_services(_CALLER, self._application, [declared])
        self._services += [one.id for one in added]
        self._declared[added[0].id] = declared

    def _change_service(self) -> None:
        """Another version, which at times needs more than there is, or differs in nothing that counts."""
        service = self._rng.choice(self._services)
        known = self._declared[service]
        self._named += 1
        change = self._rng.random()
        changed = known.specification
        if change > 0.2:
            changed = msgspec.structs.replace(changed, image=f"v{self._named}")
        if change > 0.5:
            changed = msgspec.structs.replace(changed, resources=self._needs(impossible=change > 0.95))
        self._declared[service] = DeclaredService(known.name, known.namespace, changed, {"v": self._named})
        count = self._changing.change(_CALLER, service, self._declared[service])
        self._world.note(f"user changes {count} instances of {service[:6]} to v{self._named}")

    def _scale_service(self, instances: int) -> None:
        service = self._rng.choice(self._services)
        self._in_doubt = {slot for slot in self._watch.wanted if slot.startswith(service)}
        scaled = self._changing.scale(_CALLER, service, instances)
        self._watch.wanted.update(f"{service}.{number}" for number in scaled.added)
        self._world.note(f"user scales {service[:6]} to {instances}")
        self._stopped([f"{service}.{number}" for number in scaled.removed])

    def _stopped(self, slots: list[str]) -> None:
        self._watch.wanted.difference_update(slots)
        self._watch.stopped.update(slots)
        self._watch.acknowledged(slots)
        for slot in sorted(slots):
            self._world.note(f"user stops {slot[:6]}{slot[24:]}")

    def _service(
        self, *, one_shot: bool = False, impossible: bool = False, port: bool = False, exclusive: bool = False
    ) -> DeclaredService:
        self._named += 1
        name = f"s{self._named}"
        specification = Specification(
            f"app.ns.{name}.ns",
            runtime="simulated",
            resources=self._needs(impossible=impossible),
            one_shot=one_shot,
            ports=(Port(8080, 80),) if port else (),
            disconnect=self._policy(exclusive or self._exclusive),
            priority=PRIORITIES[(self._named - 1) % len(PRIORITIES)],
            preemption_policy="never" if self._named % len(PRIORITIES) == MODEST else "lower_priority",
        )
        return DeclaredService(name, "ns", specification, {})

    def _policy(self, exclusive: bool) -> Disconnect:
        """What becomes of it while its child is not heard; that of half of the services is as if nothing were said."""
        if exclusive:
            gone, on_return = self._rng.random() < 0.5, self._rng.choice(get_args(OnReturn))
            return Disconnect(None, self._rng.choice(EXCLUSIVE), gone, on_return)
        if self._rng.random() < 0.5:
            return USUAL
        lost_after: float | Literal["never"] | None = self._rng.choice([None, None, 4.0, 15.0, "never"])
        on_return = self._rng.choice(get_args(OnReturn))
        return Disconnect(lost_after, None, self._rng.random() < 0.5, on_return)

    def _needs(self, *, impossible: bool) -> Resources:
        return Resources(
            cpu=self._rng.choice([0, 200, 500, 1500, 3000]),
            memory=NODE_SIZE.memory + 1 if impossible else self._rng.choice([64, 400, 1000]),
        )


def finish_one_shots(world: World, nodes: list[NodeProcess], rng: random.Random) -> None:
    """What runs once ends with success some time after it was started."""
    for node in nodes:
        for attempt in sorted(node.runtime.running):
            if node.specifications[attempt].one_shot and rng.random() < 0.3:
                world.note(f"{attempt[:6]} on {node.name} completes")
                node.runtime.crash(attempt, 0)
