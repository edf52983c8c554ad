"""The root's API under several clients at once, on each store: a long list, and deployments."""

from __future__ import annotations

import contextlib
import itertools
import queue
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.processes import cpu_seconds
from benchmarks.result import Figure, Result
from benchmarks.tree import LISTEN, Program, port_of
from mangrove.client.root import RootClient
from tests import mongo_server

#: Requests under way at once: the root's HTTP threads.
_CLIENTS = 8
#: Services in one application: Oakestra's SLA has a few, a large one has some dozens.
_TOGETHER = 50

#: Milliseconds for one answer on SQLite, which are 30 lists and 300 deployments in a second.
_LIST_GOAL, _DEPLOY_GOAL = 1000 / 30, 1000 / 300


@dataclass(frozen=True)
class Size:
    """Services that there are, each with one instance, and how often each request is made."""

    services: int
    lists: int
    deployments: int


FULL, QUICK = Size(1000, 150, 1500), Size(20, 10, 40)


def measure(folder: Path, size: Size) -> Result:
    """The same on SQLite and on a server that speaks MongoDB's protocol."""
    figures: list[Figure] = []
    raw: dict[str, list[float]] = {}
    for store in ("SQLite", mongo_name()):
        with _stored(store) as uri, _root(folder / store, uri) as (program, root):
            services = _declare(root, size.services)
            goals = (_LIST_GOAL, _DEPLOY_GOAL) if store == "SQLite" else (None, None)
            for name, requests, count, goal in (
                ("GET /api/services/", itertools.repeat(("GET", "/api/services/")), size.lists, goals[0]),
                (
                    "POST …/instance",
                    (("POST", f"/api/service/{id}/instance") for id in itertools.cycle(services)),
                    size.deployments,
                    goals[1],
                ),
            ):
                cpu = cpu_seconds(program.process)
                took, seconds = _asked(root, requests, count)
                cpu = cpu_seconds(program.process) - cpu
                raw[f"{name}, {store}"] = took
                figures += _figures(f"{name}, {store}", took, seconds, cpu, goal)
    return Result(
        "api",
        f"the root's API with {size.services} services",
        (
            f"one root, on which {size.services} services in applications of {_TOGETHER} are declared, with one "
            "instance each; no cluster, so that the controller finds for each that nothing fits",
            f"{_CLIENTS} clients, each with one connection, which read all of each answer and do not look into it",
            "GET /api/services/ answers all services with their instances, as Oakestra's dashboard asks for them",
            "POST …/instance is answered when the slot is on the disk; each is for another service than the last",
            f"{mongo_name()}: on this machine too, beside root and clients",
        ),
        tuple(figures),
        raw,
    )


def mongo_name() -> str:
    """What is measured beside SQLite."""
    return "MongoDB" if mongo_server.GIVEN else "SecantusDB"


@contextlib.contextmanager
def _stored(store: str) -> Iterator[str]:
    """The address of a new store, empty for SQLite."""
    if store == "SQLite":
        yield ""
        return
    try:
        with mongo_server.database() as uri:
            yield uri
    finally:
        mongo_server.SHARED.end()


@contextlib.contextmanager
def _root(folder: Path, store: str) -> Iterator[tuple[Program, RootClient]]:
    """A root that has nothing yet, and someone who is logged in."""
    program = Program(folder, "mangrove-root", "--allow-default-admin", *LISTEN, environment={"MANGROVE_STORE": store})
    try:
        client = RootClient(f"127.0.0.1:{port_of(program)}", timeout=30.0)
        client.login("Admin", "Admin")
        yield program, client
    finally:
        program.stop()


def _declare(root: RootClient, count: int) -> list[str]:
    """Services with one instance each; their ids."""
    services: list[str] = []
    for first in range(0, count, _TOGETHER):
        declared = [
            {
                "microserviceID": "",
                "microservice_name": f"web{number}",
                "microservice_namespace": "bench",
                "virtualization": "container",
                "memory": 100,
                "vcpus": 1,
                "code": "docker.io/library/nginx:latest",
                "port": "8080:80",
            }
            for number in range(first, min(first + _TOGETHER, count))
        ]
        application = {
            "applicationID": "",
            "application_name": f"app{first}",
            "application_namespace": "bench",
            "application_desc": "",
            "microservices": declared,
        }
        sla = {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
        [made] = root.create_applications(sla)
        services += made.services
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(root.deploy, services))
    return services


def _asked(root: RootClient, requests: Iterator[tuple[str, str]], count: int) -> tuple[list[float], float]:
    """Seconds of each of so many requests, and of all of them."""
    headers = {"Authorization": f"Bearer {root.access_token()}"}
    waiting: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def client(_: int) -> list[float]:
        took: list[float] = []
        with contextlib.closing(HTTPConnection(root.address.host, root.address.port, timeout=60)) as connection:
            while (request := waiting.get()) is not None:
                began = time.perf_counter()
                connection.request(*request, headers=headers)
                answer = connection.getresponse()
                answer.read()
                took.append(time.perf_counter() - began)
                if answer.status != 200:
                    raise RuntimeError(f"{' '.join(request)} answered {answer.status}")
        return took

    def ask(number: int) -> list[float]:
        for request in itertools.islice(requests, number):
            waiting.put(request)
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for _ in range(_CLIENTS):
                waiting.put(None)
            return [one for took in pool.map(client, range(_CLIENTS)) for one in took]

    ask(_CLIENTS)  # warms up
    began = time.perf_counter()
    took = ask(count)
    return took, time.perf_counter() - began


def _figures(name: str, took: list[float], seconds: float, cpu: float, goal: float | None) -> list[Figure]:
    cuts = [1000 * cut for cut in statistics.quantiles(took, n=100, method="inclusive")]
    return [
        Figure(f"{name}, answers a second", len(took) / seconds, "/s", note=f"n = {len(took)}"),
        Figure(f"{name}, time for each", 1000 * seconds / len(took), "ms", goal, "of all clients together"),
        Figure(f"{name}, CPU of the root for each", 1000 * cpu / len(took), "ms", note="the controller's work in it"),
        Figure(f"{name}, p50", cuts[49], "ms"),
        Figure(f"{name}, p99", cuts[98], "ms", note=f"{1000 * min(took):.0f} to {1000 * max(took):.0f}"),
    ]
