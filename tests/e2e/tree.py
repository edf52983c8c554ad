"""A tree of real processes on loopback: a root, clusters and nodes, to be started, stopped and killed at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

from mangrove.client.documents import Instance, Service
from mangrove.client.root import RootClient
from mangrove.client.wait import wait_until
from mangrove.identity.messages import JoinReply
from mangrove.model.phases import Phase
from node_engine.joining import Membership

#: Seconds for what should happen at once: long, because two busy cores are shared.
PATIENCE = 30.0

#: Where the kernel keeps control groups, of which the instances of a node leave one when the node never cleans up.
_CONTROL_GROUPS = Path("/sys/fs/cgroup")

#: Trees that stand now, whose logs a failing test shows.
STANDING: list[Tree] = []

_Value = TypeVar("_Value")


def eventually(condition: Callable[[], _Value | None], what: str, seconds: float = PATIENCE) -> _Value:
    """What `condition` gives once it is true; fails when that takes too long."""
    found = wait_until(condition, seconds, what=what, interval=0.05, longest=0.25)
    assert found is not None
    return found


def executable(program: str) -> str:
    """Path of one of Mangrove's programs, beside the Python that runs the tests."""
    return str(Path(sys.executable).with_name(program))


def home_of(process: psutil.Process) -> str:
    """The environment variable HOME of a process, empty when it cannot be read (gone, a zombie)."""
    try:
        return process.environ().get("HOME", "")
    except psutil.Error:
        return ""


class Program:
    """One program with its data folder. What it writes goes to `log`; a second start goes on there."""

    def __init__(self, name: str, folder: Path, command: Sequence[str], ready: str, **environment: str) -> None:
        """ready: what its log says once it works."""
        self.name = name
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.command = [*command, "--data-dir", str(self.data)]
        self._ready = ready
        self._environment = environment
        self._read_from = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str, wait: bool = True) -> None:
        """Start it, with options that only this start needs."""
        assert not self.alive, f"{self.name} runs already"
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"},
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it says that it works. Fails when it ends instead."""

        def ready() -> bool:
            assert self.alive, f"{self.name} ended with {self.exit_code}: {self.said()[-2000:]}"
            return self._ready in self.said()

        eventually(ready, f"{self.name} to say {self._ready!r}")

    def said(self) -> str:
        """What it wrote since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._read_from)
            return log.read().decode(errors="replace")

    def connections(self) -> int:
        """How often it was connected to its parent, in its whole life."""
        return self.log.read_text().count("connected to the parent") if self.log.exists() else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def stop(self) -> None:
        """Ask it to end, and wait until it has; its exit code must be 0."""
        if self.alive and self.process is not None:
            self.process.terminate()
            code = self.process.wait(PATIENCE)
            assert code == 0, f"{self.name} ended with {code}: {self.said()[-2000:]}"

    def kill(self) -> None:
        """SIGKILL, like a power cut of this program alone."""
        if self.alive and self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def restart(self) -> None:
        """SIGKILL, and start again."""
        self.kill()
        self.start()

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def broker(self) -> psutil.Process | None:
        """The broker that this parent runs; None while there is none."""
        children = psutil.Process(self.pid).children()
        return next((child for child in children if child.name() in ("mosquitto", "nats-server")), None)


class Parent(Program):
    """A root or a cluster (`program`). port: of its HTTP server."""

    def __init__(self, program: str, name: str, folder: Path, host: str, port: int, *more: str) -> None:
        self.address = f"{host}:{port}"
        options = ["--host", host, "--port", str(port), "--mqtt-port", "0", *more]
        super().__init__(name, folder, [executable(f"mangrove-{program}"), *options], f"listens on {self.address}")


