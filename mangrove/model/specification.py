"""What a child needs to know to run an instance of a service. Immutable; named by its digest."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.base.digest import digest_of
from mangrove.model.position import Position
from mangrove.model.resources import Resources

#: Bytes of a specification as JSON. It travels in one message with others (see the link's largest payload), and a
#: device keeps it; an environment of some hundred variables is a tenth of this.
MAX_SPECIFICATION = 48 * 1024


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port of the instance published on its node."""

    host: int
    container: int
    protocol: Literal["tcp", "udp"] = "tcp"


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A folder of the node (`source`, an absolute path) seen by the instance at `target`."""

    source: str
    target: str
    read_only: bool = False


#: How a label is compared.
Operator = Literal["in", "not_in", "exists", "not_exists", "lt", "le", "gt", "ge"]


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hard wish about where to run. Which fields count depends on `type`:

    direct: `cluster` and `node`, names as `a;b;c`. clusters: `names` of clusters. addons: `names`, all of them there.
    label: `key`, `operator`, and `names` to compare with. tolerates: the taints with this `key`, only those with a
    value of `names` if there are any. per_node: at most `threshold` instances of the service on one node. geo: within
    `threshold` km of `position`, or in the area `key`. latency: at most `threshold` ms to `position`, to the area
    `key`, to an instance of the service in `names`, or else to the parent.
    """

    type: str
    cluster: str = ""
    node: str = ""
    names: tuple[str, ...] = ()
    key: str = ""
    operator: Operator = "in"
    position: Position | None = None
    threshold: float = 0.0


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A soft wish: the name of a scorer, how much it counts, and what it is told (see mangrove.placement.scorers)."""

    scorer: str
    weight: float = 1.0
    key: str = ""
    names: tuple[str, ...] = ()
    position: Position | None = None


#: By how much the clocks of two machines may differ in rate; a poor quartz is ten times better.
CLOCK_ERROR = 0.001
#: Seconds that a child may take from the moment at which it must stop an exclusive instance until nothing of it runs:
#: what it runs under is killed, not asked, and a loaded engine needs a few seconds for that.
KILL_TIME = 5.0

#: The least and the most important that a service can be; 0 where nothing is said. Enough for a scale of one's own,
#: few enough that each value in use costs a parent some columns only.
LEAST_PRIORITY, MOST_PRIORITY = -100, 100
#: Whether a service that fits nowhere may displace what is less important. As `preemptionPolicy` of Kubernetes.
PreemptionPolicy = Literal["lower_priority", "never"]

#: What happens when a child comes back after its instance was replaced.
OnReturn = Literal["keep_replacement", "keep_original", "keep_best", "keep_longest_running"]


class Disconnect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of an instance while its child and its parent do not hear each other, at both levels.

    lost_after: seconds that the child may be silent before it is replaced elsewhere; None: the parent's lease, which
    is also the least; `never`: it stays where it is.
    stop_on_child_after: seconds after which the child stops it, counted from when it sent the newest word that its
    parent acknowledged; None: never. Set, the service is exclusive: two attempts of one slot never run at once.
    act_on_gone: whether it is replaced soon after the child's connection broke. It never shortens the wait for an
    exclusive one, nor `never`.
    on_return: which of the two stays when the child comes back after it was replaced.
    """

    lost_after: float | Literal["never"] | None = None
    stop_on_child_after: float | None = None
    act_on_gone: bool = False
    on_return: OnReturn = "keep_replacement"

    @property
    def exclusive(self) -> bool:
        """Whether two attempts of one slot must never run at once."""
        return self.stop_on_child_after is not None

    @property
    def stopped_after(self) -> float:
        """Seconds of silence, by the parent's clock, after which an exclusive instance is known to have stopped on its
        child; 0 for others."""
        return 0.0 if self.stop_on_child_after is None else self.stop_on_child_after * (1 + CLOCK_ERROR) + KILL_TIME

    def replaced_after(self, lease: float) -> float:
        """Seconds of silence after which it is replaced, given the parent's lease; infinite for never."""
        if self.lost_after == "never":
            return float("inf")
        return max(self.lost_after or 0.0, lease, self.stopped_after)


#: What counts where nothing is said. A specification that has this very one does not show it, so its digest is that
#: which it had before there were policies.
USUAL = Disconnect()


class Specification(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """How to run one instance.

    name: for people and labels, `application.namespace.service.namespace`.
    runtime: `docker`, `process` or another that the node has.
    image: image reference; for processes the path of an executable on the node, or empty.
    command: replaces the image's arguments; for processes the whole argument vector.
    environment: `KEY=value` each.
    architectures, operating_systems: where it can run (`amd64`, `arm64`, …; `linux`, …); empty means anywhere.
    one_shot: ending with exit code 0 completes it; otherwise it is kept running.
    preferences: which of the children that can take it is the best; empty: as the parent is set up.
    disconnect: what becomes of it while its child is not heard.
    priority: how important it is; what is more important is placed first, and may displace it (preemption_policy).
    """

    name: str
    runtime: str = "docker"
    image: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    resources: Resources = Resources()
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    architectures: tuple[str, ...] = ()
    one_shot: bool = False
    privileged: bool = False
    kind: Literal["service", "job"] = "service"
    preferences: tuple[Preference, ...] = ()
    operating_systems: tuple[str, ...] = ()
    disconnect: Disconnect = USUAL
    priority: int = 0
    preemption_policy: PreemptionPolicy = "lower_priority"

    @property
    def policy(self) -> Disconnect:
        """`disconnect`, as parents go by it: what is exclusive and is to run once is not begun anew elsewhere, since
        nobody can know whether it has ended where it is."""
        if self.one_shot and self.disconnect.exclusive:
            return msgspec.structs.replace(self.disconnect, lost_after="never")
        return self.disconnect

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that name this specification."""
        return digest_of(self)
