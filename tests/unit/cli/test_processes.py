"""Programs of a set-up as processes: started, found by what they are, measured, and stopped for certain."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mangrove.base.errors import Unavailable
from mangrove.cli import processes
from mangrove.cli.processes import MARK
from mangrove.cli.setups import Program, Setup
from mangrove.client.wait import wait_until

PATIENCE = 30.0

#: Says that it runs, and what it was given, once it took some time of a processor (counted in hundredths of a
#: second, which may round to none); with `stubborn` it does not end when it is asked to.
PLAYED = """
import os, signal, sys, time
print("mangrove-node plays", *sys.argv[1:], os.environ.get("MANGROVE_TOKEN"), os.environ.get("MANGROVE_PASSWORD"))
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while sum(os.times()[:2]) < 0.05:
    pass
print("ready", flush=True)
time.sleep(1000)
"""

Play = Callable[..., tuple[Program, psutil.Process]]


@pytest.fixture
def setup() -> Setup:
    return Setup(f"set-up-{uuid.uuid4()}", 12000, environment={"DOCKER_HOST": "unix:///run/other.sock"})


@pytest.fixture
def play(setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Starts a program that is only played."""
    (tmp_path / "played_node.py").write_text(PLAYED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(processes._MODULES, "node", "played_node")
    started: list[psutil.Process] = []

    def start(
        name: str = "node-1-1", *arguments: str, of: Setup = setup, **environment: str
    ) -> tuple[Program, psutil.Process]:
        program = Program(name, "node", "cluster-1", tmp_path / name, tmp_path / f"{name}.log", arguments)
        process = processes.start(of, program, **environment)
        started.append(process)
        wait_until(lambda: "ready" in processes.end_of_log(program), PATIENCE, what="the program to start")
        return program, process

    yield start
    for process in started:
        if process.is_running():
            process.kill()
            process.wait(PATIENCE)


def test_what_is_started_is_found_by_its_folder(setup: Setup, play: Play, tmp_path: Path) -> None:
    program, process = play()
    other, second = play("node-1-2")
    assert processes.running(setup, [program, other]) == {"node-1-1": process, "node-1-2": second}
    assert processes.running(setup, [other]) == {"node-1-2": second}
    assert os.getsid(process.pid) == process.pid  # Ctrl-C in the terminal does not reach it
    assert process.cwd() == str(tmp_path)


def test_the_same_folder_of_another_set_up_is_not_touched(setup: Setup, play: Play) -> None:
    """As in a container that has the same paths."""
    another = Setup("another", 12000)
    program, process = play(of=another)
    assert processes.running(setup, [program]) == {}
    assert processes.of_setup(setup) == []
    assert processes.running(another, [program]) == {"node-1-1": process}


def test_other_commands_in_the_same_environment_are_no_programs(setup: Setup, tmp_path: Path) -> None:
    program = Program("node-1-1", "node", "cluster-1", tmp_path / "node-1-1", tmp_path / "log", ())
    command = [sys.executable, "-c", "import time; time.sleep(1000)", "--data-dir", str(program.data)]
    with subprocess.Popen(command, env={**os.environ, MARK: setup.id}) as process:
        try:
            marked = wait_until(lambda: processes.of_setup(setup), PATIENCE, what="the process to be seen")
            assert [each.pid for each in marked] == [process.pid]
            assert processes.running(setup, [program]) == {}
        finally:
            process.kill()


def test_a_program_gets_what_is_meant_for_it_and_no_secret_of_the_user(
    setup: Setup, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANGROVE_PASSWORD", "hunter22")
    monkeypatch.setenv("MANGROVE_TOKEN", "of another time")
    program, process = play("node-1-1", "--name", "it", MANGROVE_TOKEN="mgv-1")
    said = processes.end_of_log(program)
    assert f"--data-dir {program.data} --name it --log-file {program.log} mgv-1 None" in said
    assert process.environ()["DOCKER_HOST"] == "unix:///run/other.sock"
    assert "mgv-1" not in " ".join(process.cmdline())
    program, _ = play("node-1-2")
    assert said.count("None") == 1
    assert "None None" in processes.end_of_log(program)
    assert program.log.stat().st_mode & 0o077 == 0


def test_asking_is_enough_or_not(setup: Setup, play: Play) -> None:
    _, willing = play()
    _, stubborn = play("node-1-2", "stubborn")
    processes.stop([willing], PATIENCE)
    processes.stop([willing, stubborn], 0.5)
    assert not processes.alive(willing)
    assert not processes.alive(stubborn)
    assert (willing.wait(PATIENCE), stubborn.wait(PATIENCE)) == (-15, -9)
    processes.stop([willing, stubborn], 0.5)  # again changes nothing
    assert processes.of_setup(setup) == []


def test_what_has_ended_is_not_alive_even_while_nobody_takes_note(
    play: Play,
) -> None:
    _, process = play()
    assert processes.alive(process)
    process.kill()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, PATIENCE, what="its end")
    assert not processes.alive(process)
    process.wait(PATIENCE)
    assert not processes.alive(process)


def test_figures_are_those_of_the_program(setup: Setup, play: Play) -> None:
    _, process = play()
    figures = processes.measure(setup, process)
    assert figures.processes == 1
    assert 1e6 < figures.memory < process.memory_info().rss + 1e6
    assert 0 < figures.cpu < 10
    process.kill()
    process.wait(PATIENCE)
    assert processes.measure(setup, process) == processes.Figures(0, 0.0, 0)


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    program = Program("node-1-1", "node", "cluster-1", tmp_path, tmp_path / "log", ())
    assert processes.end_of_log(program) == ""
    program.log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    shown = processes.end_of_log(program)
    assert len(shown) <= 2000
    assert shown.startswith("line ")
    assert shown.endswith("line 9999\n")
    program.log.write_bytes(b"short \xff\n")
    assert processes.end_of_log(program) == "short �\n"


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check_installed()
    monkeypatch.setitem(processes._NEEDED, "cluster", "no_such_package")
    with pytest.raises(Unavailable, match=r"the cluster needs no_such_package.*pip install 'mangrove\[all\]'"):
        processes.check_installed()
