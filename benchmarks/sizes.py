"""What an installation takes: on disk, in packages, and in memory right after its program was loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, Result

_MB = 1e6
_CHECKOUT = Path(__file__).parents[1]
#: Extras, the module of the program, and the goal in MB on disk: a device's whole installation should be smaller than
#: one image that it runs.
_INSTALLATIONS = (
    ("node", "node_engine.main", 15.0),
    ("node,docker", "node_engine.main", 20.0),
    ("cluster", "cluster_orchestrator.main", None),
    ("root", "root_orchestrator.main", None),
    ("all", "root_orchestrator.main", None),
)
#: Loads a module from a folder alone, and prints the memory that this process then has, in bytes.
_LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
__import__(sys.argv[2])
print([int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS")][0])
"""


@dataclass(frozen=True)
class Size:
    """How many of the installations are measured."""

    installations: int


FULL, QUICK = Size(len(_INSTALLATIONS)), Size(1)


def measure(folder: Path, size: Size) -> Result:
    """Install with each of the extras into a folder of its own. Needs pip, and a package index or pip's cache."""
    figures = []
    source = folder / "source"  # pip leaves what it builds beside it
    shutil.copytree(_CHECKOUT, source, ignore=shutil.ignore_patterns(".*", "build", "tests", "results"))
    for extras, module, goal in _INSTALLATIONS[: size.installations]:
        place = folder / extras.replace(",", "-")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(place)]
        subprocess.run([*command, f"{source}[{extras}]"], check=True)
        packages = len(list(place.glob("*.dist-info")))
        name = f"mangrove[{extras}]"
        figures.append(Figure(f"{name}, on disk", _bytes_in(place) / _MB, "MB", goal, f"{packages} packages"))
        figures.append(Figure(f"{name}, loaded, RSS", _loaded(place, module) / _MB, "MB", None, module))
    return Result(
        "sizes",
        "what an installation takes",
        (
            "installed by pip into an empty folder, without compiled files, which Python adds when it may write there",
            "loaded: a bare interpreter (about 9 MB) imports the program from that folder and does nothing else",
        ),
        tuple(figures),
    )


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _loaded(folder: Path, module: str) -> int:
    interpreter = Path(sys.executable).resolve()  # not that of an environment with libraries of its own
    done = subprocess.run(
        [str(interpreter), "-I", "-S", "-B", "-c", _LOAD, str(folder), module],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)
