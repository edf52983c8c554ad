"""A one-machine set-up as it lies in its folder: what was asked for, its ports, Admin's password, its programs.

setup.json        what this module keeps          root/ cluster-1/ node-1-1/ …      each program's data
admin.password    how to log in                   root.log cluster-1.log …          what each program writes
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from mangrove.base.errors import Conflict, CorruptFile, InvalidInput, Unavailable
from mangrove.base.files import private_folder, write_atomically
from mangrove.base.ids import new_id
from mangrove.client.root import DEFAULT_PORT

#: Where a set-up is unless another folder is named.
DEFAULT_FOLDER = Path("~/.mangrove")

#: All of a set-up listens here alone: nobody else can reach it.
HOST = "127.0.0.1"

USER = "Admin"

#: More than one machine is good for; it also keeps the ports within what is left of them.
MOST_CLUSTERS, MOST_NODES = 20, 50

#: Where free ports are looked for: below those that brokers choose (from 20,000) and that Linux gives to connections.
_PORTS = range(10_200, 20_000)

#: Of the environment, what says where the Docker engine is: kept, so that later commands mean the same engine.
_DOCKER = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")

Kind = Literal["root", "cluster", "node"]


class Setup(msgspec.Struct, frozen=True):
    """What `setup.json` holds.

    id: also in the environment of all its programs, by which they are known. port: of the root; its broker, and
    each cluster with its broker, have the next ones. nodes: of each cluster. runtimes: as of `mangrove-node`. lease:
    seconds. default_admin: whether Admin's password is Oakestra's. environment: for all programs, beyond that of who
    starts them. joined: names of the programs that are known to have joined. shown: whether the password has been.
    """

    id: str
    port: int
    clusters: int = 1
    nodes: int = 1
    runtimes: str = ""
    lease: float = 10.0
    default_admin: bool = False
    environment: dict[str, str] = {}
    joined: frozenset[str] = frozenset()
    shown: bool = False

    @property
    def address(self) -> str:
        """Of the root."""
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a set-up. parent: its cluster, or the root, by name. arguments: those after `--data-dir`."""

    name: str
    kind: Kind
    parent: str
    data: Path
    log: Path
    arguments: tuple[str, ...]
    ports: tuple[int, ...] = ()


def load(folder: Path) -> Setup | None:
    """The set-up in `folder`, None when there is none. Raises CorruptFile, OSError."""
    path = folder / "setup.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Setup)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise CorruptFile(f"{path} cannot be read ({error}): mend it, or remove the folder with all in it") from None


def save(folder: Path, setup: Setup) -> None:
    """Keep it. Raises OSError."""
    write_atomically(folder / "setup.json", msgspec.json.encode(setup))


def create(
    folder: Path,
    *,
    port: int | None = None,
    clusters: int = 1,
    nodes: int = 1,
    runtimes: str = "",
    lease: float = 10.0,
    default_admin: bool = False,
) -> Setup:
    """Make a set-up in `folder`, with a password; nothing is started. port: 0 for any, None for the usual one.

    Raises InvalidInput, Conflict when the folder holds something else, Unavailable when a port is taken, OSError.
    """
    _check_counts(clusters, nodes)
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} holds something else: name a new or an empty folder with --dir")
    count = 2 + 2 * clusters
    if port == 0:
        base = free_ports(count)
    else:
        base = DEFAULT_PORT if port is None else port
        if base + count > 65536:
            raise InvalidInput("--port", f"{base} leaves too few ports above it; {count} are needed")
        for each in range(base, base + count):
            if not is_free(each):
                raise Unavailable(
                    f"port {each} is in use (needed: {base} to {base + count - 1}): --port 0 takes others"
                )
    environment = {name: os.environ[name] for name in _DOCKER if os.environ.get(name)}
    setup = Setup(new_id(), base, clusters, nodes, runtimes, lease, default_admin, environment)
    private_folder(folder)
    password = "Admin" if default_admin else secrets.token_urlsafe(12)
    write_atomically(_password_file(folder), f"{password}\n".encode())
    save(folder, setup)
    return setup


def changed(setup: Setup, clusters: int | None, nodes: int | None, runtimes: str | None) -> Setup:
    """The set-up with so many clusters, and nodes in each (None: as now). Raises InvalidInput for fewer than now."""
    clusters = setup.clusters if clusters is None else clusters
    nodes = setup.nodes if nodes is None else nodes
    _check_counts(clusters, nodes)
    for option, now, wanted in (("--clusters", setup.clusters, clusters), ("--nodes", setup.nodes, nodes)):
        if wanted < now:
            raise InvalidInput(option, f"this set-up has {now} and cannot shrink to {wanted}")
    runtimes = setup.runtimes if runtimes is None else runtimes
    return msgspec.structs.replace(setup, clusters=clusters, nodes=nodes, runtimes=runtimes)


def password_in(folder: Path) -> str:
    """Admin's password. Raises OSError."""
    return _password_file(folder).read_text().strip()


def programs(folder: Path, setup: Setup) -> list[Program]:
    """All of its programs, parents first."""

    def program(name: str, kind: Kind, parent: str, *arguments: str, port: int = 0) -> Program:
        ports: tuple[int, ...] = ()
        if port:
            ports = (port, port + 1)
            listen = ("--host", HOST, "--port", str(port), "--mqtt-port", str(port + 1), "--lease", f"{setup.lease:g}")
            arguments = (*listen, *arguments)
        return Program(name, kind, parent, folder / name, folder / f"{name}.log", arguments, ports)

    admin = ("--admin-password-file", str(_password_file(folder)))
    found = [
        program("root", "root", "", *(("--allow-default-admin",) if setup.default_admin else admin), port=setup.port)
    ]
    nodes = []
    for number in range(1, setup.clusters + 1):
        name, port = f"cluster-{number}", setup.port + 2 * number
        found.append(program(name, "cluster", "root", "--name", name, "--root", setup.address, port=port))
        for each in range(1, setup.nodes + 1):
            node = f"node-{number}-{each}"
            options = ("--name", node, "--cluster", f"{HOST}:{port}", "--runtimes", setup.runtimes)
            nodes.append(program(node, "node", name, *options))
    return found + nodes


def free_ports(count: int, *, host: str = HOST) -> int:
    """The first of `count` ports in a row that nothing listens on now. Raises Unavailable."""
    for first in random.sample(_PORTS, 200):
        if all(is_free(port, host=host) for port in range(first, first + count)):
            return first
    raise Unavailable(f"no {count} free ports in a row between {_PORTS.start} and {_PORTS.stop}: name one with --port")


def is_free(port: int, *, host: str = HOST) -> bool:
    """Whether one could listen on the port now."""
    try:
        with socket.create_server((host, port)):
            return True
    except OSError:
        return False


def _check_counts(clusters: int, nodes: int) -> None:
    for option, count, most in (("--clusters", clusters, MOST_CLUSTERS), ("--nodes", nodes, MOST_NODES)):
        if not 1 <= count <= most:
            raise InvalidInput(option, f"must be 1 to {most}, not {count}")


def _password_file(folder: Path) -> Path:
    return folder / "admin.password"
