"""Streams that the root asks a cluster for and a node answers: the question goes down, what comes back is passed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster_orchestrator.cluster import Cluster
from mangrove.base.ids import NewId
from mangrove.link.messages import Call, Reply
from mangrove.roles.bulk import Relay

#: Part of the asker's time that a node has: the rest is for the way back.
_SHARE = 0.8

#: Lets another thread's loop do something.
Post = Callable[[Callable[[], None]], object]


class Relaying:
    """The cluster's side. to_loop, to_bulk: let the cluster's loop, or that of the second connections, do something."""

    def __init__(self, cluster: Cluster, relay: Relay, new_id: NewId, *, to_loop: Post, to_bulk: Post) -> None:
        self._cluster = cluster
        self.relay = relay
        self._new_id = new_id
        self._to_loop = to_loop
        self._to_bulk = to_bulk

    def answer(self, call: Call) -> Reply | None:
        """A question about an instance (`attempt`, the root's id of it), for the node that has it. In the cluster's
        loop, as the reply."""
        slot = str(call.params.get("attempt", ""))
        given = self._cluster.last_given(slot)
        if given is None:
            return Reply(call.id, error="the cluster knows of no node that has, or had, this instance")
        child, attempt = given
        params: dict[str, Any] = {**call.params, "attempt": attempt}
        below = Call(self._new_id(), call.method, params, call.timeout * _SHARE, call.request, call.credit)
        term = self._cluster.role.link.welcomed_in

        def begin() -> None:
            problem = self.relay.pass_on(call, term, child, below, lambda: self._to_loop(ask))
            if problem:
                self._to_loop(lambda: self._cluster.role.link.reply(Reply(call.id, error=problem, again=True)))

        def ask() -> None:
            self._cluster.parent.ask(child, below, replied)

        def replied(reply: Reply) -> None:
            error = f"{self._cluster.parent.name(child)}: {reply.error}" if reply.error else ""
            self._cluster.role.link.reply(Reply(call.id, error=error, again=reply.again))
            if error:
                self._to_bulk(lambda: self.relay.down.refused(below.id, error))

        self._to_bulk(begin)
        return None
