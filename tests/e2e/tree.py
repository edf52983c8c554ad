"""A tree of real processes on loopback: a root, clusters and nodes; what users do to it, and what really runs on it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mangrove.client.documents import Instance, Service
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.root import RootClient
from mangrove.model.phases import Phase
from tests.e2e.hosts import HERE, Host
from tests.e2e.programs import PATIENCE, Node, Parent, Program, eventually

#: Trees that stand now, whose logs a failing test shows.
STANDING: list[Tree] = []


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

    lease: seconds, at both levels. broker: which, at both levels. stores: by a parent's name, where it keeps its state
    if not in its folder. hosts: by a program's name, where it runs if not here. guests: programs that only end with
    the tree.
    """

    folder: Path
    free_port: Callable[[], int]
    lease: float = 10.0
    host: Host = HERE
    port: int = 0
    broker: str = "mosquitto"
    clusters: dict[str, Parent] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)
    guests: list[Program] = field(default_factory=list)
    _apps: int = 0
    _token: str = ""

    def __post_init__(self) -> None:
        STANDING.append(self)
        port = self.port or self.free_port()
        self.root = self.root_program("root", port)
        self.client = RootClient(self.root.address)

    # Growing

    def start(self, **clusters: Sequence[str]) -> Tree:
        """Start the root and, by name, each cluster with its nodes, all with process instances."""
        self.root.start()
        self.client.login("Admin", "Admin")
        login = {"username": "Admin", "password": "Admin"}
        self._token = HttpClient(parse_address(self.root.address, 1)).request("POST", "/api/auth/login", login)["token"]
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

    def root_program(self, name: str, port: int) -> Parent:
        """A root, not started yet; those of one store need different names."""
        options = (*self._options, "--allow-default-admin")
        return Parent("root", name, self.folder, self._host(name), port, *options, **self._environment("root"))

    def _host(self, program: str) -> Host:
        return self.hosts.get(program, self.host)

    def _environment(self, parent: str) -> dict[str, str]:
        return {"MANGROVE_STORE": self.stores.get(parent, "")}

    def cluster_program(self, name: str) -> Parent:
        """A cluster that has not joined yet."""
        options = (*self._options, "--name", name)
        port = self.free_port()
        return Parent("cluster", name, self.folder, self._host(name), port, *options, **self._environment(name))

    @property
    def _options(self) -> tuple[str, ...]:
        return "--lease", f"{self.lease:g}", "--broker", self.broker

    def add_node(
        self, name: str, cluster: str, *more: str, runtimes: str = "process", wait: bool = True, **environment: str
    ) -> Node:
        """A new node, which joins the cluster of that name. environment: of the engine."""
        node = Node(name, self.folder, self._host(name), self.clusters[cluster], runtimes, *more, **environment)
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
                # Nodes that are away count too, as long as something is bound on them.
                cluster.capacity.nodes >= sum(node.cluster is self.clusters[name] for node in self._live_nodes())
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

    def create(self, *services: Mapping[str, Any], name: str = "", namespace: str = "test") -> list[str]:
        """A new application with these services (see `process`); their ids."""
        self._apps += 1
        application = {
            "applicationID": "",
            "application_name": name or f"app{self._apps}",
            "application_namespace": namespace,
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

    def ask(self, method: str, path: str) -> tuple[int, str, str]:
        """Status, Retry-After and message of the root's answer to an Admin's request, which is sent once."""
        host, _, port = self.root.address.rpartition(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
            connection.request(method, path, headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            message = str(said.get("message", "")) if isinstance(said, dict) else ""
            return answer.status, answer.headers.get("Retry-After", ""), message

    def instances(self, service: str) -> dict[int, Instance]:
        """What the root says about each instance."""
        return {instance.number: instance for instance in self.service(service).instances}

    def service(self, service: str) -> Service:
        return self.client.service(service)

    def summary(self, service: str) -> tuple[str | None, str]:
        """Status and status_detail of a service in Oakestra's words."""
        found = self.client.declaration(service)
        return found["status"], found["status_detail"] or ""

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
