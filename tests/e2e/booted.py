"""A copy of this machine that systemd has really booted: a container over a layer that is thrown away afterwards.

Its files are this machine's own, so what tests need is there; changes go into memory. It has no service but systemd's
own, and shares the network, so that programs in it are reached on loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.programs import eventually

_REPOSITORY = Path(__file__).parents[2]
#: An environment of its own with what is installed here, in a place that services may see.
HOME = Path("/opt/mangrove")
_PROGRAMS = {
    "mangrove": "mangrove.cli.main",
    "mangrove-root": "root_orchestrator.main",
    "mangrove-cluster": "cluster_orchestrator.main",
    "mangrove-node": "node_engine.main",
}
#: Seconds for any command in it, and for it to start and end: measured 3 on two busy cores.
_PATIENCE = 120.0


def cannot_boot() -> str:
    """Why not, empty when it can."""
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (systemd-container)"
    return "" if os.geteuid() == 0 else "a machine can be booted as root only"


@dataclass(frozen=True)
class Booted:
    """leader: its first process, as seen from here. root: its files; changed: those that are not this machine's."""

    leader: int
    root: Path
    changed: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """What a command in it prints, on both channels. Fails when it fails."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}"
        return done.stdout

    def mangrove(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """What the command `mangrove` says."""
        return self.run(str(HOME / "bin/mangrove"), *arguments, check=check, **environment)

    def shown(self, unit: str, key: str) -> str:
        """One of a unit's properties."""
        return self.run("systemctl", "show", "--value", "--property", key, unit).strip()


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Booted]:
    """Boot it, with `folder` for what it keeps; ends with all that runs in it."""
    _mount("-t", "tmpfs", "tmpfs", str(folder))
    root = folder / "root"
    try:
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        _mount("-t", "overlay", "overlay", str(root), f"-olowerdir=/,upperdir={folder}/upper,workdir={folder}/work")
        with _leader(root, folder / "log") as leader:
            machine = Booted(leader, root, folder / "upper")
            _install(machine)
            yield machine
    finally:
        for place in (root, folder):
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


@contextlib.contextmanager
def _leader(root: Path, log: Path) -> Iterator[int]:
    # None of the machine's services: some of them, such as its firewall, would change the network that is shared.
    shutil.rmtree(root / "etc/systemd/system")
    (root / "etc/systemd/system").mkdir()
    # So that it does not pass for this machine.
    (root / "etc/machine-id").unlink(missing_ok=True)
    # A Python below it has to be reached by users of services.
    (root / "root").chmod(0o755)
    with log.open("wb") as out:
        container = subprocess.Popen(
            [
                "systemd-nspawn",
                f"--directory={root}",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--console=passive",
                "--link-journal=no",
                f"--bind-ro={_REPOSITORY}:/opt/source",
                f"--bind-ro={sysconfig.get_path('purelib')}:/opt/libraries",
                "systemd.unit=basic.target",
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:

        def first() -> int | None:
            assert container.poll() is None, log.read_text()
            return next((child.pid for child in psutil.Process(container.pid).children()), None)

        leader = eventually(first, "the container to start", _PATIENCE)
        state = ["nsenter", "--target", str(leader), "--all", "--", "systemctl", "is-system-running"]

        def up() -> bool:
            said = subprocess.run(state, capture_output=True, text=True, check=False).stdout.strip()
            return said in ("running", "degraded")

        eventually(up, "systemd to have started", _PATIENCE)
        yield leader
    finally:
        container.terminate()  # systemd-nspawn has the machine shut down then
        try:
            container.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            container.kill()
            container.wait()


def _install(machine: Booted) -> None:
    machine.run(os.path.realpath(sys.executable), "-m", "venv", "--without-pip", str(HOME))
    home = machine.root / HOME.relative_to("/")
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "mangrove.pth").write_text("/opt/source\n/opt/libraries\n")
    for name, module in _PROGRAMS.items():
        script = home / "bin" / name
        script.write_text(f"#!{HOME}/bin/python\nfrom {module} import main\nmain()\n")
        script.chmod(0o755)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
