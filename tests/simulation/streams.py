"""Logs in the simulator: nodes whose instances print without end, and readers at the root who must get every line.

What an instance has printed follows from its id and the time alone, so it survives its engine, as files do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mangrove.link.messages import Call, Reply
from mangrove.model.phases import Phase
from mangrove.roles.bulk import ChildBulk
from tests.simulation.world import InvariantBroken, World

if TYPE_CHECKING:
    from tests.simulation.processes import NodeProcess, RootProcess

#: Lines that each instance prints in a second, and bytes of one: the attempt's beginning, a number and an end.
_RATE, _MARK, _LINE = 4, 6, 16
#: Seconds between two looks for more.
_LOOK = 1.5
#: Lines in one message.
_TOGETHER = 2
#: Bytes under way at most; little, so that credit matters.
_WINDOW = 600
#: Seconds before a reader asks again.
_PAUSE = 2.0


class Core(Protocol):
    def work(self) -> None: ...
    def next_wake(self) -> float: ...


class Both:
    """A program's core and its streams, which have threads of their own in reality, as one core."""

    def __init__(self, core: Core, bulk: Core) -> None:
        self._core = core
        self.bulk = bulk

    def work(self) -> None:
        self._core.work()
        self.bulk.work()

    def next_wake(self) -> float:
        return min(self._core.next_wake(), self.bulk.next_wake())


def line(attempt: str, number: int) -> bytes:
    """One of an attempt's lines."""
    return f"{attempt[:_MARK]} {number:08}\n".encode()


class Talker:
    """The node's side: gives what was printed behind a position, as far as credit goes."""

    def __init__(self, world: World, bulk: ChildBulk, later: Callable[[float, Callable[[], None]], None]) -> None:
        self._world = world
        self._bulk = bulk
        self._later = later
        self._at: dict[str, int] = {}  # by stream: lines that were given
        self._credit: dict[str, int] = {}

    def begin(self, call: Call, term: int) -> str:
        """Why not, or empty."""
        id, attempt = call.id, str(call.params["attempt"])
        position = str(call.params.get("position", ""))
        mark, _, number = position.partition("-")
        self._at[id] = int(number) if mark == attempt[:_MARK] else 0
        begun = self._at[id]
        self._credit[id] = call.credit

        def more(credit: int) -> None:
            self._credit[id] = credit

        def stop(reason: str) -> None:
            self._at.pop(id, None)

        def talk() -> None:
            if id not in self._at:
                return
            there = int(self._world.time * _RATE)
            while self._at[id] < there and (self._at[id] + 1 - begun) * _LINE <= self._credit[id]:
                allowed = begun + self._credit[id] // _LINE
                end = min(there, allowed, self._at[id] + _TOGETHER)
                data = b"".join(line(attempt, number) for number in range(self._at[id], end))
                if not self._bulk.send(id, data, f"{attempt[:_MARK]}-{end}"):
                    raise InvariantBroken(0, "a stream has credit and takes nothing")
                self._at[id] = end
            self._later(_LOOK, talk)

        problem = self._bulk.begin(call, term, more, stop)
        if not problem:
            talk()
        return problem


@dataclass
class Reader:
    """Somebody who reads the logs of slots at the root, for ever. lazy: reads nothing of what comes.

    hasty: soon turns to another slot; 0 for one who stays with what there is, or the mean of how many seconds. over:
    who is hasty has seen enough.

    seen: when something came last. times: how often it was asked, and how often it broke.
    """

    world: World
    root: RootProcess
    rng: random.Random
    lazy: bool
    hasty: float = 0.0
    over: bool = False
    slot: str = ""
    position: str = ""
    seen: float = 0.0
    asked: int = 0
    broken: int = 0
    _stream: int = 0

    def start(self) -> None:
        """Ask, and ask again whenever the answer has ended."""
        self._again("")

    def _again(self, why: str) -> None:
        self._stream += 1
        number = self._stream
        self.world.later((0.2 if self.hasty else _PAUSE) * self.rng.uniform(0.5, 1.5), lambda: self._ask(number))

    def _ask(self, number: int) -> None:
        root = self.root
        if number != self._stream or (self.hasty and self.over):
            return
        if not root.alive or root.paused_until > self.world.clock.now():
            self._again("")
            return
        if self.hasty:
            self.slot = ""
        placed = sorted(id for id, placement in root.parent.placements.items() if placement.current is not None)
        if self.slot not in placed:
            running = [id for id in placed if self._runs(id)]
            self.slot = self.rng.choice(running or placed) if placed else ""
        placement = root.parent.placements.get(self.slot)
        if placement is None or placement.current is None:
            self._again("")
            return
        given, life, bulk = placement.current, root.life, root.bulk
        params = {"attempt": given.attempt, "position": self.position}
        call = Call(self.world.new_id(), "logs", params, 8.0, credit=_WINDOW)
        got, allowed = bytearray(), [_WINDOW]

        def data(piece: bytes, position: str) -> None:
            if number != self._stream or not piece:
                return
            got.extend(piece)
            self._check(piece)
            self.seen = self.world.time
            if not self.lazy and len(got) + _WINDOW / 2 > allowed[-1]:
                allowed.append(len(got) + _WINDOW)
                bulk.allow(call.id, allowed[-1])
            elif self.lazy and len(got) > _WINDOW:
                raise InvariantBroken(9, "more came than was asked for")

        def over(why: str) -> None:
            if number == self._stream:
                self.broken += 1
                self._again(why)

        def replied(reply: Reply) -> None:
            if reply.error:
                bulk.refused(call.id, reply.error)

        def ask() -> None:
            root.soon(lambda: root.root.ask(given.child, call, replied))

        self.asked += 1
        if self.hasty:

            def enough() -> None:
                if number == self._stream:
                    root.soon(lambda: bulk.cancel(call.id, "enough"))
                    self._again("enough")

            self.world.later(self.rng.expovariate(1 / self.hasty), enough)
        self._watch_over(number, life)
        root.guarded(lambda: bulk.begin(given.child, call, data, over, ask), life)

    def _runs(self, slot: str) -> bool:
        """Whether the root was told that the slot runs."""
        given = self.root.parent.placements[slot].current
        seen = self.root.parent.observed.get(given.attempt) if given is not None else None
        return seen is not None and seen.status.phase is Phase.RUNNING

    def _watch_over(self, number: int, life: int) -> None:
        """When the root dies, nobody says that the stream has ended, but the connection to the root breaks."""
        if number != self._stream:
            return
        if self.root.life != life or not self.root.alive:
            self._again("the root died")
        else:
            self.world.later(1.0, lambda: self._watch_over(number, life))

    def _check(self, piece: bytes) -> None:
        """Each line once, in order, and of that attempt."""
        for text in piece.splitlines():
            attempt, _, number = text.decode().partition(" ")
            # Who comes back to an attempt after another one has lost the place, and reads from the beginning.
            mark, _, next_one = self.position.partition("-")
            due = int(next_one) if mark == attempt else 0
            if int(number) != due:
                raise InvariantBroken(9, f"line {number} of {attempt} came, and {due} was due", self.slot)
            self.position = f"{attempt}-{int(number) + 1}"


def answers(node: NodeProcess) -> Callable[[Call], Reply | None]:
    """What a node replies to a call."""

    def answer(call: Call) -> Reply | None:
        attempt = str(call.params.get("attempt"))
        if call.method != "logs" or node.node.engine.record(attempt) is None:
            return Reply(call.id, error="nothing of it is here")
        problem = node.talker.begin(call, node.node.role.link.welcomed_in)
        return Reply(call.id, error=problem)

    return answer
