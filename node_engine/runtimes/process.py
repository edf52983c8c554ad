"""Instances as plain processes of the node, each in a session and a folder of its own.

They outlive the engine: a supervisor (see `supervisor`) is each one's parent, and a record on disk says who that is.
There is no isolation but what limits are permitted: an instance sees the node's files and user, and its network unless
it has addresses in the one between services. So its ports are the node's, and a volume is told as
`MANGROVE_VOLUME_<n>` (from 0, the path on the node), since nothing can be mounted for it.

A folder `<attempt>` holds `work` (the instance's own), `output.log` and `output.times`, `record.json` once started,
and `exit` once ended.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mangrove.base.clock import Clock, SystemClock
from mangrove.base.files import private_folder, write_atomically
from mangrove.model.attempt import Usage
from node_engine.network import Network, entering
from node_engine.runtimes import output, processes, supervisor
from node_engine.runtimes.cgroups import ControlGroups, Group
from node_engine.runtimes.command import check_free, command_of
from node_engine.runtimes.disk import DiskSizes, size_of
from node_engine.runtimes.endings import reason_of_exit
from node_engine.runtimes.interface import Instance, Progress, RuntimeFault, Workload
from node_engine.runtimes.printed import Line, Reading, Wish
from node_engine.runtimes.rates import CpuRates
from node_engine.runtimes.watcher import Watcher

_log = logging.getLogger(__name__)

#: Seconds within which what got SIGKILL must be gone. Only a process inside the kernel, such as one waiting for a
#: broken disk, takes longer, and then waiting does not help.
_KILL_WAIT = 10.0
#: Seconds between looks at what is still there while killing: short against a person's patience, long against a look.
_LOOK = 0.02

#: Seconds between two looks at the sizes of instances on disk, each of which walks through their files.
_SIZES_EVERY = 60.0


class _Record(msgspec.Struct, frozen=True):
    """What is on disk of a start. pid, born: of the supervisor (born: clock ticks since the boot `boot`)."""

    installation: str
    node: str
    pid: int
    born: int
    boot: str
    started: float
    memory: int


@dataclass(slots=True)
class _Held:
    """An instance in memory.

    descriptor: pidfd of its supervisor while it runs, else -1. ended: how, once it has. stopping: whether all that
    belongs to it has been asked to end and still has time to. lock: for this instance's other fields.
    """

    attempt: str
    record: _Record | None = None
    descriptor: int = -1
    ended: Instance | None = None
    stopping: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


class ProcessRuntime:
    """Runs processes. folder: for instances of this engine alone; clock: for the times it tells; network: where
    instances that have addresses get a network namespace.

    limits: empty when CPU and memory limits hold, else one line on why they do not. Raises OSError when `folder`
    cannot be used.
    """

    name = "process"
    engine = ""
    addons: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        installation: str,
        node: str,
        *,
        clock: Clock | None = None,
        use_control_groups: bool = True,
        network: Network | None = None,
    ) -> None:
        self._network = network
        self._folder = private_folder(folder).absolute()
        self._installation, self._node = installation, node
        self._clock = clock or SystemClock()
        self._boot = processes.boot_id()
        self._rates = CpuRates()
        self._sizes = DiskSizes(self._occupied, self._clock, _SIZES_EVERY)
        self._rotating = threading.Lock()
        self._watcher = Watcher()
        self._closed = False
        self._groups = ControlGroups.find(f"mangrove-{installation}-{node}") if use_control_groups else None
        problem = self._groups.why_not() if self._groups else "control groups are not there or not used"
        self.limits = f"CPU and memory limits of processes are not enforced ({problem}): run as root" if problem else ""
        if problem:
            self._groups = None
            _log.warning("%s", self.limits)
        self._held: dict[str, _Held] = {}
        for entry in self._folder.iterdir():
            if entry.is_dir() and entry.name.isalnum() and (held := self._read(entry.name)):
                self._held[entry.name] = held

    @property
    def groups(self) -> str:
        """Folder that has a control group for each instance; empty when there are none."""
        return str(self._groups.group("").folders[0]) if self._groups else ""

    def available(self) -> str:
        return "" if processes.can_be_held() else "the process runtime needs Linux 5.3 or later"

    def prepare(self, workload: Workload, progress: Progress) -> None:
        work = self._path(workload.attempt) / supervisor.WORK
        command_of(workload, work)
        with _plainly():
            work.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._held.setdefault(workload.attempt, _Held(workload.attempt))

    def attach(self, workload: Workload) -> None:
        """Those that have addresses get a network namespace of their own; others use the node's network."""
        self._join(workload)

    def start(self, workload: Workload) -> Instance:
        attempt = workload.attempt
        held = self._held.get(attempt)
        if held is None:
            raise RuntimeFault(f"{attempt} was not prepared")
        if (seen := self._observe(held)).state == "running":
            return seen
        self._end(held, 0.0)
        resources, ports = workload.specification.resources, workload.specification.ports
        folder, group = self._path(attempt), self._group(attempt)
        command, environment = command_of(workload, folder / supervisor.WORK)
        command = (*self._join(workload), *command)
        environment |= self._tags(attempt)
        check_free(ports)
        records: list[_Record] = []

        def write_down(pid: int) -> None:
            process = processes.read_process(pid)
            if process is None:
                raise RuntimeFault("the supervisor of the process could not be started")
            now = self._clock.wall()
            records.append(
                _Record(self._installation, self._node, pid, process.born, self._boot, now, resources.memory)
            )
            write_atomically(folder / "record.json", msgspec.json.encode(records[0]))

        with _plainly():
            (folder / supervisor.EXIT).unlink(missing_ok=True)
            if group and self._groups:
                self._groups.make(group, resources.cpu, resources.memory)
            supervisor.launch(folder, command, environment, group.doors if group else (), write_down)
        held = self._held[attempt] = self._hold(attempt, records[0])
        return self._observe(held)

    def stop(self, attempt: str, grace: float) -> None:
        if held := self._held.get(attempt):
            self._end(held, grace)

    def remove(self, attempt: str) -> None:
        held = self._held.get(attempt)
        if held is None:
            return
        self._end(held, 0.0)
        with _plainly():
            if group := self._group(attempt):
                group.remove()
            if self._network is not None:
                self._network.release(attempt)
            with self._rotating, contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._path(attempt))
        self._held.pop(attempt, None)

    def list(self) -> Sequence[Instance]:
        self._look_at_output()
        return [self._observe(held) for held in tuple(self._held.values())]

    def usage(self, attempts: Sequence[str]) -> dict[str, Usage]:
        self._look_at_output()
        running = {
            attempt: held.record
            for attempt, held in tuple(self._held.items())
            if held.record and self._observe(held).state == "running"
        }
        self._rates.keep_only(running)
        measured = self._measure({attempt: running[attempt] for attempt in attempts if attempt in running})
        total, now, sizes = processes.total_memory(), self._clock.now(), self._sizes.now()
        return {
            attempt: Usage(
                cpu=self._rates.percent(attempt, cpu, now),
                memory=memory,
                memory_percent=round(100 * memory / total, 2),
                disk=sizes.get(attempt, 0),
                measured=self._clock.wall(),
            )
            for attempt, (cpu, memory) in measured.items()
        }

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        with _plainly(), contextlib.suppress(FileNotFoundError):
            yield from output.read(self._path(attempt) / supervisor.OUTPUT, wish, reading)

    def watch(self, on_change: Callable[[], None]) -> None:
        self._watcher.watch(on_change)

    def close(self) -> None:
        self._closed = True
        self._watcher.close()
        for held in tuple(self._held.values()):
            with held.lock:
                self._let_go(held)
        if self._groups:
            self._groups.tidy()

    # What is to be run.

    def _join(self, workload: Workload) -> tuple[str, ...]:
        """Let it join the network between services, if it has addresses there; what its command begins with."""
        if self._network is None or not (workload.ipv4 or workload.ipv6):
            return ()
        return entering(self._network.attach(workload), self._network.resolv)

    def _path(self, attempt: str) -> Path:
        if not attempt.isalnum():
            raise RuntimeFault(f"attempt {attempt!r} is not made of letters and digits", permanent=True)
        return self._folder / attempt

    def _tags(self, attempt: str) -> dict[str, str]:
        """The labels of an instance, as far as a process can have any: in its environment."""
        return {
            "MANGROVE_INSTALLATION": self._installation,
            "MANGROVE_NODE": self._node,
            "MANGROVE_ATTEMPT": attempt,
        }

    def _group(self, attempt: str) -> Group | None:
        return self._groups.group(attempt) if self._groups else None

    # What runs.

    def _read(self, attempt: str) -> _Held | None:
        """What the disk says of an instance; None if it is another engine's."""
        try:
            record = msgspec.json.decode((self._path(attempt) / "record.json").read_bytes(), type=_Record)
        except FileNotFoundError:
            return _Held(attempt)
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("the record of %s cannot be read (%s): what runs is known by its environment", attempt, error)
            return self._found(attempt)
        if (record.installation, record.node) != (self._installation, self._node):
            return None
        return self._hold(attempt, record)

    def _found(self, attempt: str) -> _Held:
        """An instance whose record is lost, by the supervisor that runs with its tags. How much memory it may use stays
        lost."""
        tags = {f"{key}={value}".encode() for key, value in self._tags(attempt).items()}
        first = next(
            (
                process
                for process in processes.all_processes()
                if process.pid == process.session
                and process.state != "Z"
                and supervisor.NAME.encode() in processes.arguments(process.pid)
                and processes.has_environment(process.pid, tags)
            ),
            None,
        )
        if first is None:
            return _Held(attempt, ended=Instance(attempt, "exited", reason="its record on disk cannot be read"))
        started = self._clock.wall() - processes.age(first)
        record = _Record(self._installation, self._node, first.pid, first.born, self._boot, started, memory=0)
        with contextlib.suppress(OSError):
            write_atomically(self._path(attempt) / "record.json", msgspec.json.encode(record))
        return self._hold(attempt, record)

    def _hold(self, attempt: str, record: _Record) -> _Held:
        """Take hold of its supervisor, if that still lives, and watch it."""
        held = _Held(attempt, record)
        if record.boot == self._boot:
            held.descriptor = processes.open_process(record.pid, record.born)
        if held.descriptor >= 0:
            self._watcher.add(held.descriptor)
        return held

    def _let_go(self, held: _Held) -> None:
        if held.descriptor >= 0:
            os.close(held.descriptor)
            held.descriptor = -1

    def _observe(self, held: _Held) -> Instance:
        """How it is now. The first look after its end also ends what it left behind."""
        with held.lock:
            if held.ended:
                return held.ended
            record = held.record
            if record is None:
                return Instance(held.attempt, "prepared")
            if self._closed:
                # Without its descriptor it would look as if it had ended, and what is left of it would be ended too.
                raise RuntimeFault("the process runtime is closed")
            if held.descriptor >= 0 and not processes.has_ended(held.descriptor):
                return Instance(held.attempt, "running", started=record.started)
            exit_code = supervisor.read_exit_code(self._path(held.attempt))
            if exit_code is None and record.boot != self._boot:
                reason = "the node was restarted"
            else:
                group = self._group(held.attempt)
                starved = group is not None and group.out_of_memory()
                reason = reason_of_exit(exit_code, out_of_memory=starved, memory=record.memory)
            if not held.stopping:
                self._kill(held)
                supervisor.reap(record.pid)
            self._let_go(held)
            held.ended = Instance(held.attempt, "exited", exit_code, record.started, reason)
            return held.ended

    def _members(self, held: _Held) -> Sequence[int]:
        """Process ids of all that belongs to it, but for the supervisor."""
        if (group := self._group(held.attempt)) and (members := group.members()):
            return members
        # No group, an empty one, or one that was not there yet when this was started.
        leader = processes.read_process(held.record.pid) if held.record else None
        if leader and held.record and (leader.born, self._boot) != (held.record.born, held.record.boot):
            leader = None
        # A session has its leader's number, which may be another's once the leader is gone (that is: reaped).
        session = leader.pid if leader else -1
        tags = {f"{key}={value}".encode() for key, value in self._tags(held.attempt).items()}
        return [
            process.pid
            for process in processes.all_processes()
            if process.pid != session
            and process.state != "Z"
            and (process.session == session or processes.has_environment(process.pid, tags))
        ]

    def _kill(self, held: _Held) -> bool:
        """Send SIGKILL once to all that belongs to it; returns whether there was anything."""
        members = self._members(held)
        group = self._group(held.attempt)
        if members and group and group.members():
            group.kill()
        elif members:
            for pid in members:
                processes.send(pid, signal.SIGKILL)
        return bool(members)

    def _end(self, held: _Held, grace: float) -> None:
        """End it and all that belongs to it. Raises RuntimeFault when something cannot be killed."""
        if self._observe(held).state == "prepared":
            return
        if grace > 0:
            self._ask_to_end(held, self._clock.now() + grace)
        deadline = self._clock.now() + _KILL_WAIT
        while self._kill(held) or self._observe(held).state == "running":
            left = deadline - self._clock.now()
            if left < _KILL_WAIT / 2 and held.record and not held.ended:
                # Nothing is left to supervise, so it hangs itself.
                processes.send(held.record.pid, signal.SIGKILL)
            if left < 0:
                raise RuntimeFault(f"processes {self._members(held)} of this instance cannot be killed")
            time.sleep(_LOOK)
        if held.record:
            supervisor.reap(held.record.pid)

    def _ask_to_end(self, held: _Held, deadline: float) -> None:
        """Send SIGTERM to all that belongs to it, and wait until all is gone or `deadline` has come."""
        held.stopping = True
        try:
            asked: set[int] = set()
            while members := self._members(held):
                # Those who were born meanwhile are asked too.
                for pid in set(members) - asked:
                    processes.send(pid, signal.SIGTERM)
                asked.update(members)
                while self._clock.now() < deadline and self._observe(held).state == "running":
                    time.sleep(_LOOK)
                if self._clock.now() >= deadline:
                    break
                time.sleep(_LOOK)
        finally:
            held.stopping = False

    def _measure(self, running: Mapping[str, _Record]) -> dict[str, tuple[float, int]]:
        """CPU seconds and bytes of memory of each, as far as they can be read."""
        measured: dict[str, tuple[float, int]] = {}
        if self._groups:
            for attempt in running:
                group = self._groups.group(attempt)
                with contextlib.suppress(OSError):
                    measured[attempt] = (group.cpu_seconds(), group.memory_bytes())
        elif running:
            by_session = {record.pid: attempt for attempt, record in running.items()}
            for process in processes.all_processes():
                if attempt := by_session.get(process.session, ""):
                    cpu, memory = measured.get(attempt, (0.0, 0))
                    measured[attempt] = (cpu + process.cpu, memory + process.memory)
        return measured

    def _occupied(self) -> Mapping[str, int]:
        return {attempt: size_of(self._path(attempt)) for attempt in tuple(self._held)}

    def _look_at_output(self) -> None:
        if self._rotating.acquire(blocking=False):
            try:
                for attempt in tuple(self._held):
                    try:
                        output.look(self._path(attempt) / supervisor.OUTPUT, self._clock.wall())
                    except OSError as error:
                        _log.warning("the output of %s could not be looked at: %s", attempt, error)
            finally:
                self._rotating.release()


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Turn the system's errors into words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RuntimeFault("no space left on this node's disk") from error
        raise RuntimeFault(f"{error.strerror or error}: {error.filename or 'process'}") from error
