"""What a node engine keeps on disk: durable, held by one process, and never the reason for not starting."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mangrove.base.errors import Conflict
from mangrove.base.ids import is_id
from mangrove.model.attempt import Attempt
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.reconcile.child import Record
from node_engine import state as state_module
from node_engine.runtimes.processes import boot_id
from node_engine.state import MemoryState, State, StateFolder, read_identity

RECORDS = [
    Record(Attempt("a" * 24, "s", 0, 3, "d"), Specification(name="web"), Phase.RUNNING, restarts=2, gpus=("GPU-1",)),
    Record(Attempt("b" * 24, "s", 1, 1, "d"), Specification(name="web"), Phase.BACKING_OFF, "exit code 3", exit_code=3),
]


class Kept(msgspec.Struct):
    """Stands for what callers keep."""

    id: str = ""
    keys: list[str] = []


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
    assert (state.load_identity(Kept), state.load_assignment(Kept), state.load_records()) == (None, None, [])
    assert state.problems == []
    assert state.boot


def test_all_that_was_saved_is_there_after_a_restart(reopen: Reopen) -> None:
    state = reopen()
    installation = state.installation
    state.save_identity({"id": "n", "keys": ["k"]})
    state.save_assignment(b'{"id":"what\\nshall run"}')
    state.save_records(RECORDS)
    state = reopen()
    assert state.installation == installation
    assert state.load_identity(Kept) == Kept("n", ["k"])
    assert state.load_assignment(Kept) == Kept("what\nshall run")
    assert state.load_records() == RECORDS
    assert state.problems == []


def test_what_is_forgotten_stays_forgotten(reopen: Reopen) -> None:
    state = reopen()
    state.save_identity({})
    state.save_assignment(b"{}")
    assert (state.load_identity(Kept), state.load_assignment(Kept)) == (Kept(), Kept())
    for _ in range(2):
        state.save_identity(None)
        state.save_assignment(None)
    state = reopen()
    assert (state.load_identity(Kept), state.load_assignment(Kept)) == (None, None)


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


FILES = ("identity.json", "installation", "assignment", "attempts.json", "incarnation")
COPIED = ("identity.json", "installation")


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
    elif how == "wrong type":
        path.write_bytes(state_module._seal(b'[{"attempt": 3, "id": []}]'))
    elif how == "other version":
        path.write_bytes(content.replace(b"mangrove-state-1", b"mangrove-state-0"))
    else:
        path.unlink()
        path.mkdir()  # can be neither read as a file nor replaced by one


SPOILT = ("half", "empty", "flipped", "junk", "wrong type", "other version", "folder")


def filled(path: Path) -> str:
    """Fill all files; the installation."""
    state = StateFolder(path)
    state.save_identity({"id": "n"})
    state.save_assignment(b'{"id":"what shall run"}')
    state.save_records(RECORDS)
    assert state.raise_incarnation() == 1
    state.close()
    return state.installation


def load(state: StateFolder) -> tuple[Kept | None, Kept | None, list[Record], bool]:
    """All that is kept, and whether the incarnation is above all before."""
    return state.load_identity(Kept), state.load_assignment(Kept), state.load_records(), state.raise_incarnation() > 1


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_file_is_set_aside_and_told_of_and_harms_no_other(tmp_path: Path, name: str, how: str) -> None:
    installation = filled(tmp_path)
    spoil(tmp_path / name, how)
    state = StateFolder(tmp_path)
    assert load(state) == (
        Kept("n"),
        None if name == "assignment" else Kept("what shall run"),
        [] if name == "attempts.json" else RECORDS,
        True,
    )
    assert state.installation == installation
    assert (tmp_path / f"{name}.corrupt-1").exists()
    assert f"{tmp_path / name} cannot be read" in state.problems[0]
    assert f"it was set aside as {name}.corrupt-1" in state.problems[0]
    assert state.problems[1:] == ([f"{tmp_path / name} was made anew from {name}.copy"] if name in COPIED else [])
    state.close()
    again = StateFolder(tmp_path)
    assert load(again)[0] == Kept("n")
    assert again.installation == installation
    assert again.problems == []
    again.close()


@pytest.mark.parametrize("how", SPOILT)
def test_all_files_and_copies_spoiled_stop_no_start(tmp_path: Path, how: str) -> None:
    before = filled(tmp_path)
    for name in (*FILES, *(f"{name}.copy" for name in COPIED)):
        spoil(tmp_path / name, how)
    state = StateFolder(tmp_path)
    assert load(state) == (None, None, [], True)
    assert len(state.problems) == len(FILES) + len(COPIED)
    assert is_id(state.installation)
    assert state.installation != before
    state.save_records(RECORDS)
    assert state.load_records() == RECORDS
    state.close()


@pytest.mark.parametrize("name", COPIED)
def test_a_missing_file_or_copy_is_made_anew_from_the_other(tmp_path: Path, name: str) -> None:
    installation = filled(tmp_path)
    for lost in (name, f"{name}.copy"):
        (tmp_path / lost).unlink()
        state = StateFolder(tmp_path)
        assert (state.load_identity(Kept), state.installation) == (Kept("n"), installation)
        assert (tmp_path / lost).exists()
        state.close()


def test_a_copy_from_before_the_newest_write_is_replaced(tmp_path: Path) -> None:
    filled(tmp_path)
    old = (tmp_path / "identity.json.copy").read_bytes()
    state = StateFolder(tmp_path)
    state.save_identity({"id": "newer"})
    (tmp_path / "identity.json.copy").write_bytes(old)
    assert state.load_identity(Kept) == Kept("newer")
    assert (tmp_path / "identity.json.copy").read_bytes() == (tmp_path / "identity.json").read_bytes()
    state.close()


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    filled(tmp_path)
    said = {"empty": "it is empty", "other version": "another version of Mangrove wrote it", "half": "its checksum is"}
    for how, problem in said.items():
        state = StateFolder(tmp_path)
        state.save_records(RECORDS)
        spoil(tmp_path / "attempts.json", how)
        assert state.load_records() == []
        assert problem in state.problems[0]
        state.close()


def test_the_identity_is_read_without_holding_the_folder(tmp_path: Path) -> None:
    assert read_identity(tmp_path, Kept) is None
    filled(tmp_path)
    for name in ("identity.json", "identity.json.copy"):
        assert read_identity(tmp_path, Kept) == Kept("n")
        (tmp_path / name).write_bytes(b"junk")
    assert read_identity(tmp_path, Kept) is None


def test_a_lost_incarnation_rises_again_each_time(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    incarnations = [state.raise_incarnation()]
    for _ in range(3):
        (tmp_path / "incarnation").write_bytes(b"")
        incarnations += [state.raise_incarnation(), state.raise_incarnation()]
    assert incarnations == sorted(set(incarnations))
    state.close()


def test_only_so_many_files_are_set_aside(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    for number in range(20):
        (tmp_path / "assignment").write_bytes(b"junk %d" % number)
        assert state.load_assignment(Kept) is None
    assert len(list(tmp_path.glob("assignment.corrupt-*"))) == 8
    assert (tmp_path / "assignment.corrupt-1").read_bytes() == b"junk 0"
    state.close()


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


def test_a_start_is_counted_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(code: int) -> Callable[..., None]:
        def write(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        return write

    state = StateFolder(tmp_path)
    monkeypatch.setattr(state_module, "write_atomically", fails(errno.ENOSPC))
    with pytest.raises(FileNotFoundError):
        state.raise_incarnation()  # there is nothing yet to overwrite
    monkeypatch.undo()
    for _ in range(8):
        state.raise_incarnation()
    monkeypatch.setattr(state_module, "write_atomically", fails(errno.ENOSPC))
    assert [state.raise_incarnation() for _ in range(3)] == [9, 10, 11]
    monkeypatch.setattr(state_module, "write_atomically", fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        state.raise_incarnation()
    monkeypatch.undo()
    assert (state.raise_incarnation(), state.problems) == (12, [])
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


def test_the_incarnation_rises_with_every_loss_of_its_file(tmp_path: Path) -> None:
    """Else its parent takes the node for a clone, and refuses it."""
    incarnations = []
    for loss in range(12):
        (tmp_path / "incarnation").write_bytes(b"junk %d" % loss)
        with closing(StateFolder(tmp_path)) as state:
            incarnations.append(state.raise_incarnation())
    assert incarnations == [loss * 1_000_000_000 + 1 for loss in range(1, 13)]
    aside = {path.name: path.read_bytes() for path in tmp_path.glob("incarnation.corrupt-*")}
    assert len(aside) == 8
    assert (aside["incarnation.corrupt-1"], aside["incarnation.corrupt-12"]) == (b"junk 0", b"junk 11")


def test_an_incarnation_that_is_missing_is_a_loss_once_it_was_there(tmp_path: Path) -> None:
    with closing(StateFolder(tmp_path)) as state:
        state.save_identity({"name": "joined before it was ever started"})
        assert (state.raise_incarnation(), state.problems) == (1, [])
    for loss in (1, 2):
        (tmp_path / "incarnation").unlink()
        with closing(StateFolder(tmp_path)) as state:
            assert state.raise_incarnation() == loss * 1_000_000_000 + 1
            assert "incarnation cannot be read (it is missing)" in state.problems[0]
