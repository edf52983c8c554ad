"""A child's loop over its attempts: pure functions that say what to do next with one attempt, and what follows from it.

    prepare → attach → start → (running) ─ exit ─→ completed, or backing_off → started again in place, or failed
    no longer wanted: stop → remove → dropped
    exclusive, and those above do not hear of it: kill → backing_off, until they do

Nothing here waits, runs or asks the time. A `Life` is one attempt as the child knows it: its `Record` (kept on disk)
and what it has seen since it woke up. The caller feeds in what it sees (`saw`) and how steps ended (`succeeded`,
`faulted`), saves a changed record, and only then carries out what `next_step` allows. Every step may be repeated, so
what was under way when the child was killed is found out by looking, never by remembering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import msgspec

from mangrove.model.attempt import Attempt
from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Specification

#: Delay before the first repetition, in seconds; doubled with each failure in a row. Short, since most crashes at the
#: edge are of the moment (a device that is not there yet) and a user watches the first seconds.
FIRST_DELAY = 1.0

#: Longest delay between repetitions, in seconds: what a person is willing to wait after having mended the cause.
LONGEST_DELAY = 60.0

#: Failures in a row after which the child gives up: about half a minute of trying (1+2+4+8+16 s), after which another
#: child is the better bet and the parent may look for one.
MAX_FAILURES = 6

#: Seconds of running after which earlier failures no longer count. Longer than all the delays of one series together,
#: so that a service that dies soon after each start does reach `MAX_FAILURES`.
STABLE_AFTER = 60.0

#: What can be done with an attempt. `kill`: end it at once. `drop`: nothing was ever made of it, so its record can
#: simply go.
Step = Literal["prepare", "attach", "start", "stop", "kill", "remove", "drop"]

_WAITS = "waits for word from above, since it must never run twice"


class Above(NamedTuple):
    """What those above this child know of it.

    vouched: the newest moment (on the child's clock) of which it is known that all of them heard of this child since.
    settled: whether its parent has said in this session what shall run here.
    """

    vouched: float = -math.inf
    settled: bool = False


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept on disk of an attempt. No deadlines: the clock they are measured with does not survive a reboot.

    since: wall-clock seconds at which the phase began. failures: in a row. exit_code: of the newest end, None while it
    runs. ended: `started` of the newest end that was dealt with, so that it is not taken for a new one. gpus: device
    ids given to it. boot: id of the boot in which it was last started. ipv4, ipv6: its own addresses in the network
    between services; empty where it has none.
    """

    attempt: Attempt
    specification: Specification
    phase: Phase = Phase.ASSIGNED
    reason: str = ""
    since: float = 0.0
    restarts: int = 0
    failures: int = 0
    exit_code: int | None = None
    ended: float | None = None
    gpus: tuple[str, ...] = ()
    boot: str = ""
    ipv4: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the runtime showed of an attempt. exit_code, reason: of an end, as far as the runtime knows them. started:
    when its newest start was, by whatever clock; it tells starts apart, nothing more.
    """

    state: Literal["absent", "prepared", "running", "exited"]
    exit_code: int | None = None
    reason: str = ""
    started: float = 0.0


class Moment(NamedTuple):
    """When something happens: `now` on the child's own clock and `wall` for people (seconds), and the boot's id."""

    now: float
    wall: float
    boot: str


@dataclass(frozen=True, slots=True)
class Life:
    """An attempt as its child knows it. All but `record` is forgotten when the child stops.

    seen: None until the runtime has been looked at, and again after a failed step. attached: to the network, since the
    last end. not_before: earliest moment of the next step. running_since: when it was first seen running. tries: failed
    stops and removals in a row. doomed: why it is given up, which is said only when it is seen not to run.
    """

    record: Record
    seen: Sight | None = None
    attached: bool = False
    not_before: float = 0.0
    running_since: float | None = None
    tries: int = 0
    doomed: str = ""

    @property
    def running(self) -> bool:
        return self.seen is not None and self.seen.state == "running"


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (min(failures, 16) - 1)) if failures > 0 else 0.0


def begin(attempt: Attempt, specification: Specification, moment: Moment) -> Life:
    """The life of an attempt that was just assigned."""
    return Life(Record(attempt, specification, since=moment.wall))


def resume(record: Record, moment: Moment) -> Life:
    """The life of an attempt whose record was found on disk. A delay that was under way begins anew."""
    waiting = record.phase in (Phase.PULLING, Phase.STARTING, Phase.BACKING_OFF)
    return Life(record, not_before=moment.now + back_off(record.failures) if waiting else 0.0)


def admit(life: Life, gpus: tuple[str, ...], moment: Moment) -> Life:
    """The child takes an assigned attempt on, with these devices."""
    return replace(life, record=_moved(life.record, Phase.PULLING, moment, gpus=gpus))


def refuse(life: Life, reason: str, moment: Moment) -> Life:
    """The child cannot run it; final."""
    return replace(life, record=_moved(life.record, Phase.REFUSED, moment, reason=reason))


def saw(life: Life, sight: Sight, moment: Moment, until: float = math.inf) -> Life:
    """What follows from a look at the runtime, taken while no step was under way. until: as `may_run_until` says."""
    record = life.record
    life = replace(life, seen=sight, attached=life.attached and sight.state != "absent")
    if record.phase in ENDED or record.phase is Phase.STOPPING:
        return life
    if sight.state == "running":
        return _runs(life, moment)
    if record.phase is Phase.RUNNING or (sight.state == "exited" and sight.started != record.ended):
        return _ended(life, sight, moment, until)
    return life


def may_run_until(record: Record, before: float, above: Above, now: float) -> float:
    """Until when an attempt may run here; `before` is what this said last, or -inf. Infinite if it is not exclusive.

    Those above replace it only when they have not heard of this child for longer than that. One whose time has run out
    is stopped, and gets time again only when the parent has said since that it is still wanted here.
    """
    limit = record.specification.disconnect.stop_on_child_after
    if limit is None:
        return math.inf
    stopped = record.phase not in (Phase.RUNNING, Phase.STOPPING)
    return max(before, above.vouched + limit) if now < before or (above.settled and stopped) else before


def next_step(life: Life, wanted: bool, moment: Moment, until: float = math.inf) -> tuple[Life, Step | None]:
    """The one step to take now, or None, and the life as it is once that step is allowed.

    until: as `may_run_until` says. A changed record must be on disk before the step is taken. An assigned attempt waits
    for `admit` or `refuse`.
    """
    phase = life.record.phase
    absent = life.seen is None or life.seen.state == "absent"
    leaving = not wanted or phase is Phase.STOPPING  # a stop once begun is finished
    if leaving and absent and phase in (Phase.ASSIGNED, Phase.REFUSED):
        return life, "drop"
    if leaving and phase is not Phase.STOPPING and phase not in ENDED:
        life = replace(life, record=_moved(life.record, Phase.STOPPING, moment), not_before=0.0)
    if life.seen is None or moment.now < life.not_before:
        return life, None
    if life.running and moment.now >= until:
        return life, "kill"
    if leaving:
        return life, "stop" if life.running else "remove"
    if phase in ENDED:
        return life, "stop" if life.running else None
    if phase in (Phase.ASSIGNED, Phase.RUNNING):
        return life, None
    if life.doomed:
        return replace(life, record=_moved(life.record, Phase.FAILED, moment, reason=life.doomed)), None
    if moment.now >= until and not (absent and phase is Phase.PULLING):
        return _waiting(life, moment), None
    if phase is Phase.BACKING_OFF:
        phase = Phase.PULLING if absent else Phase.STARTING
        life = replace(life, record=_moved(life.record, phase, moment, restarts=life.record.restarts + 1))
    if absent:
        return life, "prepare"
    if phase is not Phase.STARTING or life.record.boot != moment.boot:
        life = replace(life, record=_moved(life.record, Phase.STARTING, moment, boot=moment.boot))
    return life, "start" if life.attached else "attach"


def succeeded(life: Life, step: Step, moment: Moment, sight: Sight | None = None) -> Life:
    """What follows from a step that was done; `sight` is what `start` found. After `remove` the life is over."""
    if step == "prepare":
        return replace(life, seen=Sight("prepared"))
    if step == "attach":
        return replace(life, attached=True)
    if step == "start":
        if sight is None or sight.state not in ("running", "exited"):
            return faulted(life, step, "it did not start", False, moment)
        return saw(replace(life, record=msgspec.structs.replace(life.record, ended=None)), sight, moment)
    if step == "kill" and life.record.phase is not Phase.STOPPING and life.record.phase not in ENDED:
        started = life.seen.started if life.seen is not None else None
        return replace(_cut_off(life, moment), seen=Sight("exited", started=started or 0.0))
    return replace(life, seen=Sight("exited"), tries=0)


def faulted(life: Life, step: Step, problem: str, permanent: bool, moment: Moment) -> Life:
    """What follows from a step that failed. It may have been done all the same, so the runtime is looked at first.

    permanent: whether trying again here cannot help. A failed stop or removal is tried again for as long as it takes.
    """
    record = life.record
    life = replace(life, seen=None)
    if step in ("stop", "kill", "remove"):
        if record.phase is Phase.STOPPING:
            record = msgspec.structs.replace(record, reason=f"cannot {step} it yet: {problem}")
        tries = life.tries + 1
        return replace(life, record=record, tries=tries, not_before=moment.now + back_off(tries))
    failures = record.failures + 1
    if permanent or failures >= MAX_FAILURES:
        doomed = problem if permanent else _given_up(problem, failures)
        record = _moved(record, record.phase, moment, reason=doomed, failures=failures)
        return replace(life, record=record, doomed=doomed)
    return _again(life, record.phase, problem, failures, moment)


def wake(life: Life, now: float) -> float:
    """When time alone lets the next step be taken; infinite if it waits for something else."""
    return life.not_before if life.seen is not None and life.not_before > now else float("inf")


def _runs(life: Life, moment: Moment) -> Life:
    record = life.record
    since = moment.now if life.running_since is None else life.running_since
    if record.phase is not Phase.RUNNING or record.boot != moment.boot:
        restarts = record.restarts + (record.phase is Phase.BACKING_OFF)  # not by us, but it was started again
        record = _moved(record, Phase.RUNNING, moment, restarts=restarts, exit_code=None, ended=None, boot=moment.boot)
    if record.failures and moment.now - since >= STABLE_AFTER:
        record = msgspec.structs.replace(record, failures=0)
    return replace(life, record=record, not_before=0.0, running_since=since, doomed="")


def _waiting(life: Life, moment: Moment) -> Life:
    """It must not be started now; that is said behind what is said of it already."""
    record = life.record
    if record.reason.endswith(_WAITS):
        return life
    reason = f"{record.reason}; {_WAITS}" if record.reason else _WAITS
    return replace(life, record=_moved(record, record.phase, moment, reason=reason))


def _cut_off(life: Life, moment: Moment) -> Life:
    """It was stopped because its time had run out, through no fault of its own."""
    limit = life.record.specification.disconnect.stop_on_child_after
    ended = life.seen.started if life.seen is not None else life.record.ended
    reason = f"stopped, since nobody above was heard for {limit:g} s; {_WAITS}"
    record = _moved(life.record, Phase.BACKING_OFF, moment, reason=reason, ended=ended)
    return replace(life, record=record, attached=False, running_since=None, not_before=0.0, tries=0)


def _ended(life: Life, sight: Sight, moment: Moment, until: float) -> Life:
    ended = sight.started if sight.state == "exited" else None
    record = msgspec.structs.replace(life.record, exit_code=sight.exit_code, ended=ended)
    ran = 0.0 if life.running_since is None else moment.now - life.running_since
    life = replace(life, record=record, attached=False, running_since=None)
    if record.specification.one_shot and sight.exit_code == 0:
        return replace(life, record=_moved(record, Phase.COMPLETED, moment), not_before=0.0)
    if record.boot and record.boot != moment.boot:  # it fell with the machine, through no fault of its own
        record = _moved(record, Phase.BACKING_OFF, moment, reason="the node was restarted")
        return replace(life, record=record, not_before=0.0)
    if moment.now >= until:
        return _cut_off(life, moment)
    failures = 1 if ran >= STABLE_AFTER else record.failures + 1
    if failures >= MAX_FAILURES:
        record = _moved(record, Phase.FAILED, moment, reason=_given_up(_why(sight), failures), failures=failures)
        return replace(life, record=record, not_before=0.0)
    return _again(life, Phase.BACKING_OFF, _why(sight), failures, moment)


def _again(life: Life, phase: Phase, problem: str, failures: int, moment: Moment) -> Life:
    """Stay at `phase` until the delay is over."""
    delay = back_off(failures)
    reason = f"{problem}; failure {failures} of {MAX_FAILURES}, tried again after {delay:g} s"
    record = _moved(life.record, phase, moment, reason=reason, failures=failures)
    return replace(life, record=record, not_before=moment.now + delay)


def _given_up(problem: str, failures: int) -> str:
    return f"{problem}; given up after {failures} failures in a row"


def _why(sight: Sight) -> str:
    if sight.reason:
        return sight.reason
    if sight.state != "exited":
        return "it disappeared from its runtime"
    return "ended with unknown exit code" if sight.exit_code is None else f"exit code {sight.exit_code}"


def _moved(record: Record, phase: Phase, moment: Moment, *, reason: str = "", **changes: Any) -> Record:
    since = record.since if phase is record.phase else moment.wall
    return msgspec.structs.replace(record, phase=phase, reason=reason, since=since, **changes)
