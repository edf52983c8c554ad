"""Linux control groups: limits and figures of a set of processes, in both versions of the kernel's interface.

Version 2 has one tree (`/sys/fs/cgroup`), version 1 one tree per controller (`/sys/fs/cgroup/memory`, …); the words
are those of the kernel's `admin-guide/cgroup-v2.rst` and `cgroup-v1/`. Groups are made at the top of each tree, as
Docker's own cgroupfs driver does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Length of the window in which a CPU limit is enforced, in microseconds: the kernel's default.
_PERIOD = 100_000
#: The shortest run time that the kernel allows in a window, in microseconds.
_SHORTEST = 1_000
#: A killed process is no longer listed while the kernel still takes it apart, and until then its group stays. That
#: takes milliseconds, with much memory to give back tenths of a second: so many looks, so many seconds apart.
_LOOKS, _LOOK = 200, 0.01
_MIB = 1024 * 1024
_CONTROLLERS = ("cpu", "cpuacct", "memory")


@dataclass(frozen=True, slots=True)
class Group:
    """One group: a folder in version 2 (then all three are the same), one per controller in version 1."""

    version: int
    cpu: Path
    cpuacct: Path
    memory: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each once: version 1 often mounts cpu and cpuacct together. First the one in which members are looked for."""
        return tuple(dict.fromkeys((self.memory, self.cpu, self.cpuacct)))

    @property
    def doors(self) -> tuple[Path, ...]:
        """Files into which a process writes 0 to join."""
        return tuple(folder / "cgroup.procs" for folder in self.folders)

    def limit(self, cpu: int, memory: int) -> None:
        """Set limits: cpu in thousandths of a core, memory (no swap on top) in MiB; 0 for none. Raises OSError."""
        quota = max(cpu * _PERIOD // 1000, _SHORTEST)
        size = memory * _MIB
        if self.version == 2:
            _write(self.cpu / "cpu.max", f"{quota} {_PERIOD}" if cpu > 0 else f"max {_PERIOD}")
            _write(self.memory / "memory.max", str(size) if memory > 0 else "max")
            if (self.memory / "memory.swap.max").exists():
                _write(self.memory / "memory.swap.max", "0" if memory > 0 else "max")
            return
        if cpu > 0:
            _write(self.cpu / "cpu.cfs_period_us", str(_PERIOD))
            _write(self.cpu / "cpu.cfs_quota_us", str(quota))
        if memory > 0:
            _write(self.memory / "memory.limit_in_bytes", str(size))
            if (self.memory / "memory.memsw.limit_in_bytes").exists():
                _write(self.memory / "memory.memsw.limit_in_bytes", str(size))

    def members(self) -> list[int]:
        """Process ids in it; none when the group is gone."""
        return [int(line) for line in _read(self.memory / "cgroup.procs").split()]

    def kill(self) -> None:
        """Send SIGKILL to all in it, once; one that forks meanwhile may need another call in version 1."""
        with contextlib.suppress(OSError):
            _write(self.memory / "cgroup.kill", "1")  # all at once; only in version 2, since Linux 5.14
            return
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process of this group for lack of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _table(self.memory / name).get("oom_kill", 0) > 0

    def cpu_seconds(self) -> float:
        """CPU time used since the group was made. Raises OSError when it is gone."""
        if self.version == 2:
            return _table(self.cpu / "cpu.stat", missing=False).get("usage_usec", 0) / 1e6
        return int((self.cpuacct / "cpuacct.usage").read_text()) / 1e9

    def memory_bytes(self) -> int:
        """Memory in use, less the file cache that the kernel would give up first. Raises OSError when it is gone."""
        name, inactive = (
            ("memory.current", "inactive_file")
            if self.version == 2
            else ("memory.usage_in_bytes", "total_inactive_file")
        )
        used = int((self.memory / name).read_text())
        return max(0, used - _table(self.memory / "memory.stat").get(inactive, 0))

    def remove(self) -> None:
        """Remove it. Raises OSError while a process is in it; not there is success."""
        for folder in self.folders:
            for look in range(_LOOKS + 1):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    pass
                except OSError as error:
                    if error.errno != errno.EBUSY or look == _LOOKS or self.members():
                        raise
                    time.sleep(_LOOK)
                    continue
                break


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Where this machine keeps control groups. roots: of each controller its tree; parent: the folder of ours in it."""

    version: int
    roots: Mapping[str, Path]
    parent: str

    @classmethod
    def find(cls, parent: str, mounts: Path = Path("/proc/self/mountinfo")) -> ControlGroups | None:
        """The machine's control groups, or None without a usable tree. mounts: in the form of proc(5) mountinfo."""
        old: dict[str, Path] = {}
        for kind, options, point in _mounts(mounts):
            if kind == "cgroup2" and {"cpu", "memory"} <= set(_read(point / "cgroup.controllers").split()):
                return cls(2, dict.fromkeys(_CONTROLLERS, point), parent)
            if kind == "cgroup":
                old.update(dict.fromkeys(options & set(_CONTROLLERS), point))
        return cls(1, old, parent) if old.keys() == set(_CONTROLLERS) else None

    def why_not(self) -> str:
        """Empty when groups can be made, else what is in the way."""
        probe = self.group("probe")
        try:
            self.make(probe, 1000, 64)
            probe.remove()
        except OSError as error:
            return f"{error.strerror}: {error.filename or self.roots['memory']}"
        return ""

    def group(self, name: str) -> Group:
        """Our group `name`, made or not."""
        return Group(self.version, *(self.roots[controller] / self.parent / name for controller in _CONTROLLERS))

    def of_process(self, pid: int) -> Group | None:
        """The group in which a process is, of whomever; None when it is gone or not visible here."""
        paths: dict[str, str] = {}
        for line in _read(Path(f"/proc/{pid}/cgroup")).splitlines():
            _, controllers, path = line.split(":", 2)
            # Version 2 has one line and names no controllers.
            if bool(controllers) == (self.version == 1):
                paths.update(dict.fromkeys(controllers.split(",") if controllers else _CONTROLLERS, path.lstrip("/")))
        if not paths.keys() >= set(_CONTROLLERS):
            return None
        return Group(self.version, *(self.roots[controller] / paths[controller] for controller in _CONTROLLERS))

    def make(self, group: Group, cpu: int, memory: int) -> None:
        """Make `group` anew, with its counters at zero, and its limits as in `Group.limit`. Raises OSError."""
        group.remove()
        for folder in group.folders:
            folder.mkdir(parents=True)
            if self.version == 2:
                # A group's controllers are those that each folder above it hands on.
                for above in reversed(folder.relative_to(self.roots["memory"]).parents):
                    _write(self.roots["memory"] / above / "cgroup.subtree_control", "+cpu +memory")
        group.limit(cpu, memory)

    def tidy(self) -> None:
        """Remove the folder above our groups, if nothing is in it."""
        for root in dict.fromkeys(self.roots.values()):
            with contextlib.suppress(OSError):
                (root / self.parent).rmdir()


def _mounts(path: Path) -> Iterator[tuple[str, set[str], Path]]:
    """Of each mount its kind, its super options and where it is."""
    for line in _read(path).splitlines():
        place, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        yield kind, set(options.split(",")), Path(place.split(" ")[4])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    # Opened without O_CREAT: a file that the kernel does not offer is an error, not a new file.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _table(path: Path, *, missing: bool = True) -> dict[str, int]:
    """A file of lines `name number`; empty when it is not there, unless missing is False: then raises OSError."""
    text = _read(path) if missing else path.read_text()
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
