"""Instances as containers of the node's container engine: Docker, or Podman behind the same interface."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mangrove.base.clock import Clock, SystemClock
from mangrove.model.attempt import Usage
from node_engine.network import Network
from node_engine.runtimes import docker_logs, podman, processes
from node_engine.runtimes.cgroups import ControlGroups
from node_engine.runtimes.disk import DiskSizes
from node_engine.runtimes.docker_addons import addons_of
from node_engine.runtimes.docker_client import DockerClient, NotThere, Taken
from node_engine.runtimes.docker_events import DockerEvents
from node_engine.runtimes.docker_figures import Figures, figures_of_process, figures_of_stats
from node_engine.runtimes.docker_pull import pull
from node_engine.runtimes.docker_request import NO_NETWORK, container_name, request_of
from node_engine.runtimes.endings import SIGNALLED, reason_of_exit
from node_engine.runtimes.interface import (
    LABEL_ATTEMPT,
    LABEL_INSTALLATION,
    LABEL_NODE,
    Instance,
    Progress,
    RuntimeFault,
    Workload,
)
from node_engine.runtimes.printed import Line, Reading, Wish
from node_engine.runtimes.rates import CpuRates

#: Seconds for the engine to finish a removal that it is already at: long enough for a slow disk.
_REMOVAL = 10.0
#: Seconds between looks at that.
_LOOK = 0.05
#: Seconds between two looks at the sizes of containers, for which the engine walks through their files.
_SIZES_EVERY = 300.0
#: Events between two looks that are remembered one by one: more than there are containers on any node.
_CHANGED = 10_000
_MIB = 1024 * 1024
_KILLED = SIGNALLED + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class _Seen:
    """A container as last inspected. line: what the engine's list said of it then; pid: of its first process, or 0."""

    id: str
    line: str
    pid: int
    instance: Instance


def _is_apart(found: Mapping[str, Any]) -> bool:
    """Whether a container has no network of Docker's."""
    return bool(found["HostConfig"]["NetworkMode"] == NO_NETWORK)


