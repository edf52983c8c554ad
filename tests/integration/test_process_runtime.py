"""Processes as instances: they outlive the engine, keep to their limits, and leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.resources import Resources
from mangrove.model.specification import Port, Volume
from node_engine.runtimes import process as process_module
from node_engine.runtimes.cgroups import ControlGroups
from node_engine.runtimes.interface import Instance, RuntimeFault
from node_engine.runtimes.process import ProcessRuntime
from tests.integration.links import wait_until
from tests.integration.runtimes import INSTALLATION, output_of, remove_all, run, say_nothing, workload

CHECKOUT = Path(__file__).parents[2]


def permitted() -> bool:
    """Whether this machine lets us make control groups."""
    groups = ControlGroups.find(f"mangrove-probe{os.getpid()}")
    try:
        return groups is not None and not groups.why_not()
    finally:
        if groups:
            groups.tidy()


PERMITTED = permitted()
needs_groups = pytest.mark.skipif(not PERMITTED, reason="control groups are not permitted here (not root)")


class World:
    """The runtimes of one node, one after the other, as its engine is restarted."""

    def __init__(self, folder: Path, *, groups: bool) -> None:
        self.folder = folder
        self.groups = groups
        # In the arguments of what instances run, so that it is found wherever it hides.
        self.mark = uuid.uuid4().hex
        self._engine: ProcessRuntime | None = None

    def engine(self) -> ProcessRuntime:
        """The runtime of a newly started engine; the one before is closed, as if its engine had been."""
        if self._engine:
            self._engine.close()
        self._engine = ProcessRuntime(self.folder, INSTALLATION, "n1", use_control_groups=self.groups)
        return self._engine

    def marked(self) -> list[int]:
        """Processes with the mark in their arguments, but for supervisors."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                arguments = process.cmdline()
                if any(self.mark in each for each in arguments) and "mangrove-supervisor" not in arguments:
                    found.append(process.pid)
        return found

    def close(self) -> None:
        runtime = self.engine()
        remove_all(runtime)
        runtime.close()


