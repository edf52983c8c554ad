"""Putting a program onto a machine as a service of systemd, and taking it off again: each change is a step that says
what it does, knows whether it is done already, and can be left at words (`--dry-run`)."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mangrove.base.errors import Conflict, InvalidInput, MangroveError
from mangrove.cli.units import Unit, quoted, unit_text

_UNITS = Path("/etc/systemd/system")
_WANTED = _UNITS / "multi-user.target.wants"
#: There while systemd runs as the machine's first process (sd_booted(3)).
_BOOTED = Path("/run/systemd/system")
#: Seconds for systemctl and the like: stopping waits for the program's end, 30 s at most, then kills.
_PATIENCE = 120.0


#: Of these each data folder of ours has one from its first moment on: root (its password, its key), cluster, node.
_OURS = ("admin.password", "secrets/parent.key", "secrets/join.key", "installation")


@dataclass(frozen=True)
class Step:
    """One change. text: as an order, such as "enable mangrove-node.service"; done: whether it is as it shall be."""

    text: str
    do: Callable[[], object]
    done: Callable[[], bool] = lambda: False


class Machine:
    """The machine to change. root: a folder that holds another system, instead of the one that runs."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.running = root == Path("/") and _BOOTED.is_dir()

    def path(self, path: str | Path) -> Path:
        """Where a path of that system is."""
        return self.root / Path(path).relative_to("/")

    def may_change(self, command: str) -> None:
        """Raise Conflict unless we are allowed to."""
        if self.root == Path("/") and os.geteuid() != 0:
            raise Conflict(f"only root can do this: sudo {command} (or look at what it would do with --dry-run)")

    def run(self, *command: str) -> str:
        """What it printed. Raises MangroveError with what it complained of."""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except FileNotFoundError:
            raise MangroveError(f"{command[0]} is not installed, so there is no service to install here") from None
        except subprocess.TimeoutExpired:
            raise MangroveError(f"{' '.join(command)} did not end within {_PATIENCE:g} s") from None
        if done.returncode != 0:
            raise MangroveError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def systemctl(self, *arguments: str) -> str:
        where = () if self.root == Path("/") else (f"--root={self.root}",)
        return self.run("systemctl", *where, *arguments)

    def systemd(self) -> int:
        """Its version. Raises MangroveError when there is none."""
        found = re.search(r"\d+", self.run("systemctl", "--version"))
        return int(found.group()) if found else 0

    def is_active(self, unit: str) -> bool:
        try:
            return self.running and bool(self.systemctl("is-active", unit))
        except MangroveError:
            return False

    def has_user(self, name: str) -> bool:
        table = self.path("/etc/passwd")
        return table.exists() and any(line.startswith(f"{name}:") for line in table.read_text().splitlines())

    def account(self, name: str) -> str:
        """`uid:gid` of a user that there is; another system's users have no names here."""
        lines = self.path("/etc/passwd").read_text().splitlines()
        return ":".join(next(line for line in lines if line.startswith(f"{name}:")).split(":")[2:4])

    def prefix(self) -> tuple[str, ...]:
        """The option of useradd and userdel for another system's files."""
        return () if self.root == Path("/") else ("--prefix", str(self.root))


def carry_out(steps: Sequence[Step], say: Callable[[str], None], *, dry_run: bool) -> None:
    """Do what is not done yet, in order, saying so. Raises MangroveError, OSError at the first that fails."""
    for step in steps:
        if step.done():
            say(f"already so: {step.text}")
        elif dry_run:
            say(f"would {step.text}")
        else:
            say(step.text)
            step.do()


def check_is_ours(data: Path) -> None:
    """Raise Conflict when that folder has something in it, and nothing that a program of ours made."""
    if data.exists() and any(data.iterdir()) and not any((data / name).exists() for name in _OURS):
        raise Conflict(
            f"{data} is no data folder of Mangrove, and what is in it stays as it is: give the right one by --data-dir"
        )