class Node(Program):
    """A node engine."""

    def __init__(self, name: str, folder: Path, cluster: Parent, runtimes: str, *more: str, **environment: str) -> None:
        self.cluster = cluster
        command = [executable("mangrove-node"), "--name", name, "--runtimes", runtimes, *more]
        super().__init__(name, folder, command, f"({name}) runs: ", **environment)
        self._command = self.command

    @property
    def membership(self) -> Membership:
        """What it keeps of having joined."""
        return msgspec.json.decode((self.data / "identity.json").read_bytes().partition(b"\n")[2], type=Membership)

    @property
    def identity(self) -> JoinReply:
        reply = self.membership.reply
        assert reply is not None
        return reply

    @property
    def installation(self) -> str:
        """The first label of all that it makes."""
        return (self.data / "installation").read_bytes().partition(b"\n")[2].decode()

    def processes(self) -> list[psutil.Process]:
        """All that belongs to process instances of this node, their supervisors too."""
        home = f"{self.data}/instances/"
        return [process for process in psutil.process_iter() if home_of(process).startswith(home)]

    def crash(self) -> None:
        """SIGKILL to the engine and to all of its process instances: the device is gone, without a last word."""
        self.kill()
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=PATIENCE)

    def switch_off(self) -> None:
        """`crash`, and what starts next finds that the machine was booted anew: where that can be played, as root."""
        self.crash()
        if os.geteuid() == 0 and shutil.which("unshare"):
            boot = self.data / "boot_id"
            boot.write_text(f"{uuid.uuid4()}\n")
            script = f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"'
            self.command = ["unshare", "--mount", "sh", "-c", script, "sh", *self._command]

    def leave(self) -> str:
        """Let it leave its cluster for good (the engine must have ended); what the command said."""
        command = [executable("mangrove"), "node", "leave", "--data-dir", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def clean(self) -> None:
        """Remove what a node leaves behind that is gone for good."""
        self.crash()
        if not self.data.exists():
            return
        for folder in _CONTROL_GROUPS.glob(f"*/mangrove-{self.installation}-*"):
            for group in (*folder.glob("*/"), folder):
                with contextlib.suppress(OSError):
                    group.rmdir()


@dataclass(frozen=True)
class Running:
    """An instance that really runs: its processes but for the supervisor, by what the engine told them."""

    service: str
    number: int
    attempt: str
    node: str
    pids: tuple[int, ...]


@dataclass
class Tree:
    """A root with clusters and nodes.

    lease: seconds, at both levels. broker: which, at both levels. guests: programs that only end with the tree.
    """

    folder: Path
    free_port: Callable[[], int]
    lease: float = 10.0
    host: str = "127.0.0.1"
    port: int = 0
    broker: str = "mosquitto"
    clusters: dict[str, Parent] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    guests: list[Program] = field(default_factory=list)
    _apps: int = 0

    def __post_init__(self) -> None:
        STANDING.append(self)
        port = self.port or self.free_port()
        options = (*self._options, "--allow-default-admin")
        self.root = Parent("root", "root", self.folder, self.host, port, *options)
        self.client = RootClient(self.root.address)

    # Growing

    def start(self, **clusters: Sequence[str]) -> Tree:
        """Start the root and, by name, each cluster with its nodes, all with process instances."""
        self.root.start()
        self.client.login("Admin", "Admin")
        for name in clusters:
            self.add_cluster(name, wait=False)
        for name in clusters:
            self.clusters[name].wait()
        for cluster, nodes in clusters.items():
            for node in nodes:
                self.add_node(node, cluster, wait=False)
        self.settle()
        return self

    def add_cluster(self, name: str, *, wait: bool = True) -> Parent:
        """A new cluster, which joins the root."""
        cluster = self.clusters[name] = self.cluster_program(name)
        token = self.client.cluster_token(ttl=600).token
        cluster.start("--root", self.root.address, "--token", token, wait=wait)
        return cluster

    def cluster_program(self, name: str) -> Parent:
        """A cluster that has not joined yet."""
        options = (*self._options, "--name", name)
        return Parent("cluster", name, self.folder, self.host, self.free_port(), *options)

    @property
    def _options(self) -> tuple[str, ...]:
        return "--lease", f"{self.lease:g}", "--broker", self.broker

    def add_node(
        self, name: str, cluster: str, *more: str, runtimes: str = "process", wait: bool = True, **environment: str
    ) -> Node:
        """A new node, which joins the cluster of that name. environment: of the engine."""
        node = Node(name, self.folder, self.clusters[cluster], runtimes, *more, **environment)
        self.nodes[name] = node
        node.start("--cluster", node.cluster.address, "--token", self.node_token(cluster), wait=wait)
        return node

    def node_token(self, cluster: str, *, ttl: float = 600, uses: int = 1) -> str:
        """The text of a new token, as soon as the root can ask the cluster for it."""
        id = eventually(lambda: self.cluster_id(cluster), f"{cluster} to be known")
        return eventually(lambda: self.client.node_token(id, ttl=ttl, uses=uses), "a node token").token

    def cluster_id(self, name: str) -> str:
        """Empty when no such cluster is connected."""
        return next((each.id for each in self.client.clusters() if (each.name, each.state) == (name, "live")), "")

    def settle(self) -> None:
        """Wait until all clusters and nodes whose programs run are connected, and work can be given to them."""

        def connected() -> bool:
            live = {cluster.name: cluster for cluster in self.client.clusters() if cluster.state == "live"}
            nodes = {node.name for node in self.client.nodes() if node.state == "live" and node.cluster.name in live}
            wanted = {name for name, node in self.nodes.items() if node.alive}
            counted = all(
                cluster.capacity.nodes == sum(node.cluster is self.clusters[name] for node in self._live_nodes())
                for name, cluster in live.items()
                if name in self.clusters
            )
            return live.keys() >= {n for n, c in self.clusters.items() if c.alive} and nodes >= wanted and counted

        eventually(connected, "all clusters and nodes to be connected", 60)

    def _live_nodes(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.alive]

    @property
    def programs(self) -> list[Program]:
        return [self.root, *self.clusters.values(), *self.nodes.values()]

    def program(self, name: str) -> Program:
        return next(program for program in self.programs if program.name == name)

    def pids(self) -> dict[str, int]:
        """Of all programs that run, by name."""
        return {program.name: program.pid for program in self.programs if program.alive}

    def close(self) -> None:
        """End everything, the instances too."""
        STANDING.remove(self)
        for node in self.nodes.values():
            node.clean()
        for program in (*self.programs, *self.guests):
            program.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What users do

    def create(self, *services: Mapping[str, Any], name: str = "") -> list[str]:
        """A new application with these services (see `process`); their ids."""
        self._apps += 1
        application = {
            "applicationID": "",
            "application_name": name or f"app{self._apps}",
            "application_namespace": "test",
            "application_desc": "",
            "microservices": [dict(service) for service in services],
        }
        sla = {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
        [made] = self.client.create_applications(sla)
        return list(made.services)

    def deploy(self, *command: str, instances: int = 1, **fields: Any) -> str:
        """A new service of processes with so many instances; its id."""
        [service] = self.create(process(*command, **fields))
        for _ in range(instances):
            self.client.deploy(service)
        return service

    def instances(self, service: str) -> dict[int, Instance]:
        """What the root says about each instance."""
        return {instance.number: instance for instance in self.service(service).instances}

    def service(self, service: str) -> Service:
        return self.client.service(service)

    def summary(self, service: str) -> tuple[str | None, str]:
        """Status and status_detail of a service in Oakestra's words."""
        [found] = [each for each in self.client.all_services() if each.id == service]
        return found.status, found.detail or ""

    def wait_phase(self, service: str, phase: Phase, number: int = 0, seconds: float = PATIENCE) -> Instance:
        """An instance once it is in that phase."""

        def there() -> Instance | None:
            instance = self.instances(service).get(number)
            return instance if instance is not None and instance.phase is phase else None

        return eventually(there, f"instance {number} to be {phase}", seconds)

    def wait_reason(self, service: str, text: str, number: int = 0, seconds: float = PATIENCE) -> Instance:
        """An instance once the reason for its state holds `text`."""

        def there() -> Instance | None:
            instance = self.instances(service).get(number)
            return instance if instance is not None and text in instance.reason else None

        return eventually(there, f"instance {number} to say {text!r}", seconds)

    def wait_running(self, service: str, instances: int = 1, seconds: float = PATIENCE) -> list[Running]:
        """What really runs, once the root says that so many instances run, all that are wanted, and they do."""

        def there() -> list[Running] | None:
            said = self.instances(service)
            if len(said) != instances or any(each.phase is not Phase.RUNNING for each in said.values()):
                return None
            real = self.running(service)
            return real if sorted(each.number for each in real) == sorted(said) else None

        return eventually(there, f"{instances} instances to run", seconds)

    def running(self, service: str = "") -> list[Running]:
        """Process instances that really run on any node, or those of one service."""
        homes = {f"{node.data}/instances/": name for name, node in self.nodes.items()}
        found: dict[tuple[str, int, str, str], list[int]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                environment = process.environ()
                home = environment.get("HOME", "")
                node = next((name for folder, name in homes.items() if home.startswith(folder)), "")
                if not node or "mangrove-supervisor" in process.cmdline():
                    continue
                key = (
                    environment["MANGROVE_SERVICE"],
                    int(environment["MANGROVE_INSTANCE"]),
                    environment["MANGROVE_ATTEMPT"],
                    node,
                )
                found.setdefault(key, []).append(process.pid)
        return [
            Running(its_service, number, attempt, node, tuple(sorted(pids)))
            for (its_service, number, attempt, node), pids in sorted(found.items())
            if service in ("", its_service)
        ]

    def wait_gone(self, service: str, seconds: float = PATIENCE) -> None:
        """Until nothing of a service is left on any node, not even its folders."""

        def gone() -> bool:
            if self.running(service):
                return False
            left = [home for home in self._homes() if home.get("MANGROVE_SERVICE") == service]
            return not left

        eventually(gone, f"all of {service} to be gone", seconds)

    def _homes(self) -> Iterator[Mapping[str, str]]:
        """Environments of all processes of instances, supervisors included."""
        for node in self.nodes.values():
            for process in node.processes():
                with contextlib.suppress(psutil.Error):
                    yield process.environ()


def process(*command: str, **fields: Any) -> dict[str, Any]:
    """A microservice of processes, as a user writes it. command: by default one that runs until it is stopped."""
    return {
        "microserviceID": "",
        "microservice_name": "web",
        "microservice_namespace": "test",
        "virtualization": "process",
        "code": "",
        "cmd": list(command) or ["sleep", "1000"],
        **fields,
    }


def shell(script: str) -> tuple[str, ...]:
    """A command that runs a script of the shell."""
    return ("/bin/sh", "-c", script)


@contextlib.contextmanager
def reconnecting(*children: Program) -> Iterator[None]:
    """What happens here breaks the links of these children to their parents; waits until they are connected again."""
    before = {child: child.connections() for child in children}
    yield
    for child, count in before.items():
        eventually(partial(_connected, child, count), f"{child.name} to connect again", 60)


def _connected(child: Program, count: int) -> bool:
    return child.connections() > count


def lives(pid: int) -> bool:
    """Whether there is such a process, and not only its exit code that nobody has asked for yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
