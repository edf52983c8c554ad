"""`mangrove demo` as a newcomer runs it: it shows what it promises, and leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from examples.image import IMAGE
from node_engine.runtimes.interface import LABEL_NODE
from tests.e2e.machine import LONG, Machine, Said

#: What a demonstration runs: the analyst, the board, and two sensors.
INSTANCES = ["analyst-0", "board-0", "sensor-0", "sensor-1"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.end()
    assert list(tmp_path.iterdir()) == []  # nor any file


def table(said: Said, title: str) -> list[list[str]]:
    """The cells of the table below a title, without its headings."""
    lines = said.output.partition(title)[2].splitlines()
    rows: list[list[str]] = []
    for line in lines[1:]:
        if line.startswith("│"):
            rows.append([cell.strip() for cell in line.strip("│").split("│")])
        elif line.startswith("└"):
            break
    return rows


def check(said: Said, kind: str) -> None:
    """That all was shown: where it runs, what moved, what was measured."""
    assert f"an example that runs as {kind}" in said.output
    nodes = {row[0]: row[1] for row in table(said, "Nodes")}
    assert nodes == {f"node-{c}-{n}": f"cluster-{c}" for c in (1, 2) for n in (1, 2)}

    first = {row[0]: row[1:] for row in table(said, "Where it runs")}
    assert sorted(first) == INSTANCES
    for status, cluster, node, took in first.values():
        assert status == "RUNNING"
        assert nodes[node] == cluster
        assert re.fullmatch(r"\d+ ms", took)

    board = table(said, "What the board says")
    assert len(board) == 2
    for name, cpu, memory, load, threads, samples in board:
        sensor, _, node = name.partition(" on ")
        assert first[sensor][2] == node
        assert 0 <= float(cpu.removesuffix(" %")) <= 100
        assert 0 < float(memory.removesuffix(" %")) <= 100
        assert abs(float(load) - os.getloadavg()[0]) < 30
        assert int(threads) > 50
        assert int(samples) >= 1

    victim = re.search(r"killing (node-1-\d) as a power cut does", said.output)
    assert victim is not None
    dead = victim[1]
    after = {row[0]: row[1:] for row in table(said, f"After {dead} has died")}
    assert sorted(after) == INSTANCES
    moved = 0
    for name, (status, _, node, was_on, back) in after.items():
        assert status == "RUNNING"
        assert node != dead
        if first[name][2] == dead:
            assert was_on == dead
            assert 1 < float(back.removesuffix(" s")) < LONG
            moved += 1
        else:
            assert (node, was_on, back) == (first[name][2], "", "")
    assert moved >= 1

    parts = {row[0]: row[1:] for row in table(said, "What each part costs")}
    assert sorted(parts) == sorted(["root", "cluster-1", "cluster-2", *nodes])
    for name, (processes, memory, used, lately) in parts.items():
        assert int(processes) == (1 if name in nodes else 2)  # with its broker
        assert 5 < float(memory.removesuffix(" MiB")) < 200
        assert 0 < float(used.removesuffix(" s")) < LONG
        assert (lately == "died") == (name == dead)
    measured = table(said, "What the nodes measure of the instances")
    assert [row[0] for row in measured] == INSTANCES
    assert all(0 < float(row[3].removesuffix(" MiB")) < 100 for row in measured)
    assert "Everything is stopped" in said.output.splitlines()[-1]


def test_it_shows_all_and_leaves_nothing(machine: Machine) -> None:
    said = machine.mangrove("demo", "--runtime", "process")
    check(said, "processes (as you said)")
    assert "Traceback" not in said.all


@pytest.mark.docker
def test_it_runs_as_containers_where_an_engine_answers(machine: Machine, docker_host: str) -> None:
    machine.environment["DOCKER_HOST"] = docker_host
    with contextlib.closing(docker.DockerClient(base_url=docker_host)) as client:
        check(machine.mangrove("demo"), "containers (a Docker engine answers here)")
        assert client.containers.list(all=True, filters={"label": LABEL_NODE}) == []
        assert client.images.get(IMAGE)


def test_an_engine_that_is_asked_for_and_not_there_is_said_at_once(machine: Machine) -> None:
    machine.environment["DOCKER_HOST"] = f"unix://{machine.home}/missing.sock"
    said = machine.mangrove("demo", "--runtime", "docker", ok=False)
    assert (said.code, said.output) == (5, "")
    assert said.error == "Error: no Docker engine answers here: `mangrove demo --runtime process` needs none\n"


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "killing"), (signal.SIGTERM, "starting")])
def test_it_can_be_interrupted_at_any_time(machine: Machine, number: signal.Signals, moment: str) -> None:
    with machine.begin("demo", "--runtime", "process") as process:
        read_until(process, moment)
        process.send_signal(number)
        output, error = process.communicate(timeout=LONG)
    assert process.returncode == 130, error
    assert output.splitlines()[-1] == "Interrupted; everything is stopped."
    assert "Traceback" not in error


def test_a_program_that_dies_fails_it_with_what_it_said_last(machine: Machine) -> None:
    with machine.begin("demo", "--runtime", "process") as process:
        read_until(process, "registered")
        [root] = [each for each in machine.processes() if "root_orchestrator.main" in each.cmdline()]
        root.kill()
        output, error = process.communicate(timeout=LONG)
    assert process.returncode == 1, error
    assert "end of the log of root" in output
    assert " INFO root " in output  # what it said last
    assert "The demonstration failed: root has ended" in output
    assert "Traceback" not in error


def read_until(process: subprocess.Popen[str], word: str) -> None:
    """Read what a command writes up to a line with `word`."""
    assert process.stdout is not None
    deadline = time.monotonic() + LONG
    while word not in (line := process.stdout.readline()):
        assert line, f"it ended without saying {word!r}"
        assert time.monotonic() < deadline
