"""What a node engine keeps on disk: durable, held by one process, and never the reason for not starting."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mangrove.base.errors import Conflict
from mangrove.base.ids import is_id
from mangrove.model.attempt import Attempt
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.reconcile.child import Record
from node_engine.runtimes.processes import boot_id
from node_engine.state import MemoryState, State, StateFolder

RECORDS = [
    Record(Attempt("a" * 24, "s", 0, 3, "d"), Specification(name="web"), Phase.RUNNING, restarts=2, gpus=("GPU-1",)),
    Record(Attempt("b" * 24, "s", 1, 1, "d"), Specification(name="web"), Phase.BACKING_OFF, "exit code 3", exit_code=3),
]

#: Opens a state a second time, as after a crash.
Reopen = Callable[[], State]


@pytest.fixture(params=["folder", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    states: list[State] = []

    def folder() -> State:
        if states:
            states.pop().close()
        states.append(StateFolder(tmp_path / "state"))
        return states[0]

    memory = MemoryState()
    yield folder if request.param == "folder" else lambda: memory
    for state in states:
        state.close()


def test_a_new_state_is_empty_and_has_an_installation(reopen: Reopen) -> None:
    state = reopen()
    assert is_id(state.installation)
    assert (state.load_identity(), state.load_assignment(), state.load_records()) == (None, None, [])
    assert state.problems == []
    assert state.boot


def test_all_that_was_saved_is_there_after_a_restart(reopen: Reopen) -> None:
    state = reopen()
    installation = state.installation
    state.save_identity({"id": "n", "keys": ["k"], "parent": {"url": "http://192.0.2.1:10100"}})
    state.save_assignment(b"\x00 anything\n\xff")
    state.save_records(RECORDS)
    state = reopen()
    assert state.installation == installation
    assert state.load_identity() == {"id": "n", "keys": ["k"], "parent": {"url": "http://192.0.2.1:10100"}}
    assert state.load_assignment() == b"\x00 anything\n\xff"
    assert state.load_records() == RECORDS
    assert state.problems == []


def test_what_is_forgotten_stays_forgotten(reopen: Reopen) -> None:
    state = reopen()
    state.save_identity({})
    state.save_assignment(b"")
    assert (state.load_identity(), state.load_assignment()) == ({}, b"")
    for _ in range(2):
        state.save_identity(None)
        state.save_assignment(None)
    state = reopen()
    assert (state.load_identity(), state.load_assignment()) == (None, None)


def test_the_incarnation_rises_at_each_start(reopen: Reopen) -> None:
    assert [reopen().raise_incarnation() for _ in range(3)] == [1, 2, 3]


def test_a_full_memory_keeps_what_it_has() -> None:
    state = MemoryState()
    state.save_records(RECORDS)
    state.full = True
    with pytest.raises(OSError, match="No space left"):
        state.save_records([])
    with pytest.raises(OSError, match="No space left"):
        state.raise_incarnation()
    assert state.load_records() == RECORDS


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    elif how == "junk":
        path.write_bytes(os.urandom(500))
    else:
        path.unlink()
        path.mkdir()  # can be neither read as a file nor replaced by one


@pytest.mark.parametrize("how", ["half", "empty", "flipped", "junk", "folder"])
def test_a_spoiled_file_is_set_aside_and_never_stops_the_start(tmp_path: Path, how: str) -> None:
    state = StateFolder(tmp_path)
    state.save_identity({"id": "n"})
    state.save_assignment(b"what shall run")
    state.save_records(RECORDS)
    assert state.raise_incarnation() == 1
    state.close()
    names = ["identity.json", "assignment", "attempts.json", "incarnation"]
    for name in names:
        spoil(tmp_path / name, how)
    state = StateFolder(tmp_path)
    assert (state.load_identity(), state.load_assignment(), state.load_records()) == (None, None, [])
    assert state.raise_incarnation() > 1_000_000, "above all that were before: the device was not cloned"
    assert len(state.problems) == len(names)
    for name, problem in zip(names, state.problems, strict=True):
        assert (tmp_path / f"{name}.corrupt-1").exists()
        assert f"{tmp_path / name} cannot be read" in problem
        assert f"{name}.corrupt-1" in problem
    state.save_records(RECORDS)
    assert state.load_records() == RECORDS
    state.close()


def test_a_lost_incarnation_rises_again_each_time(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    incarnations = [state.raise_incarnation()]
    for _ in range(3):
        (tmp_path / "incarnation").write_bytes(b"")
        incarnations += [state.raise_incarnation(), state.raise_incarnation()]
    assert incarnations == sorted(set(incarnations))
    state.close()


def test_records_of_another_shape_are_set_aside(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state._write("attempts.json", b'[{"attempt": 3}]')
    state._write("identity.json", b"[]")
    state._write("incarnation", b"many")
    assert state.load_records() == []
    assert state.load_identity() is None
    assert state.raise_incarnation() > 1
    assert "attempts.json" in state.problems[0]
    assert len(state.problems) == 3
    state.close()


def test_only_so_many_files_are_set_aside(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    for number in range(20):
        (tmp_path / "assignment").write_bytes(b"junk %d" % number)
        assert state.load_assignment() is None
    assert len(list(tmp_path.glob("assignment.corrupt-*"))) == 8
    assert (tmp_path / "assignment.corrupt-1").read_bytes() == b"junk 0"
    state.close()


def test_a_lost_installation_is_made_anew_and_told_of(tmp_path: Path) -> None:
    first = StateFolder(tmp_path)
    first.close()
    (tmp_path / "installation").write_bytes(b"?")
    second = StateFolder(tmp_path)
    assert is_id(second.installation)
    assert second.installation != first.installation
    assert len(second.problems) == 1
    second.close()


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path)
    state.save_records(RECORDS)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            state.save_records([])
    assert state.load_records() == RECORDS
    state.close()


def test_one_engine_at_a_time_and_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = StateFolder(path)
    with pytest.raises(Conflict, match="another node engine runs with the state folder"):
        StateFolder(path)
    state.close()
    state.close()
    again = StateFolder(path)
    again.save_identity({"key": "secret"})
    assert path.stat().st_mode & 0o077 == 0
    assert (path / "identity.json").stat().st_mode & 0o077 == 0
    again.close()


def test_the_folder_is_free_when_its_engine_was_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from node_engine.state import StateFolder\n"
        "state = StateFolder(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Conflict):
            StateFolder(tmp_path)
    finally:
        process.kill()
        process.communicate()
    StateFolder(tmp_path).close()


def test_it_knows_the_boot_unless_told(tmp_path: Path) -> None:
    real, played = StateFolder(tmp_path / "real"), StateFolder(tmp_path / "played", boot="another")
    assert (real.boot, played.boot) == (boot_id(), "another")
    real.close()
    played.close()
