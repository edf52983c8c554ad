"""A program that plays many nodes to one cluster: production state machines on connections of their own.

    python -m benchmarks.load --cluster ADDRESS --token TOKEN --nodes 1000 --period 2 --runtime process

Each node joins over HTTP, connects to the broker, and reports its usage once a period, beside its beats. What it is
given starts, and runs a little later; nothing is really run. Each line of standard input is answered by a line of JSON,
the `Counters`; after the line `quiet` there are no more reports of usage.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import math
import queue
import random
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psutil

from mangrove import __version__
from mangrove.base.clock import SystemClock
from mangrove.base.ids import new_id
from mangrove.client.join import join
from mangrove.identity.messages import JoinReply, JoinRequest, new_join_key
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import ACK, BEAT, PROTOCOL, REPORT, STATUS
from mangrove.link.sync import Source
from mangrove.link.transports.interface import Broker, Received, TransportEvent
from mangrove.link.transports.mqtt import MqttChildTransport
from mangrove.model.attempt import Attempt, Status, Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.roles.child import ChildRole, Held

#: Joins under way at once: as many as the cluster has threads for HTTP.
_JOINING = 4
#: Connections begun in a second, so that the fleet comes up in an orderly way.
_CONNECTING = 200.0
#: Seconds between two looks at a node that asks for none: no busy waiting for what is overdue.
_SHORTEST = 0.01
#: Seconds from the start of an instance until it runs: about what a process takes. Both are told.
_STARTING = 0.05
_MIB = 2**20

_Events = queue.SimpleQueue["tuple[int, TransportEvent] | str"]


class Counters(msgspec.Struct):
    """Since the start. settled: nodes that are connected and have an assignment. connects: connections that nodes have
    begun. unsent: messages that the transport did not take. latencies: since the last answer, seconds from each beat
    until its acknowledgement was heard. told: reports of each node. running: instances that run now."""

    settled: int = 0
    connects: int = 0
    reports: int = 0
    beats: int = 0
    unsent: int = 0
    latencies: list[float] = []
    told: list[int] = []
    running: int = 0


class Nowhere:
    """The memory of a child that never starts again (`roles.child.Memory`)."""

    def load(self) -> Held | None:
        return None

    def save(self, held: Held, removed: frozenset[str]) -> None:
        pass


class Player:
    """One node. events: where its transport puts what happens, with the node's number. runtime: the one it has."""

    def __init__(self, number: int, joined: JoinReply, counters: Counters, events: _Events, runtime: str) -> None:
        self._counters = counters
        self._clock = SystemClock()
        self._connection = MqttChildTransport(joined.parent, joined.child, lambda event: events.put((number, event)))
        identity = ChildIdentity(
            joined.parent, joined.child, bytes.fromhex(joined.link_key), joined.name, __version__, 1, f"boot{number}"
        )
        self.capacity = Capacity(
            Resources(cpu=4000, memory=4096, disk=16384), architectures=("arm64",), runtimes=(runtime,)
        )
        self._name = joined.name
        self._statuses = Source(STATUS)
        self._starting: deque[tuple[float, str]] = deque()  # (when it runs, attempt), in order
        self.due = 0.0  # when it wants to be called again
        self.told = 0
        self.role = ChildRole(
            identity,
            [Broker(access.url, access.username, access.password) for access in joined.brokers],
            Nowhere(),
            self,
            self._clock,
            store=joined.store,
            new_session=new_id,
            rng=random.Random(number),
            channels=(self._statuses,),
            capacity=lambda: self.capacity,
            on_assignment=self._assigned,
        )

    def heard(self, event: TransportEvent) -> None:
        """Something happened on the connection."""
        before = self.role.link.lease_until
        self.role.handle(event)
        if isinstance(event, Received) and event.kind == ACK and self.role.link.lease_until > before:
            # The lease runs from the moment at which the acknowledged beat was sent.
            sent = self.role.link.lease_until - self.role.link.lease
            self._counters.latencies.append(self._clock.now() - sent)

    def work(self) -> None:
        self.role.hear()
        now, runs = self._clock.now(), []
        while self._starting and self._starting[0][0] <= now:
            runs.append(self._starting.popleft()[1])
        self._tell(runs, Phase.RUNNING)
        self.role.speak()

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest."""
        return min(self.role.next_wake(), self._starting[0][0] if self._starting else math.inf)

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: object) -> None:
        known = self._statuses.ids
        self._statuses.change({}, known - attempts.keys())
        self._starting = deque(each for each in self._starting if each[1] in attempts)
        new = [attempt for attempt in attempts if attempt not in known]
        self._tell(new, Phase.STARTING)
        runs = self._clock.now() + _STARTING
        self._starting.extend((runs, attempt) for attempt in new)

    def _tell(self, attempts: Sequence[str], phase: Phase) -> None:
        wall = self._clock.wall()
        node = self.role.link.identity.child
        self._statuses.change({id: Status(id, phase, since=wall, node=node, node_name=self._name) for id in attempts})

    @property
    def running(self) -> int:
        """Instances that run."""
        return len(self._statuses) - len(self._starting)

    def report(self) -> None:
        """Say what is measured: all of it moves, as a dead band would let pass."""
        if self.role.link.state != "settled":
            return
        self.told += 1
        usage = Usage(
            cpu=round(100 * random.random(), 1),
            memory=self.told * _MIB,  # so that it can be seen how many came through
            memory_percent=round(100 * random.random(), 1),
            disk=random.randrange(16384) * _MIB,
            rx=self.told * 100_000,
            tx=self.told * 100_000,
            load=round(4 * random.random(), 2),
            measured=self._clock.wall(),
        )
        self.role.link.send_usage({"": usage})

    # The transport that the role speaks to: the real one, counted.

    def open(self, broker: Broker, will: bytes) -> None:
        self._counters.connects += 1
        self._connection.open(broker, will)

    def send(self, kind: str, payload: bytes, qos: int) -> bool:
        sent = self._connection.send(kind, payload, qos)
        if not sent:
            self._counters.unsent += 1
        elif kind == BEAT:
            self._counters.beats += 1
        elif kind == REPORT:
            self._counters.reports += 1
        return sent

    def close(self) -> None:
        self._connection.close()


class Load:
    """The process that plays nodes, as its starter sees it."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self.process = psutil.Process(popen.pid)

    def counters(self, line: str = "count") -> Counters:
        """What it has counted. Raises RuntimeError when it has ended."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        print(line, file=self._popen.stdin, flush=True)
        answer = self._popen.stdout.readline()
        if not answer:
            raise RuntimeError("the process that plays the nodes has ended; its words are above")
        return msgspec.json.decode(answer, type=Counters)


@contextlib.contextmanager
def playing(cluster: str, token: str, nodes: int, period: float, runtime: str) -> Iterator[Load]:
    """A process that plays so many nodes to the cluster at this address. See the module."""
    command = [sys.executable, "-m", "benchmarks.load", "--cluster", cluster, "--token", token]
    with subprocess.Popen(
        [*command, "--nodes", str(nodes), "--period", str(period), "--runtime", runtime],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as popen:
        try:
            yield Load(popen)
        finally:
            popen.kill()


class Fleet:
    """All nodes, driven by one thread. events: of all transports, with the node's number; or a line of input."""

    def __init__(self, joined: Sequence[JoinReply], period: float, runtime: str) -> None:
        self.events: _Events = queue.SimpleQueue()
        self._counters = Counters()
        self._clock = SystemClock()
        self._period = period
        self._players = [Player(number, one, self._counters, self.events, runtime) for number, one in enumerate(joined)]
        begun = self._clock.now()
        # Nodes begin one after the other, and report so ever after.
        for number, player in enumerate(self._players):
            player.due = begun + number / _CONNECTING
        self._wakes = [(player.due, number) for number, player in enumerate(self._players)]
        self._reports = [(begun + period * number / len(joined), number) for number in range(len(joined))]

    def run(self) -> None:
        """For ever."""
        while True:
            due = min(self._wakes[0][0], self._reports[0][0])
            with contextlib.suppress(queue.Empty):
                self._take(self.events.get(timeout=max(0.0, due - self._clock.now())))
            now = self._clock.now()
            while self._wakes[0][0] <= now:
                moment, number = heapq.heappop(self._wakes)
                if moment == self._players[number].due:  # else it has another one
                    self._work(number)
            while self._reports[0][0] <= now:
                moment, number = heapq.heappop(self._reports)
                heapq.heappush(self._reports, (moment + self._period, number))
                self._players[number].report()
                self._work(number)

    def _take(self, event: tuple[int, TransportEvent] | str) -> None:
        if isinstance(event, str):
            if event == "quiet":
                self._reports = [(math.inf, 0)]
            self._answer()
            return
        number, what = event
        self._players[number].heard(what)
        self._work(number)

    def _answer(self) -> None:
        counters = self._counters
        counters.settled = sum(player.role.link.state == "settled" for player in self._players)
        counters.told = [player.told for player in self._players]
        counters.running = sum(player.running for player in self._players)
        print(msgspec.json.encode(counters).decode(), flush=True)
        counters.latencies.clear()

    def _work(self, number: int) -> None:
        """Let a node do what is due, and note when it wants to be called again."""
        player = self._players[number]
        player.work()
        due = max(player.next_wake(), self._clock.now() + _SHORTEST)
        if due != player.due:
            player.due = due
            heapq.heappush(self._wakes, (due, number))


def main() -> None:
    """Join, connect and report until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("--cluster", required=True, metavar="ADDRESS")
    parser.add_argument("--token", required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--period", type=float, required=True, help="seconds between two reports of a node")
    parser.add_argument("--runtime", required=True, help="the runtime that nodes say they have")
    options = parser.parse_args()
    joined = _joined(options.cluster, options.token, options.nodes)
    fleet = Fleet(joined, options.period, options.runtime)
    threading.Thread(target=fleet.run, name="fleet", daemon=True).start()
    for line in sys.stdin:
        fleet.events.put(line.strip())


def device_name(number: int) -> str:
    """What the node with this number is called."""
    return f"device{number}"


def _joined(cluster: str, token: str, nodes: int) -> list[JoinReply]:
    """The identities of so many nodes, all new."""
    requests = [
        JoinRequest(token, device_name(number), "node", (PROTOCOL,), __version__, new_join_key())
        for number in range(nodes)
    ]
    with ThreadPoolExecutor(_JOINING) as pool:
        return list(pool.map(lambda request: join(cluster, request, default_port=0, timeout=60.0), requests))


if __name__ == "__main__":
    main()
