"""SwarmKit's scheduler by its own benchmark, where a Go toolchain and its modules are to be had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.result import Figure

#: Its newest release with its own tests, and which of its benchmarks: nodes and tasks as they are named.
_MODULE, _VERSION = "github.com/moby/swarmkit/v2", "v2.0.0"
_BENCHMARKS = (
    "BenchmarkScheduler(1kNodes1kTasks|1kNodes10kTasks|Constraints1kNodes10kTasks|Constraints5kNodes100kTasks)$"
)
_FOUND = re.compile(r"^BenchmarkScheduler(Constraints)?(\d+k)Nodes(\d+)kTasks\s+\d+\s+(\d+) ns/op", re.MULTILINE)
#: Seconds for fetching, compiling (a minute) and running (two).
_PATIENCE = 900.0


def figures(folder: Path) -> tuple[list[Figure], str]:
    """Its figures and what they mean; none, and why, where it cannot be had."""
    if shutil.which("go") is None:
        return [], "SwarmKit beside it: no Go toolchain is to be had here"
    place = folder / "peer"
    place.mkdir()
    scheduler = f"{_MODULE}/manager/scheduler"
    try:
        _go(place, "mod", "init", "peer")
        _go(place, "get", "-t", f"{scheduler}@{_VERSION}")
        said = _go(place, "test", scheduler, "-run", "^$", "-bench", _BENCHMARKS, "-benchtime", "1x", "-timeout", "15m")
    except (subprocess.SubprocessError, OSError) as error:
        return [], f"SwarmKit beside it: it could not be built or run here ({str(error)[:100]})"
    found = []
    for constraints, nodes, tasks, ns in _FOUND.findall(said):
        each = float(ns) / 1000 / (1000 * int(tasks))
        kind = "a third of the nodes pass" if constraints else "no constraint"
        name = f"SwarmKit {_VERSION}, {nodes} nodes, {tasks}k tasks, {kind}"
        found.append(Figure(name, each, "µs", None, f"{1e6 / each:,.0f} a second"))
    return found, (
        "SwarmKit: its own benchmark on one core (GOMAXPROCS=1): all tasks come at once, each of a service of its own "
        "and without resources; in its figures is the writing to its store in memory, which ours do not do"
    )


def _go(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env={**os.environ, "GOMAXPROCS": "1", "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )
    return done.stdout
