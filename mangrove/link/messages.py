"""What travels over the link, one struct per kind. `docs/protocol.md` describes each field for people."""

from __future__ import annotations

from typing import Any

import msgspec

from mangrove.model.attempt import Usage

#: The version of everything in this package. Raised when an older side could misunderstand a newer one.
PROTOCOL = 1

# Kinds, also the last level of the topic.
HELLO = "hello"
WELCOME = "welcome"
BEAT = "beat"
ACK = "ack"
REPORT = "report"
ASSIGN = "assign"
CALL = "call"
REPLY = "reply"
GONE = "gone"

UP_KINDS = frozenset({HELLO, BEAT, REPORT, REPLY, GONE})
DOWN_KINDS = frozenset({WELCOME, ACK, ASSIGN, CALL})

#: Beats and acks are lost without harm, since the next one says the same; everything else asks for delivery.
QOS = {HELLO: 1, WELCOME: 1, BEAT: 0, ACK: 0, REPORT: 1, ASSIGN: 1, CALL: 1, REPLY: 1, GONE: 1}

# Channels of state that is mirrored to the other side (see sync.py).
ASSIGNMENT = "assignment"  # down: Attempt by id
STATUS = "status"  # up: Status by attempt
NODES = "nodes"  # up, from clusters: NodeView by node
CAPACITY = "capacity"  # up: what can be allocated, a Capacity under the empty id


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Which state of a channel is meant."""

    version: int
    digest: str


class Hello(msgspec.Struct, frozen=True):
    """The first word of a session. incarnation: rises at each start of the child; connect: within an incarnation.

    store, term, tenure, revision: of the parent when it gave the assignment that the child holds (empty and 0 if it
    never had one); holds: that assignment.
    """

    name: str
    incarnation: int
    connect: int
    boot: str
    software: str
    store: str
    term: int
    tenure: str
    revision: int
    holds: Mark


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a hello; `reason` says why when not accepted. lease, beat, usage: seconds."""

    accepted: bool
    reason: str = ""
    lease: float = 0.0
    beat: float = 0.0
    usage: float = 0.0


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """I am here; this is the assignment that I have applied, and this is what I have said of myself."""

    applied: Mark
    sent: dict[str, str]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """I heard your beat with this sequence, and hold these digests of what you send.

    unknown: your session is not known here (the parent started anew): say hello again.
    """

    beat: int
    held: dict[str, str] = {}
    unknown: bool = False


class Sync(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of a channel from one state to another.

    base: digest of the state that this changes, or None for the complete state, which comes in `parts` parts of which
    this is number `part` and counts only when all are there. to: the state reached. put: entries by id, as JSON.
    specifications: those that entries of this message name, by digest.
    """

    channel: str
    to: Mark
    base: str | None = None
    part: int = 0
    parts: int = 1
    put: dict[str, msgspec.Raw] = {}
    remove: tuple[str, ...] = ()
    specifications: dict[str, msgspec.Raw] = {}


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child observes: steps of its channels, and what it measured.

    applied: the assignment that all of this reflects. sent: digests of the channels as they stand with these steps.
    usage: by attempt, and under the empty key the child's own.
    """

    applied: Mark
    sent: dict[str, str]
    steps: tuple[Sync, ...] = ()
    usage: dict[str, Usage] = {}


class Assign(msgspec.Struct, frozen=True):
    """A step of the assignment.

    tenure: id of the parent's holding of its lease; two copies of one store may come to the same term, but not to the
    same tenure. revision: of the parent's store, which then had all that the step says.
    """

    step: Sync
    tenure: str
    revision: int


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to the child. timeout: seconds in which an answer is of use. request: id of the asker's, for logs."""

    id: str
    method: str
    params: dict[str, Any]
    timeout: float
    request: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a call: `result`, or `error` in one line."""

    id: str
    result: dict[str, Any] = {}
    error: str = ""


class Gone(msgspec.Struct, frozen=True):
    """Published by the broker when this session's connection breaks."""


PAYLOADS: dict[str, type[msgspec.Struct]] = {
    HELLO: Hello,
    WELCOME: Welcome,
    BEAT: Beat,
    ACK: Ack,
    REPORT: Report,
    ASSIGN: Assign,
    CALL: Call,
    REPLY: Reply,
    GONE: Gone,
}
