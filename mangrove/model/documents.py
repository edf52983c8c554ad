"""What a parent keeps in its store, one struct per collection. Each collection has one writer, named here."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity
from mangrove.model.network import UNWIRED, ServiceAddress, Wiring
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources

# Names of collections.
APPLICATIONS = "applications"  # Application, written by the API
SERVICES = "services"  # Service, written by the API
SLOTS = "slots"  # Slot, written by the API (root) or the link to the parent (cluster)
SPECIFICATIONS = "specifications"  # Specification by digest; immutable, so anyone may add one
PLACEMENTS = "placements"  # Placement by slot, written by the controller
HOLDS = "holds"  # Hold by slot, written by an operator of the parent's machine; removed with the slot
ADOPTED = "adopted"  # Adopted by attempt, written by the controller; an operator marks what is to be dropped
OBSERVED = "observed"  # Observed by attempt, written by the link to the children
CHILDREN = "children"  # Child by id, written by the link to the children
IDENTITIES = "identities"  # Identity by child id, written by join and revocation
CHILD_NAMES = "child_names"  # {"child": id} by the name of a child that is not revoked; written with its Identity
TOKENS = "tokens"  # Token by id, written by whoever may make tokens
EVENTS = "events"  # Event, append only
EVENTS_READ = "events_read"  # {"after": id of its newest event that was taken over} by cluster; the controller (root)
GRANTS = "grants"  # Granted by its network, written by the controller
SERVICE_ADDRESSES = "service_addresses"  # {"service": id} by address, written by the API with the service (root only)
PLAN = "plan"  # entries of the plan by id, written by the link to the parent (cluster only)
NODES = "nodes"  # NodeView by `cluster/node`, written by the link to the children (root only)
USERS = "users"  # User, written by the API (root only)
RESETS = "password_resets"  # Reset by user id, written by the API (root only)
ORGANIZATIONS = "organizations"  # Organization, written by the API (root only)
HISTORY_FINE = "history_fine"  # usage by the minute, packed, by time; written by housekeeping (root only)
HISTORY_COARSE = "history_coarse"  # the same by the quarter of an hour
CLAIMS = "claims"  # Claim by a hash of caller and key, written by the API with what it claims (root only)
META = "meta"  # this store's own id, term and what else there is only one of


#: How many instances a service has, in Docker Swarm's words.
Mode = Literal["replicated", "global"]


class Application(msgspec.Struct, frozen=True):
    """A named group of services of one owner (a user name). organization: an id; empty for the one named `root`."""

    id: str
    name: str
    namespace: str
    description: str
    owner: str
    services: tuple[str, ...] = ()
    organization: str = ""


class Service(msgspec.Struct, frozen=True):
    """What a user declared. `declared` keeps the SLA's own fields as they came; `next_number` is never taken back.

    owner, organization: of its application. addresses: in the network between services, its own until it is deleted.
    mode: `replicated`, as many instances as users ask for; `global`, a system service: one on each matching node.
    """

    id: str
    application: str
    owner: str
    name: str
    namespace: str
    specification: str
    declared: dict[str, Any] = {}
    next_number: int = 0
    organization: str = ""
    addresses: tuple[ServiceAddress, ...] = ()
    wiring: Wiring = UNWIRED
    mode: Mode = "replicated"


class Slot(msgspec.Struct, frozen=True):
    """An instance that is wanted (`run`) or no longer wanted (`stop`); a slot once stopped never runs again.

    id: `service.number` at the root, the root's attempt id at a cluster. epoch: of the parent's attempt (cluster only).
    request: id of the request that wrote it last, for the logs. pin: id of the only child that it may be given to, and
    then of the only one below that; empty: any.
    """

    id: str
    service: str
    number: int
    specification: str
    desired: Literal["run", "stop"] = "run"
    epoch: int = 0
    request: str = ""
    pin: tuple[str, ...] = ()


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """A slot given to a child: the attempt's id, the child, the slot's epoch then, and what it may use there.

    since: wall-clock seconds at which it was given. displaced: whether it was withdrawn to make room for another.
    better: whether it is a successor because its place is better, and not because the other one has to go.
    """

    attempt: str
    child: str
    epoch: int
    specification: str
    resources: Resources
    since: float = 0.0
    displaced: bool = False
    better: bool = False


class Past(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt that its slot has done with.

    phase, node, node_name, restarts, exit_code: as its child told last; failed when it did not get on. reason: why it
    was done with; empty when it completed. started, ended: wall-clock seconds at which it was given to the child, and
    taken away again.
    """

    attempt: str
    child: str
    specification: str
    phase: Phase
    reason: str = ""
    node: str = ""
    node_name: str = ""
    restarts: int = 0
    exit_code: int | None = None
    started: float = 0.0
    ended: float = 0.0


class Refusal(msgspec.Struct, frozen=True):
    """That a child did not take a slot. revision: digest of what it could allocate then; reason: as it said."""

    revision: str
    reason: str