@pytest.fixture(params=[pytest.param("groups", marks=needs_groups), "sessions"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """With control groups, and with nothing but sessions as for a user without rights."""
    made = World(tmp_path / "instances", groups=request.param == "groups")
    yield made
    made.close()
    left = made.marked()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


@pytest.fixture
def runtime(world: World) -> ProcessRuntime:
    return world.engine()


def only(runtime: ProcessRuntime) -> Instance:
    (instance,) = runtime.list()
    return instance


def ended(runtime: ProcessRuntime) -> Instance:
    wait_until(lambda: only(runtime).state == "exited", "the instance ended")
    return only(runtime)


def printed(runtime: ProcessRuntime, text: str, attempt: str = "a1") -> None:
    wait_until(lambda: text in output_of(runtime, attempt, 1000).decode(), f"{attempt} printed {text!r}")


# What an instance finds.


def test_it_has_a_clean_world_of_its_own(world: World, runtime: ProcessRuntime, tmp_path: Path) -> None:
    script = "env | sort; pwd; cat; echo oops >&2"
    given = workload(
        "a1",
        *("sh", "-c", script),
        environment=("GREETING=hello there",),
        volumes=(Volume(str(tmp_path), "/data"),),
        added=("MANGROVE_EPOCH=7",),
        gpus=("GPU-a", "GPU-b"),
    )
    run(runtime, given)

    assert ended(runtime).exit_code == 0
    work = world.folder / "a1" / "work"
    lines = output_of(runtime, "a1", 50).decode().splitlines()
    kept = [line for line in lines if not line.startswith(("PATH=", "LANG=", "OLDPWD="))]
    assert kept == [
        "CUDA_VISIBLE_DEVICES=GPU-a,GPU-b",
        "GREETING=hello there",
        f"HOME={work}",
        "MANGROVE_ATTEMPT=a1",
        "MANGROVE_EPOCH=7",
        f"MANGROVE_INSTALLATION={INSTALLATION}",
        "MANGROVE_NODE=n1",
        f"MANGROVE_VOLUME_0={tmp_path}",
        f"PWD={work}",
        str(work),
        "oops",
    ]


def test_its_signals_are_as_usual(runtime: ProcessRuntime) -> None:
    """Python ignores SIGPIPE, and a shell makes what runs in the background ignore SIGINT: neither may show here."""
    run(runtime, workload("a1", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"))
    ended(runtime)

    masks = [int(line.split()[1], 16) for line in output_of(runtime, "a1", 10).decode().splitlines()]
    of_glibc = 0b11 << 31  # 32 and 33 are its own, which posix_spawn lets be ignored
    assert [mask & ~of_glibc for mask in masks] == [0, 0]


def test_an_image_alone_is_the_command(runtime: ProcessRuntime, tmp_path: Path) -> None:
    program = tmp_path / "a program"
    program.write_text("#!/bin/sh\necho it ran; exit 4\n")
    program.chmod(0o755)
    run(runtime, workload("a1", image=str(program)))

    assert ended(runtime).exit_code == 4
    assert output_of(runtime, "a1", 5) == b"it ran\n"


def test_a_program_that_is_not_there_is_told_before_anything_is_made(runtime: ProcessRuntime) -> None:
    with pytest.raises(RuntimeFault, match="executable /nope/server not found on this node"):
        runtime.prepare(workload("a1", image="/nope/server"), say_nothing)
    assert not runtime.list()


def test_a_file_that_is_no_program(runtime: ProcessRuntime, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/nope/interpreter\n")
    program.chmod(0o755)
    run(runtime, workload("a1", image=str(program)))

    assert ended(runtime).exit_code in (126, 127)


def test_attempts_cannot_leave_the_folder(runtime: ProcessRuntime) -> None:
    with pytest.raises(RuntimeFault, match="is not made of letters and digits"):
        runtime.prepare(workload("../a1", "true"), say_nothing)


def test_a_port_that_is_taken(runtime: ProcessRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        given = workload("a1", "sleep", "60", ports=(Port(port, 80),))
        runtime.prepare(given, say_nothing)
        with pytest.raises(RuntimeFault, match=f"port {port} on this node is in use"):
            runtime.start(given)
    assert only(runtime).state == "prepared"
    assert runtime.start(given).state == "running"


# Who outlives whom.

_ENGINE = """
import sys
from pathlib import Path
from tests.integration.runtimes import run, workload
from node_engine.runtimes import process

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[4] == "before":
    import os, signal
    process.write_atomically = die
runtime = process.ProcessRuntime(Path(sys.argv[1]), sys.argv[5], "n1", use_control_groups=sys.argv[2] == "True")
script = "touch ran; until [ -e go ]; do sleep 0.02; done; exit 7"
run(runtime, workload("a1", "sh", "-c", script, sys.argv[3]))
print("started", flush=True)
sys.stdin.read()
"""


def engine_process(world: World, mark: str, dies: str) -> subprocess.Popen[bytes]:
    """An engine that starts a1. dies: `before` it has written down whom it started, or `later`, by whoever kills it."""
    return subprocess.Popen(
        [sys.executable, "-c", _ENGINE, str(world.folder), str(world.groups), mark, dies, INSTALLATION],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_it_survives_the_engines_sudden_death(world: World) -> None:
    with engine_process(world, "x", "later") as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"started\n"
        os.killpg(engine.pid, signal.SIGKILL)
    runtime = world.engine()

    assert only(runtime).state == "running"
    assert runtime.start(workload("a1", "true")) == only(runtime), "it is adopted, not started again"
    (world.folder / "a1" / "work" / "go").touch()
    assert ended(runtime).exit_code == 7


def test_nothing_runs_that_was_not_written_down(world: World) -> None:
    with engine_process(world, world.mark, "before") as engine:
        assert engine.wait(30) == -signal.SIGKILL
    wait_until(lambda: not world.marked(), "the supervisor gave up")
    runtime = world.engine()

    assert only(runtime) == Instance("a1", "prepared")
    assert not (world.folder / "a1" / "work" / "ran").exists()


def test_nothing_runs_when_the_disk_is_full(
    world: World, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "record.json")

    given = workload("a1", "sh", "-c", "touch ran; sleep 60", world.mark)
    runtime.prepare(given, say_nothing)
    with monkeypatch.context() as patch:
        patch.setattr(process_module, "write_atomically", full)
        with pytest.raises(RuntimeFault, match="no space left on this node's disk"):
            runtime.start(given)
    assert not world.marked()
    assert only(runtime) == Instance("a1", "prepared")
    assert runtime.start(given).state == "running"


def test_its_end_is_known_when_it_ended_while_the_engine_was_away(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 9"))
    runtime.close()
    (world.folder / "a1" / "work" / "go").touch()
    wait_until((world.folder / "a1/exit").exists, "the exit code was kept")
    runtime = world.engine()

    assert ended(runtime).exit_code == 9


def change_record(world: World, **changes: object) -> None:
    path = world.folder / "a1/record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_process_with_its_number_is_neither_adopted_nor_touched(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sleep", "60"))
    runtime.stop("a1", 0)
    (world.folder / "a1/exit").unlink()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        change_record(world, pid=stranger.pid)
        runtime = world.engine()

        assert only(runtime).state == "exited"
        assert only(runtime).reason == "ended, and nothing is left that knows its exit code"
        runtime.stop("a1", 1)
        runtime.start(workload("a1", "sleep", "60"))
        runtime.remove("a1")
        assert stranger.poll() is None
        stranger.kill()


def test_another_nodes_instance_of_the_same_name_is_not_touched(world: World, runtime: ProcessRuntime) -> None:
    other = ProcessRuntime(world.folder.with_name("other"), INSTALLATION, "n2", use_control_groups=world.groups)
    run(runtime, workload("a1", "sleep", "60"))
    run(other, workload("a1", "sleep", "60"))
    other.stop("a1", 1)
    other.remove("a1")
    other.close()

    assert only(runtime).state == "running"


def test_a_restart_of_the_machine_ends_it(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "echo up; sleep 60"))
    printed(runtime, "up")
    change_record(world, boot="another")
    runtime = world.engine()

    assert (only(runtime).state, only(runtime).exit_code) == ("exited", None)
    assert only(runtime).reason == "the node was restarted"
    assert runtime.start(workload("a1", "sleep", "60")).state == "running"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"pid": "many"}', "\0" * 200], ids=["empty", "half", "list", "wrong type", "zeros"]
)
def test_what_runs_is_found_again_though_its_record_is_spoiled(
    world: World, runtime: ProcessRuntime, content: str
) -> None:
    run(runtime, workload("a1", "sh", "-c", "echo up; (setsid sleep 60) & sleep 60", world.mark))
    printed(runtime, "up")
    before, pid = only(runtime), supervisor(world)
    record = world.folder / "a1/record.json"
    record.write_text(content)
    runtime = world.engine()

    assert (only(runtime).state, supervisor(world)) == ("running", pid)
    assert only(runtime).started == pytest.approx(before.started, abs=2)
    runtime.stop("a1", 0)
    assert only(runtime).state == "exited"
    assert not world.marked()


def test_a_spoiled_record_of_what_has_ended(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "sleep 60", world.mark))
    runtime.stop("a1", 0)
    (world.folder / "a1/record.json").write_text("{")
    runtime = world.engine()

    assert only(runtime).reason == "its record on disk cannot be read"
    assert runtime.start(workload("a1", "sleep", "60", world.mark)).state == "running"


def supervisor(world: World) -> int:
    """Process id of the one of a1."""
    return int(json.loads((world.folder / "a1/record.json").read_text())["pid"])


def test_a_dead_supervisor_takes_its_instance_along(world: World, runtime: ProcessRuntime) -> None:
    given = workload("a1", "sh", "-c", "test -e again || { touch again; exit 3; }; echo up; sleep 60", world.mark)
    run(runtime, given)
    assert ended(runtime).exit_code == 3
    runtime.start(given)
    printed(runtime, "up")
    os.kill(supervisor(world), signal.SIGKILL)

    assert ended(runtime).reason == "ended, and nothing is left that knows its exit code", "nor is it the old one"
    wait_until(lambda: not world.marked(), "what it left behind was ended")


def test_a_supervisor_that_hangs_is_ended_in_the_end(
    world: World, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_KILL_WAIT", 1.0)
    run(runtime, workload("a1", "sleep", "60"))
    os.kill(supervisor(world), signal.SIGSTOP)
    runtime.stop("a1", 0)

    assert only(runtime).state == "exited"


def test_an_ended_supervisor_is_no_zombie(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "true"))
    ended(runtime)

    with pytest.raises(ChildProcessError):
        os.waitpid(supervisor(world), 0)


def test_signals_to_its_own_group_spare_the_supervisor(runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "trap 'exit 5' TERM; kill -TERM 0; sleep 60"))

    assert ended(runtime).exit_code == 5


def test_a_call_that_comes_after_close_harms_nothing(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sleep", "60"))
    runtime.close()
    for call in (runtime.list, lambda: runtime.usage(["a1"]), lambda: runtime.stop("a1", 1)):
        with pytest.raises(RuntimeFault, match="the process runtime is closed"):
            call()

    assert only(world.engine()).state == "running"


# How it ends.

#: A family: children, grandchildren, one in a session of its own, and one that hides its environment.
_FAMILY = """
sh -c 'sleep 60 & sh -c "sleep 60; :" "$0"; :' "$0" &
setsid sh -c 'sleep 60; :' "$0" &
env -i /bin/sh -c 'sleep 60; :' "$0" &
echo up
wait
"""


def test_stop_reaches_the_whole_family(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", _FAMILY, world.mark))
    wait_until(lambda: len(world.marked()) == 5, "the family is there")
    started = SystemClock().now()
    runtime.stop("a1", 30)

    assert not world.marked()
    wait_until(lambda: only(runtime).reason == "killed by signal 15", "how it ended is known")
    assert SystemClock().now() - started < 20, "it does not wait for longer than it takes"


def test_what_an_instance_leaves_behind_is_ended(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", f"{_FAMILY.replace('wait', 'sleep 0.5')}", world.mark))

    assert ended(runtime).exit_code == 0
    wait_until(lambda: not world.marked(), "the rest was ended")


def test_the_stubborn_are_killed(world: World, runtime: ProcessRuntime) -> None:
    script = "trap '' TERM HUP INT; echo up; while :; do sleep 0.05; done"
    run(runtime, workload("a1", "sh", "-c", script, world.mark))
    printed(runtime, "up")
    runtime.stop("a1", 0.3)

    assert only(runtime).reason == "killed by signal 9"
    assert not world.marked()


def test_those_who_need_time_to_end_have_it(world: World, runtime: ProcessRuntime) -> None:
    script = """
    sh -c 'trap "sleep 0.3; touch saved; exit" TERM; echo up; while :; do sleep 0.05; done' "$0" &
    wait
    """
    run(runtime, workload("a1", "sh", "-c", script, world.mark))
    printed(runtime, "up")
    runtime.stop("a1", 30)

    assert (world.folder / "a1" / "work" / "saved").exists()
    assert not world.marked()


def test_those_who_are_born_while_it_ends_are_asked_too(world: World, runtime: ProcessRuntime) -> None:
    late = "trap 'touch asked; exit' TERM; while :; do sleep 0.05; done"
    script = 'trap \'sh -c "$LATE" "$0" & exit\' TERM; echo up; while :; do sleep 0.05; done'
    run(runtime, workload("a1", "sh", "-c", script, world.mark, environment=(f"LATE={late}",)))
    printed(runtime, "up")
    start = SystemClock().now()
    runtime.stop("a1", 30)

    assert SystemClock().now() - start < 20
    assert (world.folder / "a1" / "work" / "asked").exists()
    assert not world.marked()


@needs_groups
def test_those_who_flee_are_caught(tmp_path: Path) -> None:
    """A process that is always a new one can outrun those who read lists of processes, but not its control group."""
    script = 'i=${1:-0}; sleep 0.01; sh -c "$SCRIPT" "$0" $((i+1)) & exit 0'
    with contextlib.closing(World(tmp_path, groups=True)) as world:
        runtime = world.engine()
        command = ("sh", "-c", 'sh -c "$SCRIPT" "$0"; sleep 60', world.mark)
        run(runtime, workload("a1", *command, environment=(f"SCRIPT={script}",)))
        wait_until(lambda: len(world.marked()) >= 2, "it runs")
        runtime.stop("a1", 0)

        assert not world.marked()
        assert only(runtime).reason == "killed by signal 9"


@needs_groups
def test_what_was_started_without_a_group_is_ended_with_groups(tmp_path: Path) -> None:
    """Control groups may come between two starts of the engine: by another user, or out of a container."""
    with contextlib.closing(World(tmp_path, groups=False)) as world:
        run(world.engine(), workload("a1", "sh", "-c", "sleep 60; true", world.mark))
        wait_until(lambda: bool(world.marked()), "it runs")
        world.groups = True
        world.engine().stop("a1", 0)

        assert not world.marked()


def test_its_signal_is_told(runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "kill -SEGV $$"))

    assert ended(runtime).reason == "killed by signal 11"
    assert output_of(runtime, "a1", 5) == b"", "the supervisor says nothing in its name"


def test_a_removed_instance_leaves_no_trace(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "mkdir -p x/y; ln -s / x/root; echo up; sleep 60", world.mark))
    printed(runtime, "up")
    runtime.remove("a1")
    runtime.close()

    assert not any(world.folder.iterdir())
    assert not world.marked()
    assert os.path.exists("/bin/sh"), "links are not followed"
    if groups := ControlGroups.find(f"mangrove-{INSTALLATION}-n1"):
        assert not any(folder.parent.exists() for folder in groups.group("a1").folders)


# What is measured, limited and kept.


@needs_groups
def test_too_much_memory_is_told(tmp_path: Path) -> None:
    with contextlib.closing(World(tmp_path, groups=True)) as world:
        runtime = world.engine()
        program = "hog = b'x' * (200 * 1024 * 1024)"
        run(runtime, workload("a1", sys.executable, "-c", program, resources=Resources(memory=64)))

        assert ended(runtime).reason == "out of memory (limit 64 MiB)"
        run(runtime, workload("a2", sys.executable, "-c", program, resources=Resources(memory=512)))
        wait_until(lambda: all(each.state == "exited" for each in runtime.list()), "the second ended")
        assert [each.exit_code for each in runtime.list()] == [137, 0]


@needs_groups
def test_a_part_of_it_that_had_too_much_memory_is_not_its_end(tmp_path: Path) -> None:
    with contextlib.closing(World(tmp_path, groups=True)) as world:
        runtime = world.engine()
        script = '"$0" -c "b\'x\' * (200 * 1024 * 1024)"; exit 0'
        run(runtime, workload("a1", "sh", "-c", script, sys.executable, resources=Resources(memory=64)))

        assert (ended(runtime).exit_code, only(runtime).reason) == (0, "")


@needs_groups
def test_the_cpu_limit_holds(tmp_path: Path) -> None:
    with contextlib.closing(World(tmp_path, groups=True)) as world:
        runtime = world.engine()
        run(runtime, workload("a1", "sh", "-c", "while :; do :; done", resources=Resources(cpu=200)))
        assert runtime.limits == ""
        runtime.usage(["a1"])
        start = SystemClock().now()
        wait_until(lambda: SystemClock().now() - start > 1, "a second went by")

        # The kernel hands out its time in windows of 0.1 s, so a second has 20 % give or take a window.
        assert 1 < runtime.usage(["a1"])["a1"].cpu < 35


def test_limits_that_do_not_hold_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = ProcessRuntime(tmp_path, INSTALLATION, "n1", use_control_groups=False)
    runtime.close()

    assert runtime.limits.startswith("CPU and memory limits of processes are not enforced (")
    assert runtime.limits in caplog.text


def test_usage_is_of_the_whole_family(runtime: ProcessRuntime) -> None:
    busy = "x = b'x' * 2**25\nwhile True: pass"
    run(runtime, workload("a1", "sh", "-c", '"$0" -c "$1" & "$0" -c "$1" & wait', sys.executable, busy))
    run(runtime, workload("a2", "sleep", "60"))
    runtime.usage(["a1", "a2"])
    seen = {}

    def both_are_seen() -> bool:
        seen.update(runtime.usage(["a1", "a2"]))
        return seen["a1"].cpu > 20 and seen["a1"].memory > 2 * 2**25

    wait_until(both_are_seen, "CPU time and memory of both are seen")
    assert seen["a2"].cpu < 20
    assert seen["a2"].memory < 2**25
    assert 0 < seen["a1"].memory_percent < 100


def test_output_is_kept_while_the_engine_is_away_and_bounded_when_it_is_there(
    world: World, runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_engine.runtimes.output.look.__defaults__", (20_000,))
    script = "until [ -e more ]; do sleep 0.02; done; for i in $(seq 10000); do echo line $i; done; sleep 60"
    run(runtime, workload("a1", "sh", "-c", script))
    runtime.close()
    (world.folder / "a1" / "work" / "more").touch()
    output = world.folder / "a1/output.log"
    wait_until(lambda: b"line 10000\n" in output.read_bytes(), "it wrote without us")
    size = output.stat().st_size
    assert size > 90_000
    runtime = world.engine()
    runtime.list()

    assert output.stat().st_size == size, "what is left keeps its place"
    assert output.stat().st_blocks * 512 < 30_000
    assert output_of(runtime, "a1", 2) == b"line 9999\nline 10000\n"
    assert len(output_of(runtime, "a1")) >= 20_000


def test_the_end_of_an_adopted_instance_is_told_at_once(world: World, runtime: ProcessRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "until [ -e go ]; do sleep 0.02; done"))
    runtime = world.engine()
    told = threading.Event()
    runtime.watch(told.set)
    (world.folder / "a1" / "work" / "go").touch()

    assert told.wait(20)
    assert only(runtime).state == "exited"


def test_an_end_is_told_once(runtime: ProcessRuntime) -> None:
    """Also when nobody looks at once: an ended process must not keep the watch busy."""
    told: list[float] = []
    runtime.watch(lambda: told.append(SystemClock().now()))
    run(runtime, workload("a1", "true"))
    wait_until(lambda: told and SystemClock().now() - told[0] > 0.3, "it was told, and some time went by")

    assert len(told) == 1


def test_close_ends_the_watch(world: World) -> None:
    before = set(threading.enumerate())
    runtime = ProcessRuntime(world.folder, INSTALLATION, "n9", use_control_groups=False)
    runtime.watch(lambda: None)
    own = set(threading.enumerate()) - before
    assert "process-watcher" in {thread.name for thread in own}
    runtime.close()

    assert not own & set(threading.enumerate())


def test_it_works_without_rights() -> None:
    """In a child process that is nobody, if we are root."""
    folder = Path(tempfile.mkdtemp(prefix="mangrove-test-"))
    nobody = 65534
    root = os.geteuid() == 0
    if root:
        os.chown(folder, nobody, nobody)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if root:
                os.setgroups([])
                os.setresgid(nobody, nobody, nobody)
                os.setresuid(nobody, nobody, nobody)
            runtime = ProcessRuntime(folder / "instances", INSTALLATION, "n1")
            assert "not enforced (Permission denied" in runtime.limits or not PERMITTED, runtime.limits
            run(runtime, workload("a1", "sh", "-c", "id -u; sleep 60"))
            printed(runtime, str(os.getuid()))
            assert runtime.usage(["a1"])["a1"].memory > 0
            runtime.stop("a1", 5)
            assert only(runtime).reason == "killed by signal 15"
            remove_all(runtime)
            runtime.close()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(folder)
