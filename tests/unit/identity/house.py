"""A parent to join, in memory; also used by the tests of the HTTP routes and of the client."""

from __future__ import annotations

from dataclasses import dataclass, field

from mangrove.base.clock import VirtualClock
from mangrove.identity import tokens
from mangrove.identity.join import Parent, join
from mangrove.identity.messages import JoinReply, JoinRequest, new_join_key
from mangrove.identity.secret import MasterSecret
from mangrove.model.documents import Identity
from mangrove.store.memory import MemoryStore

PARENT = Parent(
    name="mainland",
    accepts="cluster",
    protocols=(1,),
    brokers=lambda: ["mqtt://192.0.2.1:1883", "mqtt://192.0.2.2:1883"],
    lease=20.0,
)


@dataclass
class House:
    """accounts: ids of the children whose broker account was made, in order."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: VirtualClock = field(default_factory=VirtualClock)
    secret: MasterSecret = field(default_factory=lambda: MasterSecret(bytes(range(32))))
    parent: Parent = PARENT
    accounts: list[str] = field(default_factory=list)

    def token(self, *, ttl: float = 3600.0, uses: int = 1) -> tokens.IssuedToken:
        return tokens.issue(self.store, self.clock, ttl=ttl, uses=uses)

    def join(self, request: JoinRequest) -> JoinReply:
        return join(self.store, self.clock, self.secret, self.parent, request, self.on_joined)

    def on_joined(self, identity: Identity) -> None:
        self.accounts.append(identity.id)

    def on_left(self, identity: Identity) -> None:
        if identity.id in self.accounts:
            self.accounts.remove(identity.id)


def asking(token: tokens.IssuedToken | str, name: str = "reef", **changed: object) -> JoinRequest:
    """A request that would be granted, but for what is `changed`."""
    text = token if isinstance(token, str) else token.text
    fields = {"kind": "cluster", "protocols": (1,), "software": "0.1.0", "key": new_join_key(), **changed}
    return JoinRequest(token=text, name=name, **fields)  # type: ignore[arg-type] # wrong ones are meant to be tried