class Placement(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that a controller has decided about one slot.

    current: the one attempt that is wanted now. leaving: attempts withdrawn but not yet known to have ended; they still
    hold their reservation. reason: why there is no current one, or what is wrong with it. failures: in a row.
    not_before: wall-clock seconds before which the slot is not given away again. waiting_since: when it began to fit
    nowhere (wall clock). refused: by child id; it is asked again only when what it can allocate has changed. final: the
    last word when the slot needs no attempt any more. renewing: whether an attempt was withdrawn for one of a newer
    specification, and none of that has run yet. history: attempts before the current one, the oldest first; the newest
    of them says what specification `failures` and `refused` are about. successor: an attempt that is wanted too, until
    it runs and is the current one: only while the child of that is drained, or since it is better there. nominated:
    the attempt that becomes the current one when what it displaces has ended on its child, which is not told of it
    before.
    """

    slot: str
    epoch: int = 0
    current: Given | None = None
    leaving: tuple[Given, ...] = ()
    reason: str = ""
    failures: int = 0
    not_before: float = 0.0
    waiting_since: float = 0.0
    refused: dict[str, Refusal] = {}
    final: Status | None = None
    renewing: bool = False
    history: tuple[Past, ...] = ()
    successor: Given | None = None
    nominated: Given | None = None

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """(child, attempt) of all that are known, the one that counts last."""
        known: list[Past | Given] = [*self.history, *self.leaving]
        known += [given for given in (self.successor, self.current) if given is not None]
        return [(each.child, each.attempt) for each in known]


class Hold(msgspec.Struct, frozen=True):
    """That an operator has stopped a slot here, until they release it. text: so, in words; since: wall-clock."""

    slot: str
    text: str
    since: float


class Adopted(msgspec.Struct, frozen=True):
    """What a child runs, and a store that was brought back does not know: kept until somebody has said what about it.

    name: for people, `application.service.number`. dropped: an operator, or time, has said that it shall be stopped.
    exclusive: no other attempt of its slot may run beside it.
    """

    attempt: Attempt
    child: str
    child_name: str
    name: str
    resources: Resources
    since: float
    dropped: bool = False
    exclusive: bool = False


class Observed(msgspec.Struct, frozen=True):
    """The last word of a child about an attempt; heard: wall-clock seconds."""

    attempt: str
    child: str
    status: Status
    heard: float


class Child(msgspec.Struct, frozen=True):
    """A child as last heard. connect, incarnation, boot: what its newest `hello` said (clones are known by them)."""

    id: str
    name: str
    state: Literal["joined", "live", "silent"]
    capacity: Capacity = Capacity()
    incarnation: int = 0
    connect: int = 0
    boot: str = ""
    software: str = ""
    address: str = ""
    heard: float = 0.0


class Identity(msgspec.Struct, frozen=True):
    """That a child may speak. generation: raised to give it new keys. Its keys derive from the parent's secret.

    cordoned: an operator wants no new work for it; what runs there stays, unless it is drained.
    """

    id: str
    name: str
    generation: int = 1
    revoked: bool = False
    joined: float = 0.0
    cordoned: bool = False
    drained: bool = False


class Granted(msgspec.Struct, frozen=True):
    """That a child alone has these networks, IPv4 and IPv6; either may be empty."""

    child: str
    ipv4: str
    ipv6: str


class Token(msgspec.Struct, frozen=True):
    """A join token, of which only the hash is kept. expires: wall-clock seconds; uses: how many joins are left."""

    id: str
    hash: str
    expires: float
    uses: int
    revoked: bool = False


class Event(msgspec.Struct, frozen=True):
    """Something a person should be able to read later. subject: id of what it is about; time: wall-clock seconds.

    cluster: name of the cluster that told it; empty for what a parent tells itself.
    """

    id: str
    time: float
    kind: str
    subject: str
    text: str
    cluster: str = ""


#: Seconds for which a Claim counts: who asks again does so within a day.
CLAIMS_KEPT = 86_400.0


class Claim(msgspec.Struct, frozen=True):
    """That a request with an idempotency key was done. asked: hash of the request; time: wall-clock seconds; status,
    content_type, answer: what it was answered with, the text encrypted; empty when it was too large to be kept."""

    id: str
    asked: str
    time: float
    status: int
    content_type: str
    answer: str


class User(msgspec.Struct, frozen=True):
    """A person or program that may sign in. password: its hash; created: wall-clock seconds.

    generation: raised with each new password; refresh tokens of an earlier one are void.
    """

    id: str
    name: str
    email: str
    password: str
    created: float
    generation: int = 1


class Reset(msgspec.Struct, frozen=True):
    """That a user (by id) may choose a new password with a token, of which only the hash is kept.

    expires: wall-clock seconds. generation, email: the user's when it was given out; it is void when they have changed.
    """

    user: str
    hash: str
    expires: float
    generation: int
    email: str


class Member(msgspec.Struct, frozen=True):
    """What a user (by id) may do in an organization."""

    user: str
    roles: tuple[str, ...] = ()


class Organization(msgspec.Struct, frozen=True):
    """Users who work together; the one named `root` is there from the start."""

    id: str
    name: str
    members: tuple[Member, ...] = ()

    def roles_of(self, user: str) -> tuple[str, ...] | None:
        """The roles of a user (by id), or None when not a member."""
        return next((member.roles for member in self.members if member.user == user), None)
