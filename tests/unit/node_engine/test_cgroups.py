"""Control groups in both versions, on trees of plain files; the integration tests use the kernel's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node_engine.runtimes.cgroups import ControlGroups, Group

#: What the kernel puts into a new folder, as far as we use it.
FILES = {
    2: {
        "cgroup.procs": "",
        "cgroup.subtree_control": "",
        "cpu.max": "max 100000",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.max": "max",
        "memory.swap.max": "max",
        "memory.current": "5000",
        "memory.stat": "anon 1\ninactive_file 2000\n",
        "memory.events": "low 0\noom 1\noom_kill 0\n",
    },
    1: {
        "cgroup.procs": "",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "-1",
        "cpuacct.usage": "2500000000",
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.memsw.limit_in_bytes": "9223372036854771712",
        "memory.usage_in_bytes": "5000",
        "memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    },
}


def machine(tmp_path: Path, version: int) -> Path:
    """A machine's mounts in the form of /proc/self/mountinfo, with trees of plain files; returns the table."""
    root = tmp_path / "cgroup"
    if version == 2:
        trees = {root: ("cgroup2", "rw,nsdelegate")}
        root.mkdir()
        (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (root / "cgroup.subtree_control").write_text("")
    else:
        trees = {
            root / "unified": ("cgroup2", "rw"),
            root / "cpu,cpuacct": ("cgroup", "rw,cpu,cpuacct"),
            root / "memory": ("cgroup", "rw,memory"),
            root / "pids": ("cgroup", "rw,pids"),
        }
        for tree in trees:
            tree.mkdir(parents=True)
        (root / "unified/cgroup.controllers").write_text("\n")
    table = tmp_path / "mountinfo"
    lines = [
        f"30 22 0:26 / {tree} rw,nosuid shared:4 - {kind} cgroup {options}" for tree, (kind, options) in trees.items()
    ]
    table.write_text("22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n" + "\n".join(lines) + "\n")
    return table


def make(groups: ControlGroups, name: str, cpu: int, memory: int, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Make a group where a kernel would fill each new folder with its files."""
    mkdir = Path.mkdir

    def filling(folder: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(folder, mode, parents, exist_ok)
        for file, text in FILES[groups.version].items():
            (folder / file).write_text(text)

    group = groups.group(name)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", filling)
        groups.make(group, cpu, memory)
    return group


def content(path: Path) -> str:
    """What stands at the beginning: the kernel takes each write as a whole, a plain file keeps what was longer."""
    return path.read_text()


@pytest.fixture(params=[1, 2])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> ControlGroups:
    found = ControlGroups.find("mangrove-test", machine(tmp_path, request.param))
    assert found is not None
    assert found.version == request.param
    return found


def test_limits_are_written(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(groups, "a1", 1500, 64, monkeypatch)

    if groups.version == 2:
        assert content(group.cpu / "cpu.max").startswith("150000 100000")
        assert content(group.memory / "memory.max") == "67108864"
        assert content(group.memory / "memory.swap.max").startswith("0")
    else:
        assert content(group.cpu / "cpu.cfs_quota_us") == "150000"
        assert content(group.memory / "memory.limit_in_bytes").startswith("67108864")
        assert content(group.memory / "memory.memsw.limit_in_bytes").startswith("67108864")


def test_no_limit_is_none(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(groups, "a1", 0, 0, monkeypatch)

    if groups.version == 2:
        assert content(group.cpu / "cpu.max") == "max 100000"
        assert content(group.memory / "memory.max") == "max"
    else:
        assert content(group.cpu / "cpu.cfs_quota_us") == "-1"
        assert content(group.memory / "memory.limit_in_bytes") == "9223372036854771712"


def test_the_least_that_the_kernel_takes(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(groups, "a1", 1, 0, monkeypatch)

    file = "cpu.max" if groups.version == 2 else "cpu.cfs_quota_us"
    assert content(group.cpu / file).startswith("1000")


def test_figures(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(groups, "a1", 0, 0, monkeypatch)

    assert group.cpu_seconds() == 2.5
    assert group.memory_bytes() == 3000
    assert not group.out_of_memory()
    events = group.memory / ("memory.events" if groups.version == 2 else "memory.oom_control")
    events.write_text("oom 1\noom_kill 1\n")
    assert group.out_of_memory()


def test_a_group_that_is_gone(groups: ControlGroups) -> None:
    group = groups.group("gone")

    assert group.members() == []
    assert not group.out_of_memory()
    group.kill()
    group.remove()
    with pytest.raises(FileNotFoundError):
        group.cpu_seconds()
    with pytest.raises(FileNotFoundError):
        group.memory_bytes()


def test_a_group_that_the_kernel_still_takes_apart_is_waited_for(
    tmp_path: Path, groups: ControlGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, rmdir, busy = groups.group("a1"), Path.rmdir, [1, 2, 3]
    for folder in group.folders:
        folder.mkdir(parents=True)

    def at_last(folder: Path) -> None:
        if busy:
            busy.pop()
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", at_last)
    group.remove()
    assert not any(folder.exists() for folder in group.folders)


def test_a_group_with_somebody_in_it_stays(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    group = make(groups, "a1", 0, 0, monkeypatch)
    (group.memory / "cgroup.procs").write_text("123\n")

    def busy(folder: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "rmdir", busy)
    with pytest.raises(OSError, match="busy"):
        group.remove()


def test_controllers_are_handed_down_to_our_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ControlGroups.find("mangrove-test", machine(tmp_path, 2))
    assert groups is not None
    group = make(groups, "a1", 0, 0, monkeypatch)

    for folder in (group.memory.parent, group.memory.parent.parent):
        assert content(folder / "cgroup.subtree_control") == "+cpu +memory"
    assert content(group.memory / "cgroup.subtree_control") == "", "a group with processes hands on nothing"


def test_doors_are_one_for_each_tree(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first, second = ControlGroups.find("m", machine(one, 1)), ControlGroups.find("m", machine(two, 2))
    assert first is not None
    assert second is not None

    assert [door.relative_to(one) for door in first.group("a").doors] == [
        Path("cgroup/memory/m/a/cgroup.procs"),
        Path("cgroup/cpu,cpuacct/m/a/cgroup.procs"),
    ]
    assert [door.relative_to(two) for door in second.group("a").doors] == [Path("cgroup/m/a/cgroup.procs")]


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n")

    assert ControlGroups.find("m", table) is None
    assert ControlGroups.find("m", tmp_path / "missing") is None


def test_a_tree_that_takes_no_groups_says_so(tmp_path: Path) -> None:
    groups = ControlGroups.find("m", machine(tmp_path, 2))
    assert groups is not None

    # A plain folder is not filled by a kernel, so the limits cannot be written.
    assert groups.why_not().startswith("No such file or directory: ")


def test_groups_of_this_process_are_found() -> None:
    groups = ControlGroups.find("m")
    if groups is None:
        pytest.skip("this machine has no control groups")
    own = groups.of_process(os.getpid())

    assert own is not None
    assert own.memory_bytes() > 0
    assert groups.of_process(2**22 + 1) is None, "there is no such process"
