"""What runs where, as tables for a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mangrove.client.documents import (
    Application,
    Cluster,
    Event,
    Grant,
    Instance,
    LocalInstance,
    Node,
    Past,
    Service,
)
from mangrove.client.root import RootClient
from mangrove.model.answers import AdoptedInstance
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase

#: Columns when the output is no terminal, of stories, and of tables: these are neither broken nor cut, since others may
#: search them.
_WIDE, _UNCUT = 160, 100_000

#: How a phase is shown; all that is neither well nor trouble is on its way.
_WELL = (Phase.RUNNING, Phase.COMPLETED)
_TROUBLE = (Phase.FAILED, Phase.LOST, Phase.REFUSED, Phase.BACKING_OFF)


@dataclass(frozen=True, slots=True)
class Row:
    """An instance of a service of an application."""

    application: Application
    service: Service
    instance: Instance

    @property
    def name(self) -> str:
        """Service and number, as in `sensor-0`."""
        return f"{self.service.name}-{self.instance.number}"

    @property
    def full_name(self) -> str:
        """By which commands know it."""
        return f"{self.application.name}.{self.service.name}.{self.instance.number}"

    @property
    def status(self) -> str:
        """The phase, as it is shown."""
        return self.instance.phase.value.upper()

    @property
    def runs(self) -> bool:
        return self.instance.phase is Phase.RUNNING

    @property
    def node(self) -> str:
        """Name of the node that has it, empty while none has."""
        return self.instance.node.name if self.instance.node else ""

    @property
    def node_id(self) -> str:
        """Id of that node."""
        return self.instance.node.id if self.instance.node else ""

    @property
    def cluster(self) -> str:
        """Name of the cluster that has it, empty while none has."""
        return self.instance.cluster.name if self.instance.cluster else ""


def console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)


def table_console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_UNCUT)


def rows_of(root: RootClient, applications: Iterable[Application]) -> list[Row]:
    """All instances of applications, by name. Raises what RootClient's methods raise."""
    return [
        Row(application, service, instance)
        for application in applications
        for service in sorted(root.services(application.id), key=lambda service: service.name)
        for instance in root.service(service.id).instances
    ]


def table(title: str, *columns: str) -> Table:
    """An empty one; without a title, which belongs to a story, lines are drawn at a terminal alone.

    Columns named with a leading `>` are aligned to the right; the last one alone is folded.
    """
    frame = box.HEAVY_HEAD if title else box.SIMPLE_HEAD if sys.stdout.isatty() else None
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=frame,
        pad_edge=frame is not None,
    )
    for column in columns:
        last = column is columns[-1]
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=not last
        )
    return made


def applications_table(applications: Iterable[Application]) -> Table:
    made = table("", "application", "namespace", "owner", ">services", "id", "description")
    for each in sorted(applications, key=lambda each: (each.name, each.namespace)):
        cells = (plain(each.name), plain(each.namespace), plain(each.owner), str(len(each.services)), each.id)
        made.add_row(*cells, plain(each.description))
    return made


def services_table(services: Iterable[Service], applications: Mapping[str, Application]) -> Table:
    """Services as lists have them, and what their instances do. applications: by id."""
    made = table("", "service", ">running", "namespace", "id", "others")
    for name, service in sorted(
        ((service_name(each, applications), each) for each in services), key=lambda pair: pair[0]
    ):
        well = sum(service.phases.get(phase, 0) for phase in _WELL)
        others = [f"{count} {coloured(Phase(phase))}" for phase, count in service.phases.items() if phase not in _WELL]
        cells = (plain(name), f"{well}/{sum(service.phases.values())}", plain(service.namespace), service.id)
        made.add_row(*cells, ", ".join(others))
    return made


def service_name(service: Service, applications: Mapping[str, Application]) -> str:
    """By which commands know it. applications: by id."""
    parent = applications.get(service.application)
    return f"{parent.name}.{service.name}" if parent is not None else service.name


def instances_table(rows: Iterable[Row], title: str = "") -> Table:
    """Instances, and where they run."""
    made = table(title, "instance", "status", "cluster", "node", ">restarts", ">for", "reason")
    now = time.time()
    for row in sorted(rows, key=lambda row: (row.application.name, row.service.name, row.instance.number)):
        made.add_row(
            plain(row.full_name),
            coloured(row.instance.phase),
            plain(row.cluster),
            plain(row.node),
            str(row.instance.restarts),
            age(now - row.instance.since) if row.instance.since else "",
            plain(row.instance.reason),
        )
    return made


def clusters_table(clusters: Iterable[Cluster]) -> Table:
    made = table("", "cluster", "state", ">nodes", ">cores", ">memory", ">heard", "id", "runtimes")
    for each in sorted(clusters, key=lambda each: (each.name, each.id)):
        room = each.capacity.allocatable
        made.add_row(
            plain(each.name),
            _state(_word(each.state, each.capacity, cordoned=each.cordoned, drained=each.drained)),
            str(each.nodes),
            f"{room.cpu / 1000:g}",
            f"{room.memory} MiB",
            f"{age(each.age)} ago",
            each.id,
            plain(", ".join(each.capacity.runtimes)),
        )
    return made


