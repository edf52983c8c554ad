"""How a child gets its identity, and loses it. One token, one name, one batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, InvalidInput, NotFound, Refused, Unauthorized, Unavailable
from mangrove.identity import tokens
from mangrove.identity.messages import (
    BrokerAccess,
    JoinReply,
    JoinRequest,
    Kind,
    LeaveRequest,
    is_leave_proof,
    new_join_key,
)
from mangrove.identity.secret import MasterSecret
from mangrove.model.documents import CHILD_NAMES, IDENTITIES, Identity
from mangrove.store.interface import ABSENT, Delete, Operation, Put, RevisionConflict, Store, Stored

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,63}")  # 63: the longest label of a host name, which names usually are
_KEY = re.compile(r"[0-9a-zA-Z_-]{16,128}")  # long enough not to be guessed
_MAX_SOFTWARE = 100  # characters; a version is far shorter

#: Names of the parents, for messages, by what may join them.
_PARENT_OF: dict[Kind, str] = {"cluster": "root", "node": "cluster"}


@dataclass(frozen=True, slots=True)
class Parent:
    """What a parent tells about itself to whoever joins.

    accepts: what may join it. protocols: versions it speaks. brokers: urls, asked for at each join. lease: seconds.
    """

    name: str
    accepts: Kind
    protocols: tuple[int, ...]
    brokers: Callable[[], Sequence[str]]
    lease: float

    @property
    def program(self) -> str:
        """`root` or `cluster`."""
        return _PARENT_OF[self.accepts]


def join(
    store: Store,
    clock: Clock,
    secret: MasterSecret,
    parent: Parent,
    request: JoinRequest,
    on_joined: Callable[[Identity], None] = lambda identity: None,
) -> JoinReply:
    """Give a child an identity, taking one use of its token in the same batch.

    `on_joined` is called before the answer is made, each time it is made: it prepares what the child will use at once,
    such as its account at a broker. Repeated with the same token, name and key, it gives the same identity and takes
    no further use, also when none is left. Raises InvalidInput, Refused (wrong kind or protocol), Unauthorized (token),
    Conflict (name), Unavailable.
    """
    _check_form(request)
    protocol = _common_protocol(parent, request)
    for _ in range(tokens.RETRIES):
        held = tokens.verify(store, clock, request.token)
        id = secret.child_id(held.token.id, request.key or new_join_key())
        known = store.get(IDENTITIES, id)
        if known is not None:
            identity = _repeated(identity_of(known), request)
        else:
            identity = Identity(id=id, name=request.name, joined=clock.wall())
            write = Put(IDENTITIES, id, msgspec.to_builtins(identity), expect=ABSENT)
            batch = [held.take_use(), _claim_name(store, identity, parent), write]
            try:
                store.apply(batch)
            except RevisionConflict:
                continue
        on_joined(identity)
        return _reply(store, secret, parent, identity, protocol)
    raise Unavailable("too many joins at the same moment: try again")


def leave(store: Store, secret: MasterSecret, request: LeaveRequest) -> Identity:
    """Revoke the identity of a child that says, with proof, that it leaves. Raises Unauthorized, Conflict."""
    stored = store.get(IDENTITIES, request.child)
    generation = None if stored is None else identity_of(stored).generation
    key = secret.link_key(request.child, request.generation)
    if generation != request.generation or not is_leave_proof(request.proof, key, request.child):
        raise Unauthorized(f"unknown child {request.child}, or not its key")
    return revoke_child(store, request.child)


def revoke_child(store: Store, id: str) -> Identity:
    """Mark the child `id` as one that may no longer speak, and give its name free; the identity as it is now.

    Revoking again changes nothing. Raises NotFound, Conflict.
    """
    for _ in range(tokens.RETRIES):
        stored = store.get(IDENTITIES, id)
        if stored is None:
            raise NotFound(f"no child {id} has joined here")
        identity = identity_of(stored)
        if identity.revoked:
            return identity
        identity = msgspec.structs.replace(identity, revoked=True)
        batch: list[Operation] = [Put(IDENTITIES, id, msgspec.to_builtins(identity), expect=stored.revision)]
        name = store.get(CHILD_NAMES, identity.name)
        if name is not None and name.document["child"] == id:
            batch.append(Delete(CHILD_NAMES, identity.name, expect=name.revision))
        try:
            store.apply(batch)
        except RevisionConflict:
            continue
        return identity
    raise Conflict(f"child {id} is being changed very often just now: try again")


def cordon_child(store: Store, id: str, cordoned: bool, drained: bool = False) -> Identity:
    """Give the child `id` no new work (or again); the identity as it is now. Raises NotFound, Conflict.

    drained: what runs there shall move elsewhere too; only what is cordoned is drained.
    """
    for _ in range(tokens.RETRIES):
        stored = store.get(IDENTITIES, id)
        if stored is None or identity_of(stored).revoked:
            raise NotFound(f"no child {id} has joined here")
        identity = msgspec.structs.replace(identity_of(stored), cordoned=cordoned, drained=cordoned and drained)
        try:
            store.apply([Put(IDENTITIES, id, msgspec.to_builtins(identity), expect=stored.revision)])
        except RevisionConflict:
            continue
        return identity
    raise Conflict(f"child {id} is being changed very often just now: try again")


def cordoned_words(identity: Identity) -> str:
    """Whether a child is given work, for people."""
    if identity.drained:
        return "is drained: it is given no new work, and what runs there moves elsewhere"
    return "is cordoned: it is given no new work" if identity.cordoned else "is not cordoned any more"


def identity_of(stored: Stored) -> Identity:
    """A stored document of `IDENTITIES` as an Identity."""
    return stored.read(Identity)


def _check_form(request: JoinRequest) -> None:
    if _NAME.fullmatch(request.name) is None:
        raise InvalidInput("name", f"must be 1 to 63 of the characters a-z A-Z 0-9 . _ -, not {request.name[:80]!r}")
    if request.key and _KEY.fullmatch(request.key) is None:
        raise InvalidInput("key", "must be 16 to 128 of the characters a-z A-Z 0-9 _ -")
    if len(request.software) > _MAX_SOFTWARE or not request.software.isprintable():
        raise InvalidInput("software", f"must be at most {_MAX_SOFTWARE} printable characters")


def _common_protocol(parent: Parent, request: JoinRequest) -> int:
    """The newest protocol that both speak. Raises Refused when the child is of the wrong kind or there is none."""
    if request.kind != parent.accepts:
        raise Refused(
            f"{parent.name} is a {parent.program}, which a {parent.accepts} may join: "
            f"a {request.kind} joins a {_PARENT_OF[request.kind]}, so give the address of that"
        )
    common = set(parent.protocols) & set(request.protocols)
    if not common:
        older = "parent" if max(parent.protocols) < max(request.protocols) else request.kind
        raise Refused(
            f"this parent speaks protocol {_list(parent.protocols)}, the {request.kind} speaks "
            f"{_list(request.protocols)}: update Mangrove on the {older}"
        )
    return max(common)


def _list(versions: Sequence[int]) -> str:
    return ", ".join(str(version) for version in versions[:5]) or "none"


def _repeated(identity: Identity, request: JoinRequest) -> Identity:
    """The identity given before to the same key. Raises Refused, Conflict."""
    if identity.revoked:
        raise Refused(f"{identity.name} was revoked after it had joined: join again as a new {request.kind}")
    if identity.name != request.name:
        raise Conflict(f"name: this join was answered already, as {identity.name!r}: use that name or a new key")
    return identity


def _claim_name(store: Store, identity: Identity, parent: Parent) -> Put:
    """The write that makes the name the child's. One document a name lets two joins at once not both have it."""
    claimed = store.get(CHILD_NAMES, identity.name)
    if claimed is not None and claimed.document["child"] != identity.id:  # else: by the same join, just now
        raise Conflict(
            f"name: a {parent.accepts} named {identity.name!r} has joined already (id {claimed.document['child']}): "
            "choose another name with --name, or remove that one first"
        )
    return Put(CHILD_NAMES, identity.name, {"child": identity.id}, expect=ABSENT)


def _reply(store: Store, secret: MasterSecret, parent: Parent, identity: Identity, protocol: int) -> JoinReply:
    password = secret.broker_password(identity.id, identity.generation)
    return JoinReply(
        child=identity.id,
        name=identity.name,
        parent=secret.parent_id(),
        parent_name=parent.name,
        store=store.id,
        protocol=protocol,
        link_key=secret.link_key(identity.id, identity.generation).hex(),
        generation=identity.generation,
        brokers=tuple(BrokerAccess(url, identity.id, password) for url in parent.brokers()),
        lease=parent.lease,
    )
