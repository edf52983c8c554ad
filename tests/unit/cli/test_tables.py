"""Tables: what they say, and that what others have written cannot disturb them."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mangrove.cli.tables import (
    Row,
    age,
    clusters_table,
    event_line,
    instances_table,
    nodes_table,
    plain,
    services_table,
)
from mangrove.client.documents import Application, Cluster, Event, Instance, Node, Place, Service
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources

APPLICATION = Application("a" * 24, "pulse", "demo")
PLACED = Instance(0, Phase.RUNNING, "s.0", cluster=Place("c", "north"), node=Place("n1", "north-1"))


def service(name: str = "sensor", **phases: int) -> Service:
    return Service("s", name, "demo", APPLICATION.id, phases=phases)


def shown(table: Any) -> str:
    written = StringIO()
    Console(file=written, width=160).print(table)
    return written.getvalue()


def test_instances_with_status_place_and_reason() -> None:
    pending = Instance(2, Phase.PENDING, "s.2", reason="no node fits")
    rows = [Row(APPLICATION, service(), pending), Row(APPLICATION, service(), PLACED)]
    assert [(row.name, row.status, row.cluster, row.node, row.node_id, row.runs) for row in rows] == [
        ("sensor-2", "PENDING", "", "", "", False),
        ("sensor-0", "RUNNING", "north", "north-1", "n1", True),
    ]
    lines = shown(instances_table(rows)).splitlines()
    assert lines[1].split() == ["pulse.sensor.0", "RUNNING", "north", "north-1", "0"]
    assert "no node fits" in lines[2]


def test_services_with_what_their_instances_do() -> None:
    line = shown(services_table([service(running=2, completed=1, pending=3)], {APPLICATION.id: APPLICATION}))
    assert line.splitlines()[1].split() == ["pulse.sensor", "3/6", "demo", "s", "3", "PENDING"]


@pytest.mark.parametrize("text", ["[red]trouble[/]", "[/]", "exit code 3 [Errno 2]", "a\\[b]"])
def test_what_looks_like_markup_is_shown_as_it_is(text: str) -> None:
    row = Row(APPLICATION, service(text), Instance(0, Phase.FAILED, reason=text))
    assert shown(instances_table([row])).count(text) == 2


def test_a_node_cannot_play_with_the_terminal() -> None:
    assert plain("\x1b[2Jgone\r\x07") == "�[2Jgone��"
    row = Row(APPLICATION, service(), Instance(0, Phase.FAILED, reason="\x1b]0;title\x07"))
    assert "\x1b" not in shown(instances_table([row]))
    assert "\x1b" not in event_line(Event("1", 0.0, "placed", "x", "\x1b[2J"))


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


def test_what_matters_more_than_that_a_child_is_there() -> None:
    troubled = Capacity(troubles=("its disk is full",))
    nodes = [
        Node("1", "a", "live", Place("c", "north"), troubled, cordoned=True),
        Node("2", "b", "live", Place("c", "north"), cordoned=True),
        Node("3", "c", "silent", Place("c", "north"), troubled),
    ]
    assert re.findall(r"north +(\w+)", shown(nodes_table(nodes))) == ["troubled", "cordoned", "silent"]
    assert re.findall(
        r"north +(\w+)", shown(clusters_table([Cluster("1", "north", "live", 0.0, capacity=troubled)]))
    ) == ["troubled"]


def test_clusters_say_that_they_are_cordoned_or_drained() -> None:
    clusters = [
        Cluster("1", "north", "live", 0.0, cordoned=True),
        Cluster("2", "north", "live", 0.0, cordoned=True, drained=True),
        Cluster("3", "north", "silent", 0.0, cordoned=True),
    ]
    assert re.findall(r"north +(\w+)", shown(clusters_table(clusters))) == ["cordoned", "drained", "silent"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (86400 * 12.5, "12d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
