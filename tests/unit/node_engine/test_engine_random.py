"""The engine under crashes, reboots, faults, exits and changing assignments, by seed; and broken rules caught by it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import pytest

from mangrove.model.attempt import Attempt
from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Port, Specification
from mangrove.reconcile.child import STABLE_AFTER, Life, Moment, Record
from node_engine.engine import Engine
from node_engine.lookout import Lookout
from node_engine.operations import Operation, Result
from node_engine.runtimes.interface import Instance, RuntimeFault
from node_engine.state import MemoryState
from tests.unit.node_engine.engine_world import World

#: Enough for every kind of event to meet every other in most seeds, at a few milliseconds a seed.
EVENTS = 400

#: Each broken rule below is caught within a small part of these.
SEEDS = range(150)

SPECIFICATIONS = [
    Specification(name=f"{kind}-{runtime}", runtime=runtime, one_shot=kind == "job")
    for kind in ("service", "job")
    for runtime in ("docker", "process")
] + [
    Specification(name="with-port", runtime="docker", ports=(Port(8080, 80),)),
    Specification(name="crasher", runtime="process"),
]


class Crash(Exception):
    """SIGKILL, in the middle of what the engine does."""


class MortalState(MemoryState):
    """Kills the engine just before or just after it has saved, when told to."""

    dies: str = ""

    def save_records(self, records: Iterable[Record]) -> None:
        dies, self.dies = self.dies, ""
        if dies == "before":
            raise Crash
        super().save_records(records)
        if dies == "after":
            raise Crash


class Storm:
    """One seed's fate for one world."""

    def __init__(self, seed: int, make: type[Engine] = Engine) -> None:
        self.dice = random.Random(seed)
        self.state = MortalState("0" * 24)
        self.world = World(make, state=self.state)
        self.answers: list[tuple[Operation, Result]] = []

    def run(self) -> list[str]:
        """Storm, then calm; the violations seen."""
        events = [
            (30, self.tick),
            (40, self.carry_out_one),
            (40, self.answer_one),
            (20, self.a_quiet_while),
            (15, self.time_passes),
            (6, self.change_assignment),
            (6, self.instance_ends),
            (2, self.instance_vanishes),
            (1, self.prune),
            (2, self.runtime_comes_or_goes),
            (1, self.disk_fills_or_empties),
            (2, self.crash),
            (1, self.reboot),
            (2, self.die_at_the_next_save),
            (1, self.raise_an_epoch),
        ]
        chosen = self.dice.choices([event for _, event in events], [weight for weight, _ in events], k=EVENTS)
        for event in chosen:
            try:
                event()
            except Crash:
                self.crash()
        self.calm()
        return self.world.violations

    def calm(self) -> None:
        """Faults stop, and everything gets the time it needs."""
        world = self.world
        self.state.full, self.state.dies = False, ""
        for runtime in world.runtimes.values():
            runtime.fault = None
        while world.under_way:
            if not self.answers:
                self.carry_out_one()
            self.answer_one()
        world.assign()
        world.run(2 * STABLE_AFTER)
        for runtime in world.runtimes.values():
            for id in runtime.running():
                if runtime.things[id].one_shot:
                    runtime.end(id, 0)
        world.run(2 * STABLE_AFTER)
        world.check_rest()
        restarted = [id for runtime in world.runtimes.values() for id in runtime.restarted_completed]
        if restarted:
            world.violations.append(f"ran again although completed: {restarted}")

    def tick(self) -> None:
        self.world.tick()

    def carry_out_one(self) -> None:
        waiting = [one for one in self.world.under_way if all(one is not other for other, _ in self.answers)]
        if not waiting:
            return
        operation = self.dice.choice(waiting)
        result = self.world.carry_out(operation)
        if self.dice.random() < 0.05:  # done, but the answer says otherwise
            result = RuntimeFault("timed out")
        self.answers.append((operation, result))

    def answer_one(self) -> None:
        if self.answers:
            self.world.finish(*self.answers.pop(self.dice.randrange(len(self.answers))))

    def a_quiet_while(self) -> None:
        """Everything is done and answered, in some order, for a few rounds, while the runtimes tell of changes."""
        for _ in range(4):
            self.pass_time(0.2)
            self.tick()
            while self.world.under_way:
                self.dice.choice((self.carry_out_one, self.answer_one))()

    def time_passes(self) -> None:
        self.pass_time(self.dice.choice((0.05, 0.5, 2, 5, 20)))

    def pass_time(self, seconds: float) -> None:
        self.world.clock.advance_to(self.world.clock.now() + seconds)
        for name in self.world.runtimes:
            self.world.engine.poke(name, self.world.clock.now())

    def change_assignment(self) -> None:
        world = self.world
        for _ in range(self.dice.randrange(4)):
            world.want(self.dice.choice(SPECIFICATIONS))
        for id in sorted(world.desired):
            if self.dice.random() < 0.15:
                del world.desired[id]
        world.assign()

    def raise_an_epoch(self) -> None:
        for id, attempt in list(self.world.desired.items()):
            new = Attempt(id, attempt.service, attempt.number, attempt.epoch + 1, attempt.specification)
            self.world.desired[id] = new
        self.world.assign()

    def instance_ends(self) -> None:
        for runtime in self.world.runtimes.values():
            for id in sorted(runtime.running()):
                if self.dice.random() < 0.2 or runtime.workloads[id].specification.name == "crasher":
                    runtime.end(id, self.dice.choice((0, 0, 1, None)))

    def instance_vanishes(self) -> None:
        for runtime in self.world.runtimes.values():
            for id in sorted(runtime.running()):
                if self.dice.random() < 0.1:
                    del runtime.things[id]

    def prune(self) -> None:
        """Somebody cleans up what has ended, once the engine knows for good that it has."""
        for record in self.state.load_records():
            if record.phase in ENDED:
                self.world.runtimes[record.specification.runtime].things.pop(record.attempt.id, None)

    def runtime_comes_or_goes(self) -> None:
        runtime = self.world.runtimes[self.dice.choice(("docker", "process"))]
        runtime.fault = None if runtime.fault else RuntimeFault("it does not answer")

    def disk_fills_or_empties(self) -> None:
        self.state.full = not self.state.full

    def die_at_the_next_save(self) -> None:
        self.state.dies = self.dice.choice(("before", "after"))

    def crash(self) -> None:
        """What was asked for is done or not; no answer arrives any more."""
        for operation in list(self.world.under_way):
            if all(operation is not other for other, _ in self.answers) and self.dice.random() < 0.5:
                self.world.carry_out(operation)
        self.answers.clear()
        self.state.dies = ""
        self.world.crash()
        if self.dice.random() < 0.5:
            self.world.assign()

    def reboot(self) -> None:
        for runtime in self.world.runtimes.values():
            for id in sorted(runtime.running()):
                runtime.end(id, self.dice.choice((None, 137)))
        self.state.boot += "+"
        self.crash()


