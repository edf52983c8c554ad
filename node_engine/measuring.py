"""The thread that measures: node and instances for the parent, capacity for the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mangrove.base.clock import Clock
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.resources import Resources
from node_engine.declared import Declared
from node_engine.runtimes.interface import Runtime, RuntimeFault
from node_engine.telemetry import Telemetry
from node_engine.telemetry.dead_band import DeadBand

log = logging.getLogger(__name__)

#: Seconds between two looks at what the node has: memory and cores do not change, runtimes come and go.
_CAPACITY_PERIOD = 15.0
#: Seconds after a start at which it is measured, and once more after as long: processor time needs two readings.
_SOON, _READINGS = 1.0, 2


class Measuring:
    """Measures every `period()` seconds.

    running: attempts that run, by runtime. session: id of the settled session with the parent, empty without one; a new
    one is told all. tell: called after each measurement with what is worth telling of it.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        runtimes: Mapping[str, Runtime],
        clock: Clock,
        *,
        declared: Declared,
        running: Callable[[], Mapping[str, Sequence[str]]],
        period: Callable[[], float],
        session: Callable[[], str],
        tell: Callable[[dict[str, Usage]], None],
        on_capacity: Callable[[], None],
    ) -> None:
        self._telemetry = telemetry
        self._runtimes = runtimes
        self._clock = clock
        self._declared = declared
        self._running = running
        self._period = period
        self._session = session
        self._told_session = ""
        self._tell = tell
        self._on_capacity = on_capacity
        self._band = DeadBand()
        self._looked = clock.now()
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measuring", daemon=True)
        self.usage: dict[str, Usage] = {}
        self.capacity = self._look()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being measured just now is given up."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(5.0)

    def soon(self) -> None:
        """Something has begun to run: measure it within seconds, whatever the period. May be called from any thread."""
        self._woken.set()

    def pick_gpus(self, asked: Resources, taken: frozenset[str]) -> tuple[str, ...]:
        """See admission.PickGpus."""
        return self._telemetry.pick_gpus(asked, taken)

    def _run(self) -> None:
        readings = 0  # to take in short order
        while not self._stopping.is_set():
            if self._woken.wait(_SOON if readings else self._period()):
                readings = _READINGS
                if self._stopping.wait(_SOON):  # what starts meanwhile is measured with it
                    return
                self._woken.clear()
            readings = max(0, readings - 1)
            try:
                self._measure()
            except Exception:
                log.exception("measuring failed; it is tried again")

    def _measure(self) -> None:
        usage = {"": self._telemetry.usage()}
        for name, attempts in self._running().items():
            try:
                usage.update(self._runtimes[name].usage(attempts))
            except RuntimeFault as fault:
                log.debug("%s cannot be measured: %s", name, fault)
        self.usage = usage
        session = self._session()
        if session and session != self._told_session:
            self._told_session = session
            self._band = DeadBand()  # whoever listens now may know nothing
        self._tell(self._band.worth_telling(usage))
        now = self._clock.now()
        if now - self._looked >= _CAPACITY_PERIOD:
            self._looked = now
            capacity = self._look()
            if capacity != self.capacity:
                self.capacity = capacity
                self._on_capacity()

    def _look(self) -> Capacity:
        """What the node can allocate now, and by which runtimes."""
        there, engines, addons = [], {}, set[str]()
        for name, runtime in self._runtimes.items():
            problem = runtime.available()
            if problem:
                log.warning("runtime %s cannot be used: %s", name, problem)
            else:
                there.append(name)
                addons.update(runtime.addons)
                if runtime.engine:
                    engines[name] = runtime.engine
        measured = self._telemetry.capacity()
        measured = msgspec.structs.replace(
            measured, runtimes=tuple(sorted(there)), engines=engines, addons=tuple(sorted(addons))
        )
        return self._declared.told(measured)