def install_steps(machine: Machine, unit: Unit, before: Sequence[Step], *, start: bool) -> list[Step]:
    """All that makes `unit` a service. before: what has to be done when there is a user, and before it starts."""
    path = machine.path(_UNITS / unit.name)
    text = unit_text(unit)
    was = path.read_text() if path.exists() else ""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)

    user = Step(
        f"make the user {unit.user}",
        lambda: machine.run("useradd", *machine.prefix(), *_account(unit)),
        lambda: machine.has_user(unit.user),
    )
    steps = [*([user] if unit.user else []), *before]
    if unit.user and not unit.state_directory:  # else systemd gives the folder to the user at each start
        steps.append(_giving(machine, machine.path(unit.data), unit.user))
    steps += [Step(f"write {path}", write, lambda: was == text)]
    if machine.running:
        steps.append(
            Step("let systemd read its units", lambda: machine.systemctl("daemon-reload"), lambda: was == text)
        )
    steps.append(
        Step(
            f"enable {unit.name}, so that it starts with the machine",
            lambda: machine.systemctl("enable", "--quiet", unit.name),
            lambda: os.path.lexists(machine.path(_WANTED / unit.name)),
        )
    )
    if start and machine.running:
        verb = "start" if was == text else "restart"
        steps.append(
            Step(
                f"{verb} {unit.name}",
                lambda: machine.systemctl(verb, unit.name),
                lambda: was == text and machine.is_active(unit.name),
            )
        )
    return steps


def _giving(machine: Machine, data: Path, user: str) -> Step:
    check_is_ours(data)

    def give() -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        machine.run("chown", "-R", machine.account(user), str(data))

    return Step(f"give {data} to {user}", give)


def uninstall_steps(machine: Machine, role: str, before: Sequence[Step], data: Path | None, user: str) -> list[Step]:
    """All that takes the service of `role` off. before: for when it has stopped. data: to remove, None to keep.

    Raises Conflict when the folder is not the service's.
    """
    name = f"mangrove-{role}.service"
    path = machine.path(_UNITS / name)
    if data is not None:
        check_is_ours(data)
        _check_is_used(path, machine.root, data)
    enabled = machine.path(_WANTED / name)
    steps = [
        Step(f"stop {name}", lambda: machine.systemctl("stop", name), lambda: not machine.is_active(name)),
        *before,
        Step(
            f"disable {name}",
            lambda: machine.systemctl("disable", "--quiet", name),
            lambda: not os.path.lexists(enabled),
        ),
        Step(f"remove {path}", path.unlink, lambda: not path.exists()),
    ]
    overrides = path.with_name(f"{name}.d")
    if overrides.exists():
        steps.append(Step(f"remove {overrides}", lambda: shutil.rmtree(overrides)))
    if machine.running and path.exists():
        steps.append(Step("let systemd read its units", lambda: machine.systemctl("daemon-reload")))
    if data is not None:
        steps.append(Step(f"remove {data} with all in it", lambda: _remove(machine, data), lambda: not data.exists()))
        steps.append(
            Step(
                f"remove the user {user}",
                lambda: machine.run("userdel", *machine.prefix(), user),
                lambda: not machine.has_user(user),
            )
        )
    return steps


def _check_is_used(unit: Path, root: Path, data: Path) -> None:
    """Raise Conflict when the service is there and keeps its data elsewhere."""
    option = f"--data-dir {quoted(f'/{data.relative_to(root)}')} "
    command = next((line for line in _lines(unit) if line.startswith("ExecStart=")), "")
    if command and option not in f"{command} ":
        raise Conflict(f"the service keeps its data elsewhere, see {unit}: give that folder by --data-dir")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def program_of(role: str, unit_user: str) -> tuple[str, ...]:
    """The command of the program, beside this Python. Raises InvalidInput when the user could not read it."""
    python = Path(sys.executable)
    script = python.with_name(f"mangrove-{role}")
    if unit_user:
        for path in (python, python.resolve()):
            closed = _closed_to(path)
            if closed is not None:
                raise InvalidInput(
                    "",
                    f"the user {unit_user} cannot read this installation of Mangrove, since {closed} is closed to "
                    "others: install it where all may read, such as python3 -m venv /opt/mangrove",
                )
    return (str(script),) if script.exists() else (str(python), "-m", _MODULES[role])


