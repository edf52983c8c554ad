"""What a child and its parent say to each other over HTTP when the child joins and leaves."""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec

#: What joins: a cluster joins the root, a node joins its cluster.
Kind = Literal["cluster", "node"]


#: Bounds on what comes from outside: versions count up from 1, and nobody speaks many.
Protocols = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=1, le=65535)], ...], msgspec.Meta(min_length=1, max_length=16)
]
Generation = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class JoinRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A child asks to join.

    token: the text that a person copied. name: label, 1 to 63 of [a-zA-Z0-9._-]. protocols: versions of the link's
    protocol that the child speaks. software: its version, for people. key: a nonce from `new_join_key`, kept by the
    child until it has the answer; joining again with the same nonce, name and token gives the same identity.
    """

    token: str
    name: str
    kind: Kind
    protocols: Protocols
    software: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"JoinRequest(name={self.name!r}, kind={self.kind!r}, protocols={self.protocols})"


class BrokerAccess(msgspec.Struct, frozen=True):
    """A broker as the child may use it; url: `mqtt://host:port` or one of the transports' other forms."""

    url: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"BrokerAccess({self.url!r}, username={self.username!r})"


class JoinReply(msgspec.Struct, frozen=True):
    """All that a child needs to connect; it keeps this, readable by itself alone.

    child, parent: their ids in topics. store: id of the parent's store, which comes with every message. protocol: the
    version to speak. link_key: key of the envelopes, 64 hexadecimal digits; generation: which of the child's keys that
    is. lease: seconds of silence that the parent usually allows; its `welcome` has the last word.
    """

    child: str
    name: str
    parent: str
    parent_name: str
    store: str
    protocol: int
    link_key: str
    generation: int
    brokers: tuple[BrokerAccess, ...]
    lease: float

    def __repr__(self) -> str:
        return f"JoinReply(child={self.child!r}, name={self.name!r}, parent={self.parent!r})"


class LeaveRequest(msgspec.Struct, frozen=True):
    """A child says that it is gone for good. proof: from `leave_proof`. Repeating it changes nothing more."""

    child: str
    generation: Generation
    proof: str

    def __repr__(self) -> str:
        return f"LeaveRequest(child={self.child!r})"


def new_join_key() -> str:
    """A nonce for `JoinRequest.key`: 128 random bits in hexadecimal. Secret like the token."""
    return secrets.token_hex(16)


def leave_proof(link_key: bytes, child: str) -> str:
    """Proof that whoever says that `child` leaves knows its key, 64 hexadecimal digits."""
    return blake2b(child.encode(), digest_size=32, key=link_key, person=b"leave").hexdigest()


def is_leave_proof(proof: str, link_key: bytes, child: str) -> bool:
    """Whether `proof` is that; takes the same time when it is not."""
    return hmac.compare_digest(proof.encode(), leave_proof(link_key, child).encode())
