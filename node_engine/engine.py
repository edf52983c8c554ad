"""The node engine's core: from what shall run, what is on disk and what the runtimes show, to operations and statuses.

It has no thread, waits for nothing and talks to nobody. Whoever holds it calls `tick` after every input and not later
than `next_wake`, carries out the operations it gets (`Workers`), and hands back how each ended (`finished`). A record
is saved before the operation it allows is given out; a record that cannot be saved stops nothing that runs.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.log import about
from mangrove.model.attempt import Attempt, Status
from mangrove.model.phases import ENDED, Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.network.plan import Grant, LocalInstance, Readiness
from mangrove.reconcile import child
from mangrove.reconcile.child import Above, Life, Moment, Record, Sight
from node_engine.addresses import Addresses
from node_engine.admission import HOLDING, Admitted, Denied, PickGpus, consider
from node_engine.fuse import Fuse, MemoryFuse
from node_engine.lookout import PERIOD, Lookout
from node_engine.operations import ENDING, WIDTH, Kind, Operation, Result
from node_engine.reports import Reports
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.state import State

log = logging.getLogger(__name__)

#: Seconds between two attempts to save after one failed: soon enough when space is made, and hardly any load.
SAVE_RETRY = 5.0
#: Phases of what is on its way to run.
_TO_START = frozenset({Phase.PULLING, Phase.STARTING, Phase.BACKING_OFF})


class Engine:
    """See the module. Until the first `assign` it starts nothing and removes nothing.

    runtimes: names of what this node has. node: its id; name and address: as in a Status. pick_gpus: chooses devices.
    allocatable: what the node can give in all, where that is known. above: what those above know of this node. fuse:
    where is kept until when exclusive attempts may run, for who ends them should this engine not. grants: addresses for
    instances.
    """

    def __init__(
        self,
        state: State,
        runtimes: Iterable[str],
        clock: Clock,
        *,
        node: str,
        name: str,
        address: str,
        pick_gpus: PickGpus = lambda _asked, _taken: (),
        allocatable: Callable[[], Resources | None] = lambda: None,
        above: Callable[[], Above] = Above,
        fuse: Fuse | None = None,
        grants: Callable[[], Sequence[Grant]] = lambda: (),
    ) -> None:
        self._state = state
        self._clock = clock
        self._node, self._name, self._address = node, name, address
        self._pick_gpus = pick_gpus
        self._allocatable = allocatable
        self._above = above
        self._fuse = fuse or MemoryFuse()
        self._addresses = Addresses(grants)
        self._addresses.changed()
        self._until = dict(self._fuse.load())  # exclusive attempt → until when it may run
        self._runtimes = {runtime: Lookout() for runtime in runtimes}
        self._number = 0
        self._flying: dict[str, Operation] = {}
        self._desired: dict[str, tuple[Attempt, Specification | None]] | None = None
        now = self._moment(clock.now())
        self._lives = {record.attempt.id: child.resume(record, now) for record in state.load_records()}
        self._on_disk = set(self._lives)
        self._unsaved = False
        self._save_again = 0.0
        self._trouble = ""
        self._reports = Reports()
        self._reports.touch(self._lives)
        #: How often an attempt came into each phase.
        self.phases_entered: Counter[Phase] = Counter()

    # What comes in

    def assign(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification], now: float) -> None:
        """The complete set of what shall run here, by attempt id, and the specifications it names, by digest."""
        moment = self._moment(now)
        self._desired = {id: (it, specifications.get(it.specification)) for id, it in attempts.items()}
        for id, (attempt, specification) in self._desired.items():
            life = self._lives.get(id)
            if life is None:
                self._begin(attempt, specification, moment)
            elif attempt.epoch != life.record.attempt.epoch:  # adopted by its parent: that restarts nothing
                known = msgspec.structs.replace(life.record.attempt, epoch=attempt.epoch)
                self._keep(replace(life, record=msgspec.structs.replace(life.record, attempt=known)))
        self._remove_unclaimed(moment)

    def finished(self, operation: Operation, result: Result, now: float) -> None:
        """How an operation ended. One that was not given out by this engine, or is answered already, is ignored."""
        moment = self._moment(now)
        if operation.kind == "list":
            self._listed(operation, result, moment)
            return
        if self._flying.get(operation.attempt) is not operation:
            return
        del self._flying[operation.attempt]
        self._runtimes[operation.runtime].touched(operation.attempt, self._number)
        self._look_again(operation.attempt, self._runtimes[operation.runtime], now)
        self._reports.forget(operation.attempt)
        life = self._lives[operation.attempt]
        if isinstance(result, RuntimeFault):
            with about(operation.request):
                log.warning("%s of %s failed: %s", operation.kind, operation.attempt, result.message)
            self._keep(child.faulted(life, operation.kind, result.message, result.permanent, moment))
            self.poke(operation.runtime, now)
        elif operation.kind == "remove":
            self._drop(life, moment)
        else:
            sight = _sight(result) if isinstance(result, Instance) else None
            self._keep(child.succeeded(life, operation.kind, moment, sight))
            if operation.kind == "start" and self._lives[operation.attempt].seen is None:
                self.poke(operation.runtime, now)

    def progress(self, attempt: str, text: str, now: float) -> None:
        """A line on how the preparation of an attempt goes; lines that come too fast are left out."""
        flying = self._flying.get(attempt)
        if flying is not None and flying.kind == "prepare":
            self._reports.progress(attempt, text, now)

    def poke(self, runtime: str, now: float) -> None:
        """Something changed in a runtime: look soon."""
        there = self._runtimes.get(runtime)
        if there is not None:
            there.poke(now)

    def move(self, address: str) -> None:
        """The node has another address now."""
        if address != self._address:
            self._address = address
            self._reports.touch(self._lives)

    # What goes out

    def tick(self, now: float) -> list[Operation]:
        """Operations to carry out now; at most one at a time for an attempt, and `WIDTH` of a kind for a runtime."""
        moment = self._moment(now)
        operations = self._looks(now)
        self._measure_out(now)
        steps = self._steps(moment) if self._desired is not None else []
        self._give_addresses()
        self._save(now)
        room = {(runtime, kind): width for runtime in self._runtimes for kind, width in WIDTH.items()}
        for flying in self._flying.values():
            room[flying.runtime, flying.kind] -= 1
        for id, kind in steps:
            record = self._lives[id].record
            lane = (record.specification.runtime, kind)
            unsafe = id not in self._on_disk and kind not in ENDING
            if room[lane] <= 0 or unsafe:
                continue
            room[lane] -= 1
            workload = None if kind in ENDING else _workload(record, self._node)
            self._flying[id] = self._operation(kind, lane[0], id, workload)
            operations.append(self._flying[id])
        return operations

    def next_wake(self, now: float) -> float:
        """When `tick` has something to do even if nothing comes in before; on the clock of `now`."""
        wakes = [now + PERIOD, *(runtime.wake() for runtime in self._runtimes.values())]
        if self._unsaved:
            wakes.append(self._save_again)
        wakes.extend(child.wake(life, now) for id, life in self._lives.items() if id not in self._flying)
        wakes.extend(until for until in self._until.values() if until > now)
        return max(now, min(wakes))

    def statuses(self) -> Mapping[str, Status]:
        """What this node says about each attempt it knows."""
        return {id: self._status(life) for id, life in self._lives.items()}

    def local_instances(self) -> dict[str, LocalInstance]:
        """What runs here, or is about to, and has addresses."""
        found: dict[str, LocalInstance] = {}
        for id, life in self._lives.items():
            record = life.record
            if record.phase in HOLDING and self._has(life):
                wanted = self._desired is None or id in self._desired
                state: Readiness = "doubtful"
                if not wanted or record.phase is Phase.STOPPING:
                    state = "stopping"
                elif record.phase is Phase.RUNNING:
                    state = "ready"
                attempt, ports = record.attempt, record.specification.ports
                found[id] = LocalInstance(id, attempt.service, attempt.number, record.ipv4, record.ipv6, state, ports)
        return found

    def take_changes(self) -> tuple[dict[str, Status], set[str]]:
        """Statuses that changed since the last call, and attempts of which nothing is left here."""
        return self._reports.take(
            lambda id: self._status(self._lives[id]) if id in self._lives else None, durable=not self._unsaved
        )

    def record(self, attempt: str) -> Record | None:
        """What is known of an attempt. May be called from any thread."""
        life = self._lives.get(attempt)
        return life.record if life is not None else None

    def running_workloads(self) -> dict[str, list[str]]:
        """Attempts that run, by runtime: whose usage can be measured."""
        running: dict[str, list[str]] = {}
        for id, life in self._lives.items():
            if life.record.phase is Phase.RUNNING:
                running.setdefault(life.record.specification.runtime, []).append(id)
        return running

    def phases(self) -> Counter[Phase]:
        """How many attempts are in each phase. May be called from any thread."""
        return Counter(life.record.phase for life in list(self._lives.values()))

    def slot_of(self, attempt: str) -> tuple[str, int] | None:
        """Service and number of an attempt that is known here. May be called from any thread."""
        life = self._lives.get(attempt)
        return None if life is None else (life.record.attempt.service, life.record.attempt.number)

    @property
    def trouble(self) -> str:
        """Empty, or one line on why records cannot be saved."""
        return self._trouble

    # Looking at the runtimes

    def _looks(self, now: float) -> list[Operation]:
        looks = []
        for name, runtime in self._runtimes.items():
            if runtime.ready(now):
                looks.append(self._operation("list", name))
                runtime.begin(looks[-1], now)
            elif runtime.overdue(now):
                self._away(name, f"no answer for {now - runtime.asked:.0f} s")
        return looks

    def _listed(self, operation: Operation, result: Result, moment: Moment) -> None:
        name, runtime = operation.runtime, self._runtimes[operation.runtime]
        if runtime.look is not operation:
            return
        if result is None or isinstance(result, RuntimeFault | Instance):
            runtime.look = None
            self._away(name, result.message if isinstance(result, RuntimeFault) else "it gave no list")
            return
        if runtime.fault:
            log.info("runtime %s answers again", name)
            self._reports.touch(self._of(name))
        instances, stale = runtime.landed(result)
        for id in self._of(name):
            if id not in self._flying and id not in stale:
                life = self._lives[id]
                self._keep(child.saw(life, _sight(instances.get(id)), moment, self._may_run_until(life)))
            elif id in instances and instances[id].state == "exited":
                # It may have ended right after its start, and that was told of already: nobody will say so again.
                runtime.overlooked.add(id)
                self._look_again(id, runtime, moment.now)
        runtime.unclaimed = {id: it for id, it in instances.items() if id not in self._lives and id not in stale}
        if self._desired is not None:
            self._remove_unclaimed(moment)

    def _look_again(self, attempt: str, runtime: Lookout, now: float) -> None:
        if attempt in runtime.overlooked and attempt not in self._flying:
            runtime.overlooked.discard(attempt)
            runtime.poke(now)

    def _away(self, name: str, fault: str) -> None:
        """A runtime does not answer: nothing is concluded about what it runs, and nothing asked of it until it does."""
        if self._runtimes[name].failed(fault):
            log.warning("runtime %s does not answer: %s", name, fault)
        for id in self._of(name):
            self._keep(replace(self._lives[id], seen=None))
        self._reports.touch(self._of(name))

    def _of(self, runtime: str) -> list[str]:
        return [id for id, life in self._lives.items() if life.record.specification.runtime == runtime]

    # Lives

    def _begin(self, attempt: Attempt, specification: Specification | None, moment: Moment) -> None:
        life = child.begin(attempt, specification or Specification(name="", runtime=""), moment)
        if specification is None:
            life = child.refuse(life, f"its specification {attempt.specification} was not sent along", moment)
        runtime = self._runtimes.get(life.record.specification.runtime)
        if runtime is not None and runtime.answers:
            life = child.saw(life, _sight(runtime.unclaimed.pop(attempt.id, None)), moment)
        self._keep(life)

    def _remove_unclaimed(self, moment: Moment) -> None:
        """What we made and nobody wants any more leaves like every other attempt."""
        for name, runtime in self._runtimes.items():
            for instance in runtime.unclaimed.values():
                log.info("%s holds %s, which is not assigned to this node: it is removed", name, instance.attempt)
                attempt = Attempt(instance.attempt, service="", number=0, epoch=0, specification="")
                life = child.begin(attempt, Specification(name="", runtime=name), moment)
                self._keep(child.saw(life, _sight(instance), moment))
            runtime.unclaimed.clear()

    def _steps(self, moment: Moment) -> list[tuple[str, Kind]]:
        """The next step of every attempt, what leaves first."""
        leaving: list[tuple[str, Kind]] = []
        staying: list[tuple[str, Kind]] = []
        for id, life in list(self._lives.items()):
            if id in self._flying:
                continue
            wanted = id in (self._desired or ())
            if wanted and life.record.phase is Phase.ASSIGNED:
                life = self._admit(life, moment)
            life, step = child.next_step(life, wanted, moment, self._may_run_until(life))
            self._keep(life)
            if step == "drop":
                self._drop(life, moment)
            elif step is not None:
                (leaving if step in ENDING else staying).append((id, step))
        return leaving + staying

    def _measure_out(self, now: float) -> None:
        """Give exclusive attempts the time that those above leave them. Time counts only once the fuse has it."""
        above = self._above()
        # What is not known here, because records were lost, stays with the fuse while no assignment speaks of it.
        until = {} if self._desired is not None else {id: m for id, m in self._until.items() if id not in self._lives}
        for id, life in self._lives.items():
            if life.record.specification.disconnect.exclusive:
                until[id] = child.may_run_until(life.record, self._until.get(id, -math.inf), above, now)
        if until == self._until:
            return
        try:
            self._fuse.set({id: moment for id, moment in until.items() if moment > -math.inf})
        except OSError as error:
            log.error("exclusive instances get no more time here, since the fuse cannot be set: %s", error)
            until = {id: self._until.get(id, -math.inf) for id in until}
        self._until = until

    def _give_addresses(self) -> None:
        """What is to be started here gets addresses as soon as there are some, and others when its own are not ours any
        more. What runs has the interface that it was started with: it has no other address until it is started anew."""
        changed = self._addresses.changed()
        if not self._addresses.available:
            if changed:
                self._reports.touch(self._lives)
            return
        taken: set[str] | None = None
        for life in list(self._lives.values()):
            record = life.record
            if record.phase not in _TO_START or not self._is_detached(life) or self._has(life):
                continue
            if taken is None:
                taken = {text for each in self._lives.values() for text in (each.record.ipv4, each.record.ipv6) if text}
            chosen = self._addresses.choose(taken)
            if chosen is None:
                log.warning("there is no address left for %s", record.attempt.id)
                return
            taken.update(text for text in chosen if text)
            self._keep(replace(life, record=msgspec.structs.replace(record, ipv4=chosen[0], ipv6=chosen[1])))
        if changed:
            self._reports.touch(self._lives)

    def _is_detached(self, life: Life) -> bool:
        """Whether it is known to have no interface yet, nor one under way."""
        flying = self._flying.get(life.record.attempt.id)
        under_way = flying is not None and flying.kind in ("attach", "start")
        return life.seen is not None and not life.running and not life.attached and not under_way

    def _has(self, life: Life) -> bool:
        return self._addresses.has(life.record)

    def _may_run_until(self, life: Life) -> float:
        exclusive = life.record.specification.disconnect.exclusive
        return self._until.get(life.record.attempt.id, -math.inf) if exclusive else math.inf

    def _admit(self, life: Life, moment: Moment) -> Life:
        id, runtime = life.record.attempt.id, life.record.specification.runtime
        if life.seen is None and runtime in self._runtimes:
            return life
        desired = self._desired or {}
        others = [(other.record, other_id not in desired) for other_id, other in self._lives.items() if other_id != id]
        verdict = consider(life.record, others, self._runtimes, self._pick_gpus, self._allocatable())
        if isinstance(verdict, Admitted):
            self._reports.forget(id)
            return child.admit(life, verdict.gpus, moment)
        if isinstance(verdict, Denied):
            return child.refuse(life, verdict.reason, moment)
        self._reports.note(id, verdict.reason, moment.now)
        return life

    def _keep(self, life: Life) -> None:
        id = life.record.attempt.id
        before = self._lives.get(id)
        self._lives[id] = life
        if before is None or before.record != life.record:
            self._unsaved = True
            self._reports.touch((id,))
            if before is None or before.record.phase is not life.record.phase:
                self.phases_entered[life.record.phase] += 1
                _log_phase(life.record)

    def _drop(self, life: Life, moment: Moment) -> None:
        id = life.record.attempt.id
        del self._lives[id]
        with about(life.record.attempt.request):
            log.info("nothing is left of %s", id)
        self._reports.forget(id)
        self._unsaved = True
        self._reports.touch((id,))
        if self._desired is not None and id in self._desired:  # wanted again while it left
            self._begin(*self._desired[id], moment)

    def _save(self, now: float) -> None:
        if not self._unsaved or now < self._save_again:
            return
        try:
            self._state.save_records(life.record for life in self._lives.values())
        except OSError as error:
            self._save_again = now + SAVE_RETRY
            trouble = f"the node cannot write its state: {error.strerror or error}"
            if trouble != self._trouble:
                log.error("%s", trouble)
            self._trouble = trouble
            self._reports.touch(self._lives.keys() - self._on_disk)
            return
        self._reports.touch(self._lives.keys() - self._on_disk)
        self._on_disk = set(self._lives)
        self._unsaved, self._save_again, self._trouble = False, 0.0, ""

    # Small things

    def _moment(self, now: float) -> Moment:
        return Moment(now, self._clock.wall(), self._state.boot)

    def _operation(self, kind: Kind, runtime: str, attempt: str = "", workload: Workload | None = None) -> Operation:
        self._number += 1
        request = self._lives[attempt].record.attempt.request if attempt else ""
        return Operation(kind, runtime, self._number, attempt, workload, request)

    def _status(self, life: Life) -> Status:
        record = life.record
        reachable = record.phase in (Phase.RUNNING, Phase.STOPPING) and self._has(life)
        return Status(
            attempt=record.attempt.id,
            phase=record.phase,
            reason=self._reason(life),
            restarts=record.restarts,
            exit_code=record.exit_code,
            since=record.since,
            node=self._node,
            node_name=self._name,
            address=self._address,
            ipv4=record.ipv4 if reachable else "",
            ipv6=record.ipv6 if reachable else "",
        )

    def _reason(self, life: Life) -> str:
        id, name = life.record.attempt.id, life.record.specification.runtime
        if life.record.phase in ENDED:
            return life.record.reason
        runtime = self._runtimes.get(name)
        if runtime is None:
            return f"this node has no runtime '{name}' any more: nothing is known of what it ran"
        if runtime.fault:
            return f"runtime '{name}' does not answer: {runtime.fault}"
        if self._trouble and id not in self._on_disk:
            return self._trouble
        return self._reports.noted(id) or life.record.reason


def _log_phase(record: Record) -> None:
    with about(record.attempt.request):
        reason = f": {record.reason}" if record.reason else ""
        log.info("%s %s is %s%s", record.specification.name, record.attempt.id, record.phase, reason)


def _sight(instance: Instance | None) -> Sight:
    if instance is None:
        return Sight("absent")
    return Sight(instance.state, instance.exit_code, instance.reason, instance.started)


def _workload(record: Record, node: str) -> Workload:
    attempt = record.attempt
    environment = (
        f"HOSTNAME=instance-{attempt.number}",  # as Oakestra's node engine does
        f"MANGROVE_ATTEMPT={attempt.id}",
        f"MANGROVE_EPOCH={attempt.epoch}",
        f"MANGROVE_SERVICE={attempt.service}",
        f"MANGROVE_INSTANCE={attempt.number}",
        f"MANGROVE_NODE={node}",
    )
    return Workload(
        attempt.id,
        attempt.service,
        attempt.number,
        attempt.epoch,
        record.specification,
        environment,
        record.gpus,
        record.ipv4,
        record.ipv6,
    )