def nodes_table(nodes: Iterable[Node], title: str = "") -> Table:
    """Nodes, and how busy they are."""
    made = table(title, "node", "cluster", "state", ">CPU", ">memory", ">instances", "runtimes")
    for node in sorted(nodes, key=lambda node: (node.cluster.name, node.name)):
        cpu, memory = used_of(node)
        made.add_row(
            plain(node.name),
            plain(node.cluster.name),
            _state(_word(node.state, node.capacity, cordoned=node.cordoned, drained=node.drained)),
            cpu,
            memory,
            str(node.instances),
            plain(", ".join(node.capacity.runtimes)),
        )
    return made


def addresses_table(grants: Iterable[Grant], nodes: Iterable[Node]) -> Table:
    """Who has which addresses: clusters, and their nodes."""
    made = table("", "cluster", "node", "IPv4", "IPv6", "reached at", "trouble")
    rows = [(each.cluster.name or each.cluster.id, "", each.ipv4, each.ipv6, "", each.trouble) for each in grants]
    for node in nodes:
        part = node.capacity.network
        held = part.held or ((("", ""),) if part.wanted or part.trouble else ())
        where = node.cluster.name or node.cluster.id
        rows += [(where, node.name, ipv4, ipv6, " ".join(part.underlay), part.trouble) for ipv4, ipv6 in held]
    for row in sorted(rows, key=lambda row: row[:2]):  # each cluster before its nodes
        made.add_row(*(plain(cell or "") for cell in row))
    return made


def local_instances_table(instances: Iterable[LocalInstance]) -> Table:
    """What a cluster tells its operator of what it runs."""
    made = table("", "instance", "phase", "node", ">restarts", "id", "reason")
    for each in instances:
        made.add_row(
            plain(each.name),
            coloured(each.phase),
            plain(each.node),
            str(each.restarts),
            plain(each.id),
            plain(each.reason),
        )
    return made


def adopted_table(instances: Iterable[AdoptedInstance]) -> Table:
    """What is adopted."""
    made = table("", "instance", "runs on", "since", "id", "state")
    for each in instances:
        state = "being stopped" if each.dropped else "kept for now"
        made.add_row(plain(each.name), plain(each.child), moment(each.since), plain(each.id), state)
    return made


def used_of(node: Node) -> tuple[str, str]:
    """CPU and memory of a node: what of it is used, once that is measured."""
    room, used = node.capacity.allocatable, node.usage
    cpu, memory = f"{room.cpu / 1000:g} cores", f"{room.memory} MiB"
    if used.measured > 0:
        return f"{used.cpu:.0f} % of {cpu}", f"{used.memory_percent:.0f} % of {memory}"
    return cpu, memory


def facts(what: Mapping[str, str]) -> Table:
    """Of one thing, what is known: a name and a value on each line, but for those that are empty."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in what.items():
        if value:
            made.add_row(name, plain(value))
    return made


def history_table(history: Iterable[Past]) -> Table:
    """Attempts that are over, the newest first."""
    made = table("", "attempt", "ended as", "node", "exit code", "from", "to", "reason")
    for past in sorted(history, key=lambda past: past.ended, reverse=True):
        code = "" if past.exit_code is None else str(past.exit_code)
        cells = (past.attempt, plain(past.phase).upper(), plain(name_of(past.node)), code)
        made.add_row(*cells, moment(past.started), moment(past.ended), plain(past.reason))
    return made


def name_of(place: Any) -> str:
    """What a place is called that comes as its name, or as an object with it."""
    if isinstance(place, dict):
        return str(place.get("name") or place.get("id") or "")
    return str(place or "")


def moment(seconds: float) -> str:
    """A point in time, in the time of this machine; empty for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def event_line(event: Event) -> str:
    """An event on one line, with rich's markup."""
    where = f" [dim](of {plain(event.cluster)})[/]" if event.cluster else ""
    return f"[dim]{moment(event.time)}[/]  {plain(event.kind):12}  {plain(event.text)}{where}"


def plain(text: str) -> str:
    """What others have written, so that a terminal shows it and does nothing else."""
    return escape("".join(each if each.isprintable() or each == "\n" else "�" for each in text))


def coloured(phase: Phase) -> str:
    """A phase with the colour that says how things are."""
    colour = "green" if phase in _WELL else "red" if phase in _TROUBLE else "yellow"
    return f"[{colour}]{phase.value.upper()}[/]"


def age(seconds: float) -> str:
    """A length of time in its largest unit: `40s`, `3m`, `5h`, `12d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _word(state: str, capacity: Capacity, *, cordoned: bool = False, drained: bool = False) -> str:
    """A child's state, or what matters more of one that is there."""
    if state != "live":
        return state
    return "troubled" if capacity.troubles else "drained" if drained else "cordoned" if cordoned else state


def _state(state: str) -> str:
    return state if state == "live" else f"[yellow]{plain(state)}[/]"
