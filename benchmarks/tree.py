"""A root, clusters and nodes as real processes on loopback, for as long as a benchmark takes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import working_below
from mangrove.client.documents import Instance, Node, Service
from mangrove.client.root import RootClient
from mangrove.client.wait import TimedOut, wait_until
from mangrove.model.phases import Phase

#: Seconds for a program to start, or a node to be seen by the root: generous, since none of it is what is measured.
PATIENCE = 60.0

#: Of this checkout, so that what is measured is what lies here, whatever else is installed.
_SOURCE = Path(__file__).resolve().parent.parent


class Program:
    """One of our programs. folder: its data, its working folder and the place of its log."""

    def __init__(self, folder: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "log"
        folder.mkdir(parents=True)
        self._command = [str(Path(sys.executable).with_name(name)), "--data-dir", str(folder / "data"), *arguments]
        self._environment = {**os.environ, "PYTHONPATH": str(_SOURCE), **(environment or {})}
        self.start()

    def start(self) -> None:
        """Start it, or start it again when it has ended."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.process = psutil.Process(self._process.pid)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until its log has a line with `pattern`. Raises TimedOut, and RuntimeError when it has ended."""

        def look() -> re.Match[str] | None:
            said = self.log.read_text(errors="replace")
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.folder.name} ended with status {self._process.returncode}:\n{said[-2000:]}")
            return re.search(pattern, said, re.MULTILINE)

        try:
            found = wait_until(look, PATIENCE, what=f"{self.folder.name} to start", interval=0.05)
        except TimedOut as error:
            raise TimedOut(f"{error.message}, which does this:\n{self._doing()}") from None
        assert found is not None
        return found

    def _doing(self) -> str:
        """The end of its log, with what each of its threads does."""
        said = self.log.stat().st_size
        self._process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(TimedOut):
            wait_until(lambda: self.log.stat().st_size > said, 5.0, what="it to say what it does")
        return self.log.read_text(errors="replace")[-8000:]

    def children(self, name: str) -> list[psutil.Process]:
        """The processes called `name` that it started."""
        return [child for child in self.process.children() if child.name() == name]

    def stop(self) -> None:
        """Let it end, by force if need be."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Tree:
    """One root, with the clusters and nodes that are added. client: logged in as Admin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self.root = self._start("root", "mangrove-root", "--allow-default-admin", *LISTEN)
        self.client = RootClient(f"127.0.0.1:{port_of(self.root)}", timeout=30.0)
        self.client.login("Admin", "Admin")

    def add_cluster(self, name: str) -> ClusterProgram:
        """A cluster that the root sees."""
        token = self.client.cluster_token(ttl=600.0).token
        root = f"127.0.0.1:{port_of(self.root)}"
        program = self._start(name, "mangrove-cluster", "--root", root, "--token", token, "--name", name, *LISTEN)
        port = port_of(program)

        def look() -> str:
            return next((one.id for one in self.client.clusters() if one.name == name and one.state == "live"), "")

        id = wait_until(look, PATIENCE, what=f"the root to see {name}", interval=0.05)
        return ClusterProgram(program, id, f"127.0.0.1:{port}")

    def node_token(self, cluster: ClusterProgram, uses: int) -> str:
        """A join token for so many nodes."""
        return self.client.node_token(cluster.id, ttl=3600.0, uses=uses).token

    def add_node(self, cluster: ClusterProgram, token: str, name: str, runtimes: str, **environment: str) -> Program:
        """A node that begins to join; wait for it by `wait_for_nodes`. runtimes: as of `mangrove-node --runtimes`."""
        return self._start(
            name,
            "mangrove-node",
            *("--cluster", cluster.address, "--token", token, "--name", name, "--runtimes", runtimes),
            environment=environment,
        )

    def wait_for_nodes(self, count: int, seconds: float = PATIENCE) -> list[Node]:
        """Until the root sees so many nodes that are connected to their cluster."""

        def look() -> list[Node]:
            live = [node for node in self.client.nodes() if node.state == "live" and node.capacity.runtimes]
            return live if len(live) >= count else []

        return wait_until(look, seconds, what=f"the root to see {count} nodes")

    def declare(self, name: str, runtime: str, **fields: Any) -> str:
        """A new application with one service and no instance; the service's id. fields: more of the SLA's."""
        microservice = {
            "microserviceID": "",
            "microservice_name": name,
            "microservice_namespace": "bench",
            "virtualization": runtime,
            "memory": 8,
            "vcpus": 0,
            "code": "",
            **fields,
        }
        application = {
            "applicationID": "",
            "application_name": name,
            "application_namespace": "bench",
            "application_desc": "",
            "microservices": [microservice],
        }
        sla = {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
        return self.client.create_applications(sla)[0].services[0]

    def wait_for_running(self, service: str, count: int, seconds: float = PATIENCE) -> None:
        """Until exactly so many instances of a service run."""
        wait_until(
            lambda: len(running_in(self.client.service(service))) == count, seconds, what=f"{count} instances to run"
        )

    def undeploy(self, service: str, seconds: float = PATIENCE) -> None:
        """Stop all instances of a service, and wait until they are gone, as far as the root knows."""
        self.client.undeploy(service)
        wait_until(
            lambda: not self.client.service(service).instances, seconds, what="instances to be gone", interval=0.02
        )

    def wait_for_room(self, seconds: float = PATIENCE) -> None:
        """Until nothing is reserved on any node, and nothing of a process instance is left: all has really ended."""

        def empty() -> bool:
            reserved = any(node.instances for node in self.client.nodes())
            return not reserved and not any(self.folder.glob("*/data/instances/*"))

        wait_until(empty, seconds, what="the nodes to be empty")

    def _start(self, name: str, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Program:
        started = Program(self.folder / name, program, *arguments, environment=environment)
        self.programs.append(started)
        return started


class ClusterProgram:
    """A cluster in a tree. id: as the root knows it. address: of its HTTP server, where nodes join."""

    def __init__(self, program: Program, id: str, address: str) -> None:
        self.program = program
        self.id = id
        self.address = address


@contextlib.contextmanager
def growing_tree(folder: Path) -> Iterator[Tree]:
    """A tree in `folder`, of which nothing is left at the end: neither programs, nor what they run."""
    tree = None
    try:
        tree = Tree(folder)
        yield tree
        for service in tree.client.services():
            tree.undeploy(service.id)
        tree.wait_for_room()
    finally:
        for program in reversed(tree.programs if tree is not None else []):
            program.stop()
        # Instances outlive their engine, as they should; and after an error something may be left.
        for process in working_below(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def running_in(service: Service) -> dict[int, Instance]:
    """Instances of a service that run, by number."""
    return {instance.number: instance for instance in service.instances if instance.phase is Phase.RUNNING}


#: Ports of HTTP and broker: whichever are free.
LISTEN = ("--host", "127.0.0.1", "--port", "0", "--mqtt-port", "0")


def port_of(program: Program) -> int:
    return int(program.wait_for(r"listens on 127\.0\.0\.1:(\d+)$")[1])
