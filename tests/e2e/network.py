"""Netmanagers on machines that are network namespaces, with a plan written by hand, and instances that answer."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mangrove.base.doors import ask
from mangrove.network.door import PLAN, SOCKET, Answer, Attach, Changed, Release, Request, Show
from mangrove.network.plan import (
    Endpoint,
    Grant,
    LocalInstance,
    NodePlan,
    Peer,
    Ranges,
    ServiceAddress,
    ServiceEntry,
)
from tests.e2e.hosts import Host, Switch

#: Seconds for what takes a fraction of one on a quiet machine.
PATIENCE = 20.0

RANGES = Ranges(("10.18.0.0/16", "fdff:18::/32"), ("10.30.0.0/16", "fdff:30::/32"))

#: Answers over TCP and UDP with its name and who asked; argument: name, port.
_ANSWERER = """
import socket, sys, threading
name, port = sys.argv[1].encode(), int(sys.argv[2])
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::", port))
def answer_udp():
    while True:
        data, who = udp.recvfrom(65536)
        udp.sendto(name + b" " + who[0].encode() + b" " + data, who)
threading.Thread(target=answer_udp, daemon=True).start()
tcp = socket.socket(socket.AF_INET6)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
tcp.bind(("::", port))
tcp.listen(100)
print("ready", flush=True)
def answer_tcp(connection, who):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(name + b" " + who[0].encode() + b" " + data)
while True:
    threading.Thread(target=answer_tcp, args=tcp.accept(), daemon=True).start()
"""


@dataclass
class Inside:
    """An instance: its addresses, and how something is tried from there."""

    attempt: str
    ipv4: str
    ipv6: str
    namespace: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> Host:
        return Host(self.ipv4, self.namespace.removeprefix("/run/netns/"))

    def serve(self, port: int = 80) -> None:
        """Answer there with the attempt's name."""
        self.process = subprocess.Popen(
            ["nsenter", f"--net={self.namespace}", sys.executable, "-c", _ANSWERER, self.attempt, str(port)],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def connect(self, address: str, port: int = 80, timeout: float = 5.0) -> socket.socket:
        """A TCP connection from here."""
        with self.host.inside():
            return socket.create_connection((address, port), timeout=timeout)

    def call(self, address: str, port: int = 80, timeout: float = 5.0) -> tuple[str, str]:
        """Who answered over TCP, and whom they saw asking."""
        with self.connect(address, port, timeout) as connection:
            connection.sendall(b"hello")
            name, seen, _ = connection.recv(1000).decode().split()
        return name, seen.removeprefix("::ffff:")

    def datagram(self, address: str, port: int = 80) -> socket.socket:
        """A UDP socket of here that is connected."""
        with self.host.inside():
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(5.0)
        made.connect((address, port))
        return made


@dataclass
class Machine:
    """A host with a netmanager and a plan."""

    host: Host
    folder: Path
    plan: NodePlan
    options: tuple[str, ...] = ()
    instances: dict[str, Inside] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.write()
        self.process = subprocess.Popen(
            [*self.host.entering, sys.executable, "-m", "netmanager.main", f"--folder={self.folder}", *self.options]
        )
        process = self.process
        wait(lambda: process.poll() is not None or self.try_ask(Show()).view is not None, "the netmanager answers")
        assert process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def write(self) -> None:
        (self.folder / PLAN).write_bytes(msgspec.json.encode(self.plan))

    def change(self, **changes: object) -> Answer:
        """Another plan; the netmanager's answer."""
        self.plan = msgspec.structs.replace(self.plan, **changes)
        self.write()
        return self.ask(Changed())

    def ask(self, request: Request) -> Answer:
        return ask(self.folder / SOCKET, request, Answer, patience=PATIENCE, who="the netmanager")

    def ask_view(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(Show(counters=True)).view
        return found

    def try_ask(self, request: Request) -> Answer:
        try:
            return self.ask(request)
        except Exception as error:
            return Answer(error=str(error))

    def attach(self, attempt: str, service: str, number: int, last: int) -> Inside:
        """An instance whose addresses end with `last`, in the plan as ready."""
        ipv4, ipv6 = self.address(last, 4), self.address(last, 6)
        answer = self.ask(Attach(attempt, service, number, ipv4, ipv6))
        assert not answer.error, answer.error
        made = self.instances[attempt] = Inside(attempt, ipv4, ipv6, answer.namespace)
        instance = LocalInstance(attempt, service, number, ipv4, ipv6)
        assert not self.change(instances={**self.plan.instances, attempt: instance}).error
        return made

    def address(self, last: int, family: int) -> str:
        grant = self.plan.grants[0]
        return str(ipaddress.ip_network(grant.ipv4 if family == 4 else grant.ipv6)[last])

    def release(self, attempt: str) -> None:
        self.stop_serving(attempt)
        del self.instances[attempt]
        rest = {id: it for id, it in self.plan.instances.items() if id != attempt}
        assert not self.change(instances=rest).error
        assert not self.ask(Release(attempt)).error

    def stop_serving(self, attempt: str) -> None:
        process = self.instances[attempt].process
        if process is not None:
            process.kill()
            process.communicate()

    def end(self) -> None:
        for attempt in list(self.instances):
            self.stop_serving(attempt)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        command = [*self.host.entering, sys.executable, "-m", "netmanager.main", f"--folder={self.folder}", "--clear"]
        subprocess.run(command, check=True, timeout=60)


def service(id: str, application: str, *more: ServiceAddress, group: str = "", **fields: object) -> ServiceEntry:
    """A service `web` is `web.shop`, group of its application unless told."""
    name = id.partition("-")[0]
    entry = ServiceEntry(id, name, "default", application, application, "default", group or application, more)
    return msgspec.structs.replace(entry, **fields)


@contextlib.contextmanager
def machines(*names: str, options: tuple[str, ...] = (), **services: ServiceEntry) -> Iterator[list[Machine]]:
    """Machines on one switch at 10.9.0.1 and so on, with subnets 10.18.<n>.0/24. Each sees the others as peers."""
    with contextlib.ExitStack() as stack:
        switch = stack.enter_context(Switch())
        found: list[Machine] = []
        grants = [Grant(f"10.18.{place}.0/24", f"fdff:18:{place:x}::/64") for place in range(1, len(names) + 1)]
        for place, name in enumerate(names, 1):
            host = Host(f"10.9.0.{place}", switch.plug(name, f"10.9.0.{place}"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mgnet")))
            peers = {
                other: Peer(other, other, "c", (grants[at].ipv4, grants[at].ipv6), (f"10.9.0.{at + 1}",))
                for at, other in enumerate(names)
                if other != name
            }
            plan = NodePlan(name, name, 1, "", RANGES, (grants[place - 1],), peers, dict(services))
            machine = Machine(host, folder, plan, options)
            stack.callback(machine.end)
            machine.start()
            found.append(machine)
        yield found


def share(*all: Machine) -> None:
    """Tell each machine of the others' instances, as the cluster would."""
    for machine in all:
        endpoints = {
            it.attempt: Endpoint(it.attempt, it.service, it.number, other.plan.node, it.ipv4, it.ipv6, it.state)
            for other in all
            if other is not machine
            for it in other.plan.instances.values()
        }
        assert not machine.change(endpoints=endpoints).error


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)
