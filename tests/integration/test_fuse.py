"""The fuse: a real process that ends real instances when nobody has given them more time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mangrove.base.clock import SystemClock
from mangrove.base.ids import new_id
from node_engine import fuse as fuse_module
from node_engine import fuse_process
from node_engine.fuse import FuseFile
from node_engine.runtimes import processes
from node_engine.runtimes.docker import DockerRuntime
from node_engine.runtimes.interface import RuntimeFault
from node_engine.runtimes.process import ProcessRuntime
from tests.integration.links import wait_until
from tests.integration.runtimes import IMAGE, INSTALLATION, load_image, remove_all, run, workload
from tests.integration.test_process_runtime import PERMITTED

#: Nobody else's: a fuse ends what has this id on the whole machine, where other tests run at the same time.
NODE = new_id()
#: Those that tests have used: the fuses are children of this process.
STARTED: list[FuseFile] = []


def now() -> float:
    return SystemClock().now()


def fuses(folder: Path) -> list[psutil.Process]:
    """Those that guard this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder / "fuse") in word for word in process.cmdline()):  # a zombie has no arguments
                found.append(process)
    return found


def node(folder: Path, *, groups: str = "", docker: str = "") -> FuseFile:
    """The fuse of a newly started engine."""
    STARTED.append(
        fuse := FuseFile(
            folder, processes.boot_id(), NODE, instances=folder / "instances", groups=groups, docker=docker
        )
    )
    return fuse


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    (tmp_path / "fuse").unlink(missing_ok=True)
    wait_until(lambda: not fuses(tmp_path) and not any(fuse._child_lives() for fuse in STARTED), "no fuse is left")


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(not PERMITTED, reason="not root"))])
def runtime(folder: Path, request: pytest.FixtureRequest) -> Iterator[ProcessRuntime]:
    made = ProcessRuntime(folder / "instances", INSTALLATION, NODE, use_control_groups=request.param)
    yield made
    remove_all(made)
    made.close()


def running(runtime: ProcessRuntime) -> set[str]:
    return {instance.attempt for instance in runtime.list() if instance.state == "running"}


def test_what_is_over_its_time_is_ended_and_nothing_else(folder: Path, runtime: ProcessRuntime) -> None:
    fuse = node(folder, groups=runtime.groups)
    # One hides in a session of its own, another forgets who it is as well.
    script = "setsid sleep 1000 & env -i sleep 1000 & echo $! >hidden; sleep 1000"
    run(runtime, workload("over", "sh", "-c", script))
    run(runtime, workload("not", "sleep", "1000"))
    hidden = folder / "instances" / "over" / "work" / "hidden"
    wait_until(lambda: hidden.exists() and bool(hidden.read_text()), "it runs")
    members = {pid for pid in psutil.pids() if processes.has_environment(pid, {b"MANGROVE_ATTEMPT=over"})}
    members.add(int(hidden.read_text()))
    supervisor = min(members)
    fuse.set({"over": now(), "not": now() + 1000})
    fuse.expect()
    wait_until(lambda: running(runtime) == {"not"}, "the fuse has done its work")
    wait_until(lambda: not (members - {supervisor}) & set(psutil.pids()), "nothing of it is left")
    (over,) = (instance for instance in runtime.list() if instance.attempt == "over")
    assert over.exit_code == 137, "its supervisor was left to tell of it"


def test_more_time_is_more_time_and_an_engine_that_comes_back_has_the_same_fuse(
    folder: Path, runtime: ProcessRuntime
) -> None:
    first = node(folder)
    run(runtime, workload("a", "sleep", "1000"))
    first.set({"a": now() + 1000})
    first.expect()
    short = now() + 4.0  # once the fuse is there; long enough for a busy machine to come to the next lines
    first.set({"a": short})
    threading.Event().wait(2 * fuse_process.PERIOD)  # it looks at that
    first.set({"a": now() + 60})
    threading.Event().wait(short + fuse_process.GRACE + 2 * fuse_process.PERIOD - now())
    assert running(runtime) == {"a"}
    (process,) = fuses(folder)
    second = node(folder)
    kept = second.load()
    assert kept.keys() == {"a"}
    assert kept["a"] > now()
    second.expect()
    second.set({"a": now()})
    wait_until(lambda: not running(runtime), "the fuse has done its work")
    assert fuses(folder) == [process]


