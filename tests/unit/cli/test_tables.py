"""Tables of what runs where: true for every instance, and harmless whatever others have written into them."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mangrove.cli.tables import Row, nodes_table, plain, rows_of, services_table
from mangrove.client.documents import Application, Instance, Node, Place, Service, ServiceSummary
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources

APPLICATION = Application("a" * 24, "pulse", "demo")
PLACED = Instance(0, Phase.RUNNING, cluster=Place("c1", "north"), node=Place("n1", "north-1"))


class FakeRoot:
    """What a root answers about one service with some instances."""

    def __init__(self, said: list[dict[str, Any]], instances: tuple[Instance, ...]) -> None:
        self._said, self._instances = said, instances

    def services(self, application: str) -> list[ServiceSummary]:
        return [ServiceSummary("s" * 24, "sensor", "demo", application, instances=tuple(self._said))]

    def service(self, id: str) -> Service:
        return Service(id, "sensor", "demo", APPLICATION.id, "Admin", instances=self._instances)


def word(number: int, status: str, detail: str = "No extra information") -> dict[str, Any]:
    return {"instance_number": number, "status": status, "status_detail": detail}


def shown(table: Any) -> str:
    written = StringIO()
    Console(file=written, width=160).print(table)
    return written.getvalue()


def test_instances_with_status_place_and_reason() -> None:
    pending = Instance(2, Phase.PENDING, reason="no node fits")
    root = FakeRoot([word(0, "RUNNING"), word(2, "NoActiveClusterWithCapacity", "no node fits")], (PLACED, pending))
    rows = list(rows_of(root, [APPLICATION]))  # type: ignore[arg-type]
    assert [(row.name, row.status, row.cluster, row.node, row.node_id, row.detail) for row in rows] == [
        ("sensor-0", "RUNNING", "north", "north-1", "n1", ""),
        ("sensor-2", "NoActiveClusterWithCapacity", "", "", "", "no node fits"),
    ]
    lines = [line for line in shown(services_table(rows)).splitlines() if "sensor" in line]
    assert lines[0].split() == ["pulse", "sensor", "0", "RUNNING", "north", "north-1"]
    assert "no node fits" in lines[1]


def test_an_instance_that_came_between_two_answers_is_left_for_the_next_look() -> None:
    newer = Instance(1, Phase.PENDING)
    root = FakeRoot([word(0, "RUNNING")], (PLACED, newer))
    assert [row.name for row in rows_of(root, [APPLICATION])] == ["sensor-0"]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["[red]trouble[/]", "[/]", "exit code 3 [Errno 2]", "a\\[b]"])
def test_what_looks_like_markup_is_shown_as_it_is(text: str) -> None:
    row = Row(APPLICATION, ServiceSummary("s", text, "demo", "a"), PLACED, "FAILED", text)
    assert shown(services_table([row])).count(text) == 2


def test_a_node_cannot_play_with_the_terminal() -> None:
    assert plain("\x1b[2Jgone\r\x07") == "�[2Jgone��"
    row = Row(APPLICATION, ServiceSummary("s", "sensor", "demo", "a"), PLACED, "FAILED", "\x1b]0;title\x07")
    assert "\x1b" not in shown(services_table([row]))


def test_nodes_by_cluster_and_name_measured_or_not_yet() -> None:
    capacity = Capacity(Resources(cpu=4000, memory=8192), runtimes=("docker", "process"))
    nodes = [
        Node("2", "b", "live", Place("c2", "south"), capacity, usage=Usage(cpu=12.4, memory_percent=50, measured=1.0)),
        Node("1", "z", "silent", Place("c1", "north"), capacity, instances=3),
        Node("0", "a", "joined", Place("c1", "north")),
    ]
    lines = [line for line in shown(nodes_table(nodes)).splitlines() if "north" in line or "south" in line]
    assert [re.split(r" {2,}", line.rstrip()) for line in lines] == [
        ["a", "north", "joined", "0 cores", "0 MiB", "0"],
        ["z", "north", "silent", "4 cores", "8192 MiB", "3", "docker, process"],
        ["b", "south", "live", "12 % of 4 cores", "50 % of 8192 MiB", "0", "docker, process"],
    ]