class DockerRuntime:
    """Runs containers. host: the engine's address; empty for DOCKER_HOST, and then for the usual sockets. network:
    where instances that have addresses get their interfaces."""

    name = "docker"

    def __init__(
        self,
        installation: str,
        node: str,
        *,
        host: str = "",
        clock: Clock | None = None,
        network: Network | None = None,
    ) -> None:
        self._network = network
        self._labels = {LABEL_INSTALLATION: installation, LABEL_NODE: node}
        self._clock = clock or SystemClock()
        self._client = DockerClient(host)
        self._events: DockerEvents | None = None
        self._rates = CpuRates()
        self._sizes = DiskSizes(self._occupied, self._clock, _SIZES_EVERY)
        self._groups = ControlGroups.find("")
        self._seen: dict[str, _Seen] = {}
        # Attempts of which an event told since the last list: the engine tells of an end before its own list knows it.
        self._changed: deque[str] = deque(maxlen=_CHANGED)
        self._stopped: set[str] = set()
        self._addons: tuple[str, ...] = ()

    def available(self) -> str:
        problem = self._client.problem()
        if not problem:
            with contextlib.suppress(RuntimeFault), self._client.connected() as api:
                self._addons = addons_of(api.info())
        return problem

    @property
    def addons(self) -> Sequence[str]:
        return self._addons

    @property
    def engine(self) -> str:
        return self._client.engine

    def prepare(self, workload: Workload, progress: Progress) -> None:
        image = workload.specification.image
        if not image:
            raise RuntimeFault("image: empty, so there is no container to make", permanent=True)
        request = request_of(workload, self._labels, self._resolv(workload))
        if self._inspect(workload.attempt):
            return
        if self.engine.startswith(podman.NAME):
            podman.check(workload, local=self._client.address.startswith("unix:"))
        try:
            self._create(workload, request)
        except NotThere:
            with self._client.connected(image) as api:
                pull(api, image, progress, self._clock)
            self._create(workload, request)

    def attach(self, workload: Workload) -> None:
        """A container that was made for another network than it shall have now is made anew. It has a namespace only
        while it runs, so its interface comes with its start."""
        found = self._inspect(workload.attempt)
        if found and not found["State"]["Running"] and _is_apart(found) != bool(self._resolv(workload)):
            self.remove(workload.attempt)
            self._create(workload, request_of(workload, self._labels, self._resolv(workload)))

    def start(self, workload: Workload) -> Instance:
        attempt = workload.attempt
        found = self._inspect(attempt)
        if found is None:
            raise RuntimeFault(f"{attempt} was not prepared")
        if not found["State"]["Running"]:
            self._seen.pop(attempt, None)
            self._stopped.discard(attempt)
            with self._client.connected(workload.specification.image) as api:
                api.start(found["Id"])
            found = self._inspect(attempt) or found
        if self._network is not None and self._resolv(workload) and _is_apart(found) and found["State"]["Running"]:
            try:
                self._network.attach(workload, found["State"]["Pid"])
            except RuntimeFault:
                # Better not at all than without those that it talks to.
                self.stop(attempt, 0.0)
                raise
        return self._instance(attempt, found)

    def _resolv(self, workload: Workload) -> str:
        """Path of the resolv.conf of an instance in the network between services; empty for others."""
        joins = self._network is not None and (workload.ipv4 or workload.ipv6)
        return str(self._network.resolv) if self._network is not None and joins else ""

    def stop(self, attempt: str, grace: float) -> None:
        self._stopped.add(attempt)
        with contextlib.suppress(NotThere), self._client.connected() as api:
            api.stop(container_name(attempt), timeout=math.ceil(grace))

    def remove(self, attempt: str) -> None:
        deadline = self._clock.now() + _REMOVAL
        while True:
            try:
                with self._client.connected() as api:
                    api.remove_container(container_name(attempt), force=True, v=True)
            except NotThere:
                break
            except Taken:
                if self._clock.now() > deadline:
                    raise
                time.sleep(_LOOK)
        if self._network is not None:
            self._network.release(attempt)
        self._seen.pop(attempt, None)
        self._stopped.discard(attempt)

    def list(self) -> Sequence[Instance]:
        seen = {}
        changed = {self._changed.popleft() for _ in range(len(self._changed))}
        for line in self._lines():
            attempt = line["Labels"].get(LABEL_ATTEMPT, "")
            if attempt and (found := self._look(attempt, line, inspect=attempt in changed)):
                seen[attempt] = found
        self._seen = seen
        return [found.instance for found in seen.values()]

    def usage(self, attempts: Sequence[str]) -> dict[str, Usage]:
        if any(attempt not in self._seen for attempt in attempts):
            self.list()
        seen = self._seen
        self._rates.keep_only(seen)
        sizes = self._sizes.now()
        measured: dict[str, Usage] = {}
        for attempt in attempts:
            found = seen.get(attempt)
            if found is None or found.instance.state != "running" or not (figures := self._figures(found)):
                continue
            measured[attempt] = Usage(
                cpu=self._rates.percent(attempt, figures.cpu, self._clock.now()),
                memory=figures.memory,
                memory_percent=round(100 * figures.memory / processes.total_memory(), 2),
                disk=sizes.get(attempt, 0),
                rx=figures.rx,
                tx=figures.tx,
                measured=self._clock.wall(),
            )
        return measured

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        return docker_logs.read(self._client, container_name(attempt), wish, reading)

    def watch(self, on_change: Callable[[], None]) -> None:
        def changed(attempt: str) -> None:
            if attempt:
                self._changed.append(attempt)
            on_change()

        self._events = DockerEvents(self._client, self._labels, changed)

    def close(self) -> None:
        if self._events:
            self._events.close()
        self._client.close()

    def _create(self, workload: Workload, request: Mapping[str, Any]) -> None:
        """Make the container. Raises NotThere when its image is missing, RuntimeFault."""
        try:
            with self._client.connected(workload.specification.image) as api:
                # The SDK's stubs say nothing of this method's types.
                api.create_container_from_config(request, container_name(workload.attempt))  # type: ignore[no-untyped-call]
        except Taken:
            # By an earlier call, whose answer was lost?
            if not self._inspect(workload.attempt):
                raise

    def _inspect(self, attempt: str) -> Mapping[str, Any] | None:
        """The attempt's container, or None. Raises RuntimeFault when its name is taken by something not ours."""
        try:
            with self._client.connected() as api:
                found: Mapping[str, Any] = api.inspect_container(container_name(attempt))
        except NotThere:
            return None
        labels = found["Config"]["Labels"] or {}
        if any(labels.get(key) != value for key, value in self._labels.items()):
            raise RuntimeFault(f"a container {container_name(attempt)} is there that is not this node's: remove it")
        return found

    def _lines(self, *, sizes: bool = False) -> Sequence[Mapping[str, Any]]:
        """The engine's list of our containers. sizes: whether with what each has written."""
        labels = [f"{key}={value}" for key, value in self._labels.items()]
        with self._client.connected() as api:
            lines: Sequence[Mapping[str, Any]] = api.containers(all=True, size=sizes, filters={"label": labels})
        return lines

    def _occupied(self) -> Mapping[str, int]:
        """Bytes that each container wrote into its own layer, by attempt."""
        return {line["Labels"].get(LABEL_ATTEMPT, ""): line.get("SizeRw", 0) for line in self._lines(sizes=True)}

    def _look(self, attempt: str, line: Mapping[str, Any], *, inspect: bool) -> _Seen | None:
        """A line of the engine's list, with what only an inspection tells; that is asked once per change.

        inspect: whether there was a change, whatever the line says.
        """
        # For what ended the words begin with the exit code, as in "Exited (3) 2 hours ago".
        words = line["State"] if line["State"] == "running" else line["State"] + line["Status"].partition(")")[0]
        before = self._seen.get(attempt)
        if before and not inspect and (before.id, before.line) == (line["Id"], words):
            return before
        found = self._inspect(attempt)
        return _Seen(found["Id"], words, found["State"]["Pid"], self._instance(attempt, found)) if found else None

    def _figures(self, seen: _Seen) -> Figures | None:
        figures = figures_of_process(self._groups, seen.id, seen.pid)
        if figures is None:
            with contextlib.suppress(RuntimeFault), self._client.connected() as api:
                return figures_of_stats(api.stats(seen.id, stream=False, one_shot=True))
        return figures

    def _instance(self, attempt: str, found: Mapping[str, Any]) -> Instance:
        """An inspected container in our words."""
        state, memory = found["State"], found["HostConfig"]["Memory"] // _MIB
        # "0001-01-01T00:00:00Z" is the engine's word for never.
        began = datetime.fromisoformat(state["StartedAt"])
        started = began.timestamp() if began.year > 1 else 0.0
        if state["Status"] == "created":
            return Instance(attempt, "prepared")
        if state["Running"] or state["Restarting"]:
            return Instance(attempt, "running", started=started)
        exit_code = state["ExitCode"]
        reason = reason_of_exit(exit_code, out_of_memory=state["OOMKilled"], memory=memory)
        if memory and exit_code == _KILLED and not state["OOMKilled"] and attempt not in self._stopped:
            # A busy engine misses the kernel's word on it (Docker 20.10: one in eight times).
            reason += f", perhaps out of memory (limit {memory} MiB)"
        return Instance(attempt, "exited", exit_code, started, reason)