def test_a_fuse_that_was_killed_is_there_again_with_the_next_word(folder: Path) -> None:
    fuse = node(folder)
    fuse.set({"a": now() + 1000})
    fuse.expect()
    (process,) = fuses(folder)
    process.kill()
    wait_until(lambda: not fuse._burns(), "it is dead")  # its command line is gone before its lock
    fuse.set({"a": now() + 1000})
    fuse.expect()
    (again,) = fuses(folder)
    assert again.pid != process.pid


def test_a_fuse_with_nothing_to_guard_ends(folder: Path) -> None:
    fuse = node(folder)
    fuse.set({"a": now() + 1000})
    fuse.expect()
    fuse.set({})
    wait_until(lambda: not fuses(folder), "the fuse has done its work")
    assert fuse.load() == {}


def test_it_is_small_and_alone(folder: Path) -> None:
    fuse = node(folder)
    fuse.set({"a": now() + 1000})
    fuse.expect()
    (process,) = fuses(folder)
    assert os.getsid(process.pid) == process.pid, "signals to the engine's session do not reach it"
    assert process.environ() == {} or set(process.environ()) <= {"LC_CTYPE"}
    (own,) = (line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "RssAnon" in line)
    assert int(own.split()[1]) < 10_000, "KiB; the rest is Python itself, which the engine has in memory anyway"


def test_what_another_boot_said_counts_for_nothing(folder: Path) -> None:
    STARTED.append(fuse := FuseFile(folder, "boot-1", NODE, instances=folder, groups="", docker=""))
    fuse.set({"a": now() + 1000})
    assert fuse.load() == {"a": pytest.approx(now() + 1000, abs=60)}
    assert FuseFile(folder, "boot-2", NODE, instances=folder, groups="", docker="").load() == {}


def test_without_a_fuse_nothing_is_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse_module, "_PROGRAM", "raise SystemExit({root!r}{args!r})")
    monkeypatch.setattr(fuse_module, "_APPEAR", 0.5)
    with pytest.raises(RuntimeFault, match="fuse"):
        node(folder).expect()


def test_it_ends_when_all_has_been_over_for_long() -> None:
    deadlines, over = {"a": 10.0, "b": 20.0}, 20.0 + fuse_process.RETIRE
    assert fuse_process.is_done(deadlines, {"a": 1.0, "b": 1.0}, over)
    assert not fuse_process.is_done(deadlines, {"a": 1.0, "b": 1.0}, over - 0.1)
    assert not fuse_process.is_done(deadlines, {"a": 1.0}, over), "something of b was there a moment ago"


def test_a_file_that_was_half_written_is_read_again(folder: Path) -> None:
    path = folder / "fuse"
    fuse = node(folder)
    fuse.set({"a": 1000.25, "b": 7.0})
    assert fuse_process.read(str(path)) == (processes.boot_id(), NODE, {"a": 1000.25, "b": 7.0})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert fuse_process.read(str(path)) is None
    path.write_bytes(b"00000000\nx y z\n")
    assert fuse_process.read(str(path)) is None
    assert node(folder).load() == {}


def test_a_file_that_an_engine_left_half_written_takes_no_time_away_and_gives_none(
    folder: Path, runtime: ProcessRuntime
) -> None:
    fuse = node(folder, groups=runtime.groups)
    run(runtime, workload("a", "sleep", "1000"))
    fuse.set({"a": now() + 1000})
    fuse.expect()
    fuse.set({"a": now() + 1.0})
    threading.Event().wait(2 * fuse_process.PERIOD)  # it looks at that
    (folder / "fuse").write_bytes(b"0000")
    wait_until(lambda: not running(runtime), "the fuse goes by what it read last")


