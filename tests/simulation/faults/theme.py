"""What all faults have in common: a chance to happen, and on whose links they are in force for how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tests.simulation.process import ParentProcess, Process
from tests.simulation.processes import ClusterProcess, NodeProcess

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: A link, by the child at its lower end.
Link = ClusterProcess | NodeProcess

#: A fault. It takes the chance and says where it is in force; None when there is nothing to strike, WAITS when its
#: moment is still to come: then it will say so to the chance itself.
Fault = Callable[["Chance"], "Force | None"]


@dataclass(frozen=True, slots=True)
class Force:
    """On which links a fault is in force (ids of their children), and for how many seconds from now on."""

    links: tuple[str, ...]
    seconds: float = 0.0


#: Said by a fault that waits for its moment.
WAITS = Force(())


@dataclass(frozen=True, slots=True)
class Chance:
    """Where a fault may strike. until: when it is too late for that. now: whether it may do so just now. struck: to be
    told by one that waited."""

    link: Link
    until: float
    now: Callable[[], bool]
    struck: Callable[[Force], None]


@dataclass(frozen=True, slots=True)
class Known:
    """A fault by name. often: how many times as often it is tried as others that met as little.

    waits: for a moment, such as a write.
    """

    name: str
    strike: Fault
    often: float
    waits: bool


Method = TypeVar("Method", bound=Callable[..., "Force | None"])


def fault(name: str, *, often: float = 1.0, waits: bool = False) -> Callable[[Method], Method]:
    """Mark a method of a theme as a fault.

    Those that met little in a life are tried before others anyway; often: still more, since it mostly finds nothing to
    strike, or meets but one message.
    """

    def mark(method: Method) -> Method:
        vars(method)["fault"] = (name, often, waits)
        return method

    return mark


class Theme:
    """Faults of one kind, with what they need of the tree."""

    def __init__(self, tree: Tree, rng: random.Random) -> None:
        self.tree = tree
        self.world = tree.world
        self.rng = rng

    def faults(self) -> Iterator[Known]:
        for name, method in vars(type(self)).items():
            if hasattr(method, "fault"):
                called, often, waits = method.fault
                yield Known(called, getattr(self, name), often, waits)

    def heal(self) -> None:
        """End all of them."""

    # -- who

    def an_end(self, link: Link) -> Process:
        """One of the two processes that the link joins."""
        return self.rng.choice((link, link.parent_process))

    def a_parent(self, link: Link) -> ParentProcess:
        """A parent that the link concerns: the one at its upper end, or the cluster at its lower."""
        return self.rng.choice((link, link.parent_process)) if isinstance(link, ClusterProcess) else link.cluster

    def a_node(self, link: Link) -> NodeProcess:
        """The node at the link's end, or one behind it."""
        return link if isinstance(link, NodeProcess) else self.rng.choice(self.nodes_of(link))

    def a_busy_node(self, link: Link) -> NodeProcess | None:
        """A node at the link's end, or behind it, on which something runs."""
        nodes = [link] if isinstance(link, NodeProcess) else self.nodes_of(link)
        busy = [node for node in nodes if node.runtime.running]
        return self.rng.choice(busy) if busy else None

    def nodes_of(self, cluster: ClusterProcess) -> list[NodeProcess]:
        return [node for node in self.tree.nodes if node.cluster is cluster]

    # -- where it is felt

    def around(self, *processes: Process, seconds: float = 0.0) -> Force:
        """On all links of these processes."""
        links: list[str] = []
        for process in processes:
            if isinstance(process, ParentProcess):
                links += [child.identity.id for child in self.tree.children_of(process)]
            if isinstance(process, ClusterProcess | NodeProcess):
                links.append(process.identity.id)
        return Force(tuple(dict.fromkeys(links)), seconds)

    def below(self, parent: ParentProcess, seconds: float = 0.0) -> Force:
        """On the links to its children."""
        return Force(tuple(child.identity.id for child in self.tree.children_of(parent)), seconds)

    def told_above(self, node: NodeProcess, seconds: float = 0.0) -> Force:
        """On the node's link, and on its cluster's, by which the root is told what became of it."""
        return Force((node.identity.id, node.cluster.identity.id), seconds)

    def seconds(self, shortest: float, longest: float) -> float:
        """For how long: more often short than long, since what is over soon leaves others something to strike."""
        return shortest * float((longest / shortest) ** self.rng.random())

    def note(self, text: str) -> None:
        self.world.note(text)

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        self.world.later(seconds, then)
