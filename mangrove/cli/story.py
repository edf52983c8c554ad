"""What `mangrove demo` shows, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rich.console import Console

from mangrove.cli import setups
from mangrove.cli.example import Example, ensure_image
from mangrove.cli.one_machine import OneMachine
from mangrove.cli.processes import Figures
from mangrove.cli.tables import Row, coloured, nodes_table, plain, rows_of, table
from mangrove.client.documents import Application
from mangrove.client.wait import wait_until

#: Seconds for anything that should take a moment, on a machine that may be small and busy.
PATIENCE = 60.0

#: Seconds between looks at what is being timed: a look costs the root a few milliseconds.
_LOOK = 0.03

#: Instances of services that have more than one.
_INSTANCES = {"sensor": 2}

#: The cluster that each service shall run on: the board on another one, so that it outlives the node that is killed.
_CLUSTERS = {"analyst": "cluster-1", "sensor": "cluster-1", "board": "cluster-2"}

#: What of the board's figures is shown, with its unit.
_FIGURES = {"cpu": "%", "memory": "%", "load": "", "threads": ""}

#: Seconds after which a figure on the board is old: sensors send every second.
_OLD = 3.0

_MIB = 1024 * 1024

_Value = TypeVar("_Value")


class Story:
    """The demonstration. Each step says what it does, and fails with an error when that does not come about."""

    def __init__(self, shown: Console, machine: OneMachine, example: Example) -> None:
        self._console = shown
        self._machine = machine
        self._example = example
        self._client = machine.client
        self._begun = time.monotonic()
        self._application: Application
        self._took: dict[str, float] = {}

    def run(self) -> None:
        """All of it. Raises MangroveError, OSError."""
        self._start()
        self._deploy()
        before, begun = self._machine.figures(), time.monotonic()
        self._use()
        self._lose_a_node()
        self._show_costs(before, self._machine.figures(), time.monotonic() - begun)

    def _start(self) -> None:
        setup, example = self._machine.setup, self._example
        kind = "containers" if example.runtime == "docker" else "processes"
        self._console.print(
            f"[bold]Mangrove[/] on this machine alone: a root, {setup.clusters} clusters of {setup.nodes} nodes each, "
            f"and an example that runs as [bold]{kind}[/] ({plain(example.why)}).\n"
            "The example is pulse: sensors read this machine's figures, an analyst keeps them, a board shows them.",
            soft_wrap=True,
        )
        if example.runtime == "docker":
            self._say("making an image of the example, of this machine's Python, unless it is there")
            self._say("made it; it is kept for the next time" if ensure_image() else "it is there")
        self._say(f"starting {len(self._machine.programs)} programs; clusters and nodes join with tokens")
        self._machine.up()
        self._say(f"all are connected, and {setups.USER} is logged in to the root's REST API, http://{setup.address}")
        self._console.print(nodes_table(self._client.nodes(), "Nodes"))

    def _deploy(self) -> None:
        for service, cluster in _CLUSTERS.items():
            self._example.place(service, cluster)
        [self._application] = self._client.create_applications(self._example.sla)
        services = list(self._client.services(self._application.id))
        names = ", ".join(f"{each.name} on {_CLUSTERS[each.name]}" for each in services)
        self._say(f"registered the application {self._application.name}, which wants {names}")
        asked: dict[str, float] = {}
        for each in services:
            for _ in range(_INSTANCES.get(each.name, 1)):
                now = time.monotonic()
                asked[f"{each.name}-{self._client.deploy(each.id)}"] = now

        def all_run() -> bool:
            now, rows = time.monotonic(), self._rows()
            for row in rows:
                if row.status == "RUNNING":
                    self._took.setdefault(row.name, now - asked[row.name])
            return self._took.keys() == asked.keys()

        self._wait(all_run, "all instances to run")
        self._say(f"all {len(asked)} instances run")
        shown = table("Where it runs", "instance", "status", "cluster", "node", ">from request to RUNNING")
        for row in self._rows():
            took = f"{1000 * self._took[row.name]:.0f} ms"
            shown.add_row(row.name, coloured(row.instance.phase), row.cluster, row.node, took)
        self._console.print(shown)

    def _use(self) -> None:
        summary, sensors = self._ask_board(), self._sensors()
        self._say(f"asked the board, http://{self._example.board}/, about this machine")
        shown = table("What the board says", "sensor", *(f">{name}" for name in _FIGURES), ">samples")
        for name, row in sensors.items():
            figures = summary["sources"][name]["metrics"]
            cells = [f"{figures[metric]['newest']:.4g} {unit}".strip() for metric, unit in _FIGURES.items()]
            shown.add_row(f"{row.name} on {row.node}", *cells, str(figures["cpu"]["count"]))
        self._console.print(shown)

    def _ask_board(self) -> dict[str, Any]:
        """What the board says, once it has new figures of every sensor."""
        wanted = self._sensors().keys()

        def look() -> dict[str, Any]:
            summary = self._example.ask()
            new = {
                name
                for name, sensor in summary["sources"].items()
                if sensor["silent_for"] < _OLD and _FIGURES.keys() <= sensor["metrics"].keys()
            }
            return summary if wanted <= new and summary["age"] < _OLD else {}

        return self._wait(look, "the board to show figures of every sensor")

    def _sensors(self) -> dict[str, Row]:
        """By what the board calls them: their host name, which is their number, and the start of their node's id."""
        sensors = [row for row in self._rows() if row.service.name == "sensor"]
        return {f"instance-{row.instance.number}.{row.node_id[:6]}": row for row in sensors}

    def _lose_a_node(self) -> None:
        before = {row.name: row for row in self._rows()}
        nodes = [row.node for row in before.values() if row.service.name == "sensor"]
        victim = max(sorted(set(nodes)), key=nodes.count)
        lost = sorted(row.name for row in before.values() if row.node == victim)
        lease = self._machine.setup.lease
        what = "its containers" if self._example.runtime == "docker" else "its processes"
        self._say(
            f"[bold]killing {victim}[/] as a power cut does: SIGKILL to its engine and to {what} ({', '.join(lost)}). "
            f"Its cluster may move them once it has not heard the node for {lease:g} s"
        )
        begun = time.monotonic()
        self._machine.lose(victim)
        back: dict[str, float] = {}

        def all_moved() -> bool:
            now, rows = time.monotonic(), {row.name: row for row in self._rows()}
            for name in lost:
                if rows[name].status == "RUNNING" and rows[name].node not in ("", victim):
                    back.setdefault(name, now - begun)
            return back.keys() == set(lost) and all(row.status == "RUNNING" for row in rows.values())

        self._wait(all_moved, "the instances to come back elsewhere")
        self._say(f"what ran on {victim} runs again {max(back.values()):.1f} s after it died")
        shown = table(f"After {victim} has died", "instance", "status", "cluster", "node", "was on", ">back after")
        for row in self._rows():
            moved = row.name in back
            after = f"{back[row.name]:.1f} s" if moved else ""
            cells = (
                row.name,
                coloured(row.instance.phase),
                row.cluster,
                row.node,
                before[row.name].node if moved else "",
            )
            shown.add_row(*cells, after)
        self._console.print(shown)
        self._ask_board()
        self._say("and the board shows new figures of every sensor, at the same address")

    def _show_costs(self, before: Mapping[str, Figures], after: Mapping[str, Figures], seconds: float) -> None:
        lately = f">CPU over {seconds:.0f} s"
        shown = table("What each part costs", "part", ">processes", ">memory (PSS)", ">CPU in all", lately)
        for name, first in before.items():
            figures = after.get(name, first)
            share = f"{100 * (figures.cpu - first.cpu) / seconds:.1f} % of a core" if name in after else "died"
            cells = (str(figures.processes), f"{figures.memory / _MIB:.1f} MiB", f"{figures.cpu:.2f} s", share)
            shown.add_row(name, *cells)
        self._console.print(shown)
        rows = self._wait(self._measured_rows, "the nodes to report what their instances use")
        shown = table("What the nodes measure of the instances", "instance", "status", "node", ">memory", ">CPU")
        for row in rows:
            if used := row.instance.usage:
                shown.add_row(
                    row.name,
                    coloured(row.instance.phase),
                    row.node,
                    f"{used.memory / _MIB:.1f} MiB",
                    f"{used.cpu:.1f} % of a core",
                )
        self._console.print(shown)

    def _measured_rows(self) -> list[Row]:
        """All instances, once each has been measured."""
        rows = self._rows()
        return rows if all(row.instance.usage is not None for row in rows) else []

    def _rows(self) -> list[Row]:
        return rows_of(self._client, [self._application])

    def _wait(self, condition: Callable[[], _Value], what: str) -> _Value:
        """What `condition` gives once it is true. Raises TimedOut, and Ended when a program ends meanwhile."""

        def look() -> _Value:
            self._machine.check()
            return condition()

        return wait_until(look, PATIENCE, what=what, interval=_LOOK, longest=_LOOK)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._begun:5.1f} s[/]  {text}", soft_wrap=True)