_MODULES = {"node": "node_engine.main", "root": "root_orchestrator.main", "cluster": "cluster_orchestrator.main"}


def _closed_to(path: Path) -> Path | None:
    """The folder on the way to `path` that others than its owner cannot pass, None when all can."""
    return next((folder for folder in path.parents if not folder.stat().st_mode & 0o001), None)


def in_home(command: Sequence[str]) -> bool:
    """Whether what the command runs is below /home or /root."""
    places = [Path(command[0]), Path(sys.executable).resolve()]
    return any(place.is_relative_to(home) for place in places for home in ("/home", "/root"))


def _account(unit: Unit) -> list[str]:
    home = ["--home-dir", unit.data, "--no-create-home"]
    return ["--system", "--user-group", *home, "--shell", "/usr/sbin/nologin", unit.user]


def _remove(machine: Machine, data: Path) -> None:
    shutil.rmtree(data)
    parent = data.parent  # /var/lib/mangrove, which another program of ours may use
    if parent.name == "mangrove" and not any(parent.iterdir()):
        parent.rmdir()


@dataclass(frozen=True)
class Wish:
    """What a person said about how to install or uninstall. machine: which one; dry_run: only to say what would be."""

    machine: Machine
    dry_run: bool

    def carry_out(self, steps: Sequence[Step]) -> None:
        """See `carry_out`."""
        carry_out(steps, click.echo, dry_run=self.dry_run)


def wish_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, as its first argument, a Wish."""

    @click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    @click.option(
        "--into",
        type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
        default=Path("/"),
        help="A folder with another system, such as an image for devices, instead of this one.",
    )
    @functools.wraps(command)
    def with_options(*args: Any, dry_run: bool, into: Path, **more: Any) -> None:
        wish = Wish(Machine(into), dry_run)
        if not dry_run:
            wish.machine.may_change(click.get_current_context().command_path)
        command(wish, *args, **more)

    return with_options


def finish_install(wish: Wish, unit: Unit, before: Sequence[Step], *, start: bool) -> None:
    """Carry out all steps, and say how it stands."""
    if wish.dry_run:
        click.echo(unit_text(unit))
    wish.carry_out(install_steps(wish.machine, unit, before, start=start))
    name = unit.name.removesuffix(".service")
    if wish.dry_run:
        return
    if start and wish.machine.running:
        click.echo(f"{name} runs as {unit.user or 'root'}. Its log: journalctl -u {name}")
    else:
        click.echo(f"{name} is installed and starts with the machine, or by: systemctl start {name}")


def install_parent(
    wish: Wish, role: str, arguments: Sequence[str], data: Path, before: Sequence[Step], *, start: bool
) -> None:
    """Install a root or cluster, which runs as a user of its own. arguments: for the program, checked already."""
    user = f"mangrove-{role}"
    command = (*program_of(role, user), *arguments)
    unit = Unit(role, command, str(data), user=user, home=in_home(command), systemd=wish.machine.systemd())
    finish_install(wish, unit, before, start=start)


def uninstall_parent(wish: Wish, role: str, data: Path, *, keep: bool, yes: bool) -> None:
    """Take a root or cluster off. keep: its data stays."""
    kept = wish.machine.path(data)
    confirm(wish, yes, f"Remove the {role} from this machine" + ("" if keep else f" with all its data in {kept}"))
    wish.carry_out(uninstall_steps(wish.machine, role, [], None if keep else kept, f"mangrove-{role}"))
    if not wish.dry_run:
        click.echo(f"Its data is still in {kept}." if keep else "Nothing of it is left on this machine.")


def confirm(wish: Wish, yes: bool, question: str) -> None:
    """Ask, unless that is answered already."""
    if not yes and not wish.dry_run:
        click.confirm(f"{question}?", abort=True)