@pytest.mark.parametrize("first", range(0, len(SEEDS), 25))
def test_it_always_converges_and_breaks_no_rule(first: int) -> None:
    for seed in SEEDS[first : first + 25]:
        assert Storm(seed).run() == [], f"seed {seed}"


class ForgetsToSave(Engine):
    """Gives operations out first, and saves at the next occasion."""

    _late = False

    def _save(self, now: float) -> None:
        self._late = not self._late
        if self._late:
            self._on_disk = set(self._lives)
        else:
            super()._save(now)


class TakesNothingForAnAssignment(Engine):
    """Believes at its start that nothing is wanted."""

    def tick(self, now: float) -> list[Operation]:
        if self._desired is None:
            super().assign({}, {}, now)
        return super().tick(now)


class TakesSilenceForAbsence(Engine):
    """Takes a runtime that does not answer for one that runs nothing."""

    def _listed(self, operation: Operation, result: Result, moment: Moment) -> None:
        super()._listed(operation, [] if isinstance(result, RuntimeFault) else result, moment)


class BelievesOldLooks(Lookout):
    """Believes every look, even one taken before something was done."""

    def landed(self, instances: Iterable[Instance]) -> tuple[dict[str, Instance], frozenset[str]]:
        return super().landed(instances)[0], frozenset()


class HasNoLookout(Engine):
    """Uses it."""

    def tick(self, now: float) -> list[Operation]:
        for name, runtime in self._runtimes.items():
            if type(runtime) is Lookout:
                self._runtimes[name] = BelievesOldLooks()
        return super().tick(now)


class ForgetsWhatCompleted(Engine):
    """Keeps no record of what has ended well."""

    def _keep(self, life: Life) -> None:
        super()._keep(life)
        if life.record.phase is Phase.COMPLETED:
            del self._lives[life.record.attempt.id]


class StartsAnewAfterACrash(Engine):
    """Stops what it ran before its own start, to begin with a clean slate."""

    def assign(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification], now: float) -> None:
        if self._desired is None:
            for life in self._lives.values():
                if life.record.phase is Phase.RUNNING:
                    self._keep(replace(life, record=msgspec.structs.replace(life.record, phase=Phase.STOPPING)))
        super().assign(attempts, specifications, now)


@pytest.mark.parametrize(
    ("broken", "sign"),
    [
        (ForgetsToSave, "which is not on disk"),
        (TakesNothingForAnAssignment, "without an assignment"),
        (TakesSilenceForAbsence, "was said to have ended, and runs"),
        (HasNoLookout, "was said to have ended, and runs"),
        (ForgetsWhatCompleted, "ran again although completed"),
        (StartsAnewAfterACrash, "which is wanted"),
    ],
)
def test_a_broken_rule_is_caught(broken: type[Engine], sign: str) -> None:
    def caught(seed: int) -> bool:
        return any(sign in violation for violation in Storm(seed, broken).run())

    assert any(caught(seed) for seed in SEEDS)
