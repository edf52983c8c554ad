"""The root's controller as its API sees it: an `api.fleet.Fleet` on a running Parent."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mangrove.base.clock import Clock
from mangrove.base.errors import Unavailable
from mangrove.base.log import carrying
from mangrove.link.messages import Reply
from mangrove.model.attempt import Usage
from mangrove.roles.loop import Loop
from mangrove.roles.parent import Parent


class LiveFleet:
    """Reads the loop's memory from other threads: single look-ups and copies, which the interpreter does as a whole."""

    def __init__(self, parent: Parent, loop: Loop, clock: Clock) -> None:
        self._parent = parent
        self._loop = loop
        self._clock = clock

    def usage(self, ids: Iterable[str]) -> Mapping[str, Sequence[Usage]]:
        found = ((id, self._parent.usage.get(id)) for id in ids)
        return {id: list(measured) for id, measured in found if measured}

    def ages(self) -> Mapping[str, float]:
        now = self._clock.now()
        return {child: max(0.0, now - peer.heard) for child, peer in list(self._parent.link.peers.items())}

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        answer: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        if not self._loop.post(carrying(lambda: self._parent.call(child, method, params, timeout, answer.put))):
            raise Unavailable("the root is busy; try again later")
        try:
            reply = answer.get(timeout=timeout + 1.0)
        except queue.Empty:
            raise Unavailable(f"{self._parent.name(child)}: no answer in time; try again later") from None
        if reply.error:
            raise Unavailable(f"{self._parent.name(child)}: {reply.error}")
        return reply.result