@pytest.fixture
def anonymous() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session, with another in it; neither says whose it is."""
    script = "sleep 1000 & echo $!; wait"
    made = subprocess.Popen(["/bin/sh", "-c", script], env={}, start_new_session=True, stdout=subprocess.PIPE)
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.killpg(made.pid, signal.SIGKILL)
    made.communicate()


def test_what_says_of_itself_nothing_is_found_by_its_session(folder: Path, anonymous: subprocess.Popen[bytes]) -> None:
    leader = processes.read_process(anonymous.pid)
    assert leader is not None
    (folder / "a").mkdir()
    (folder / "a" / "record.json").write_text(f'{{"pid":{leader.pid},"born":{leader.born},"more":1}}')
    assert anonymous.stdout is not None
    inner = int(anonymous.stdout.readline())
    assert fuse_process.end("a", NODE, str(folder), "")
    wait_until(lambda: not psutil.pid_exists(inner), "it is ended")
    assert anonymous.wait(30) == 0, "who leads it may tell of that"


def test_what_says_of_itself_nothing_is_found_by_its_control_group(
    folder: Path, anonymous: subprocess.Popen[bytes]
) -> None:
    assert anonymous.stdout is not None
    inner = int(anonymous.stdout.readline())
    (folder / "a").mkdir()
    (folder / "a" / "cgroup.procs").write_text(f"{inner}\n")
    assert fuse_process.end("a", NODE, str(folder / "nothing"), str(folder))
    wait_until(lambda: not psutil.pid_exists(inner), "it is ended")


@pytest.mark.parametrize("boot", ["another", ""], ids=["of another boot", "over for long"])
def test_it_goes_by_no_other_boot_and_ends_when_nothing_is_left_to_do(folder: Path, boot: str) -> None:
    mine, sleeping = str(folder / "fuse"), ["/bin/sleep", "1000"]
    over = {"a": now() - fuse_process.RETIRE} if not boot else {"a": 1.0}
    with subprocess.Popen(sleeping, env={"MANGROVE_ATTEMPT": "a", "MANGROVE_NODE": NODE}) as process:
        try:
            with (folder / "fuse").open("wb") as file:
                fuse_process.write(file.fileno(), boot or processes.boot_id(), NODE, over)
            before = Path.cwd()
            try:
                fuse_process.main(mine, str(folder), "", "")  # returns
            finally:
                os.chdir(before)
            assert (process.poll() is None) == bool(boot)
        finally:
            process.kill()


def test_a_container_engine_is_asked_to_kill_what_is_over(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(folder / "engine"))
        engine.listen()
        engine.settimeout(60)
        fuse = node(folder, docker=f"unix://{folder}/engine")
        fuse.set({"a": now()})
        connection, _ = engine.accept()
        with connection:
            assert connection.recv(1024).startswith(b"POST /containers/mangrove-a/kill HTTP/1.1\r\n")


@pytest.mark.docker
@pytest.mark.parametrize("way", ["signal", "request"])
def test_a_container_is_ended_without_the_engine(
    folder: Path, container_host: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_image(container_host)
    runtime = DockerRuntime(INSTALLATION, NODE, host=container_host)
    attempt = f"fuse{way}"
    try:
        script = "trap '' TERM; sleep 1000"
        work = workload(
            attempt,
            "sh",
            "-c",
            script,
            runtime="docker",
            image=IMAGE,
            added=(f"MANGROVE_NODE={NODE}", f"MANGROVE_ATTEMPT={attempt}"),
        )
        run(runtime, work)
        if way == "request":  # as where the fuse is not root
            fuse_process.kill_container(container_host, attempt)
        else:
            fuse = node(folder)
            fuse.set({attempt: now()})
            fuse.expect()
        wait_until(lambda: [one.state for one in runtime.list()] == ["exited"], "the fuse has done its work")
        assert [one.exit_code for one in runtime.list()] == [128 + signal.SIGKILL]
    finally:
        remove_all(runtime)
        runtime.close()
