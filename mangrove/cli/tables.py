"""What runs where, as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mangrove.client.documents import Application, Instance, Node, ServiceSummary
from mangrove.client.root import RootClient

#: Columns when the output is no terminal: lines are neither broken nor cut which others may search.
_WIDE = 100_000

#: What Oakestra says where there is nothing to say.
_NO_DETAIL = "No extra information"

#: How a status is shown. Oakestra writes what is wrong with the fit in other letters (`TargetCluster…`, `NO_…`); all
#: that is neither well nor trouble is on its way.
_WELL, _TROUBLE = ("RUNNING", "COMPLETED"), ("FAILED", "DEAD")


@dataclass(frozen=True, slots=True)
class Row:
    """An instance of a service. status, detail: in Oakestra's words."""

    application: Application
    service: ServiceSummary
    instance: Instance
    status: str
    detail: str

    @property
    def name(self) -> str:
        """Service and number, as in `sensor-0`."""
        return f"{self.service.name}-{self.instance.number}"

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


def rows_of(root: RootClient, applications: Iterable[Application]) -> Iterator[Row]:
    """All instances of applications. Raises what RootClient's methods raise."""
    for application in applications:
        for service in root.services(application.id):
            words = {each["instance_number"]: each for each in service.instances}
            for instance in root.service(service.id).instances:
                said = words.get(instance.number)
                if said is not None:  # else it is newer than the first answer
                    detail = str(said["status_detail"])
                    detail = "" if detail == _NO_DETAIL else detail
                    yield Row(application, service, instance, str(said["status"]), detail)


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


def services_table(rows: Iterable[Row], title: str = "") -> Table:
    """Instances, and where they run."""
    made = table(title, "application", "service", ">instance", "status", "cluster", "node", "reason")
    for row in rows:
        made.add_row(
            plain(row.application.name),
            plain(row.service.name),
            str(row.instance.number),
            coloured(row.status),
            plain(row.cluster),
            plain(row.node),
            plain(row.detail),
        )
    return made


def nodes_table(nodes: Iterable[Node], title: str = "") -> Table:
    """Nodes, and how busy they are."""
    made = table(title, "node", "cluster", "state", ">CPU", ">memory", ">instances", "runtimes")
    for node in sorted(nodes, key=lambda node: (node.cluster.name, node.name)):
        room, used = node.capacity.allocatable, node.usage
        cpu, memory = f"{room.cpu / 1000:g} cores", f"{room.memory} MiB"
        if used.measured > 0:
            cpu, memory = f"{used.cpu:.0f} % of {cpu}", f"{used.memory_percent:.0f} % of {memory}"
        made.add_row(
            plain(node.name),
            plain(node.cluster.name),
            node.state if node.state == "live" else f"[yellow]{node.state}[/]",
            cpu,
            memory,
            str(node.instances),
            plain(", ".join(node.capacity.runtimes)),
        )
    return made


def plain(text: str) -> str:
    """What others have written, so that a terminal shows it and does nothing else."""
    return escape("".join(each if each.isprintable() or each == "\n" else "�" for each in text))


def coloured(status: str) -> str:
    """A status with the colour that says how things are."""
    trouble = status in _TROUBLE or not status.isupper() or status.startswith("NO_")
    colour = "green" if status in _WELL else "red" if trouble else "yellow"
    return f"[{colour}]{status}[/]"
