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
STREAM = "bulk/stream"  # both ways, on a connection of its own: what takes part in it hears nothing else

UP_KINDS = frozenset({HELLO, BEAT, REPORT, REPLY, GONE})
DOWN_KINDS = frozenset({WELCOME, ACK, ASSIGN, CALL})

#: Beats and acks are lost without harm, since the next one says the same; everything else asks for delivery.
QOS = {HELLO: 1, WELCOME: 1, BEAT: 0, ACK: 0, REPORT: 1, ASSIGN: 1, CALL: 1, REPLY: 1, GONE: 1, STREAM: 1}

# Channels of state that is mirrored to the other side (see sync.py).
ASSIGNMENT = "assignment"  # down: Attempt by id
STATUS = "status"  # up: Status by attempt
NODES = "nodes"  # up, from clusters: NodeView by node
CAPACITY = "capacity"  # up: what can be allocated, a Capacity under the empty id
PLAN = "plan"  # down, to those who say in `sent` which one they hold: what its network has to know


#: Seconds in `behind` that stand for ever: a year, longer than any policy.
UNHEARD = 31_536_000.0


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
    """The answer to a hello; `reason` says why when not accepted. lease, beat, usage: seconds. behind: see Ack."""

    accepted: bool
    reason: str = ""
    lease: float = 0.0
    beat: float = 0.0
    usage: float = 0.0
    behind: float = 0.0


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """I am here; this is the assignment that I have applied, and this is what I have said of myself.

    sent: digests of the channels upwards; and of the plan that is held, by those that mirror one.
    """

    applied: Mark
    sent: dict[str, str]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """I heard your beat with this sequence, and hold these digests of what you send.

    unknown: your session is not known here (the parent started anew): say hello again.
    behind: seconds since the parent, as a child, sent the newest word that its own parent acknowledged; 0 when it has
    none; `UNHEARD` as long as this child has not applied what follows from that parent's newest session. What is
    exclusive counts from so long before the word that is acknowledged here.
    lease, period: seconds, of the lease and between beats from now on, if the fleet grew since the welcome; else 0.
    """

    beat: int
    held: dict[str, str] = {}
    unknown: bool = False
    behind: float = 0.0
    lease: float = 0.0
    period: float = 0.0


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

    applied: the assignment that all of this reflects. sent: as in a beat, with these steps.
    usage: by attempt, and under the empty key the child's own.
    """

    applied: Mark
    sent: dict[str, str]
    steps: tuple[Sync, ...] = ()
    usage: dict[str, Usage] = {}


class Assign(msgspec.Struct, frozen=True):
    """A step of the assignment, or of the plan.

    tenure: id of the parent's holding of its lease; two copies of one store may come to the same term, but not to the
    same tenure. revision: of the parent's store, which then had all that the step says.
    """

    step: Sync
    tenure: str
    revision: int


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to the child. timeout: seconds in which an answer is of use. request: id of the asker's, for logs.

    credit: above 0, the reply only says whether there will be an answer, which comes as a stream of the same id; so
    many bytes may be sent of it at first.
    """

    id: str
    method: str
    params: dict[str, Any]
    timeout: float
    request: str = ""
    credit: int = 0


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a call: `result`, or `error` in one line. again: whether it may go better a little later."""

    id: str
    result: dict[str, Any] = {}
    error: str = ""
    again: bool = False


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a stream, or a word about it; the header's session is the stream's id.

    Up: `data`, which begins at byte `offset` of the stream and leads to `position`, from where whoever asks anew can go
    on. Down: `credit`, the bytes that may be sent in all. Either way: `end`, and `error` in one line if it ends badly.
    Without any of it: I am still here.
    """

    offset: int = 0
    data: bytes = b""
    position: str = ""
    credit: int = 0
    end: bool = False
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
    STREAM: Piece,
}
