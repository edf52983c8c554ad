"""What all tests share: nothing is skipped in CI, no process outlives the tests, free ports, a Docker engine."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from tests import docker_engine, mongo_server, podman_engine

END_TO_END = Path(__file__).with_name("e2e")
IN_CI = os.environ.get("CI") == "true"

#: In the environment of everything that a test process starts, so that it is found even when its parent is gone.
RUN_MARK = "MANGROVE_TEST_RUN"

#: Fixtures that give the address of a container engine, of which there is one for all tests.
_ENGINES = {"docker_host", "podman_host", "container_host"}

#: Ports below those that something else may take between the moment in which a test is given one and its use, or while
#: the program that had it is started again: `mangrove up` chooses from 10,200 on, brokers from 20,000, and Linux gives
#: outgoing connections those from 32,768. Browsers refuse several below 7,000.
FIRST_PORT = 7_000
PORTS_PER_WORKER = 740


def pytest_configure() -> None:
    """What tests start is interrupted by them, also where a shell ran the tests in the background, deaf to SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not IN_CI:  # where Hypothesis has such a profile of its own
        hypothesis.settings.register_profile("unhurried", deadline=None)
        hypothesis.settings.load_profile("unhurried")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test fails with its reason: there, everything that tests need has to be there."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for whole modules."""
    report = yield
    _fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(tryfirst=True)  # before xdist reads the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a Docker engine runs in one worker, one after the other; so do the end-to-end tests of a file, unless
    they say themselves with what they must not run at once."""
    for item in items:
        if _ENGINES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("containers"))
        elif item.path.is_relative_to(END_TO_END) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _fail_if_skipped_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI skips nothing: {reason}"


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fails, and ends them, when processes that tests of this pytest process started outlive its last test."""
    mark = uuid.uuid4().hex
    os.environ[RUN_MARK] = mark
    yield
    left = {process.pid: process for process in psutil.process_iter() if _started_here(process, mark)}
    left |= {process.pid: process for process in psutil.Process().children(recursive=True)}
    _, alive = psutil.wait_procs(left.values(), timeout=5)  # what was killed just now needs a moment to be gone
    described = [f"{process.pid}: {_command_line(process)}" for process in alive]
    for process in alive:
        process.kill()
    assert not described, "tests left processes running:\n" + "\n".join(described)


@pytest.fixture(scope="session", autouse=True)
def no_database_server_left(no_process_left: None) -> Iterator[None]:
    """Ends the server that tests of stores share, if any of them started it."""
    yield
    mongo_server.SHARED.end()


def _started_here(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(RUN_MARK) == mark
    except psutil.Error:  # gone meanwhile, a zombie, or not ours to read
        return False


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "(gone meanwhile)"


@pytest.fixture(scope="session")
def free_port(worker_id: str) -> Callable[[], int]:
    """Gives a TCP and UDP port of loopback at each call that nothing uses, and that nobody else was given of late."""
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    first = FIRST_PORT + worker % 4 * PORTS_PER_WORKER
    # At random, so that two runs of the tests on one machine seldom meet.
    ports = itertools.cycle(random.sample(range(first, first + PORTS_PER_WORKER), PORTS_PER_WORKER))

    def next_port() -> int:
        while True:
            port = next(ports)
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

    return next_port


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """URL of a Docker engine for tests: one of our own where it can be started, else the machine's; skips without."""
    if docker_engine.can_start():
        with (
            tempfile.TemporaryDirectory(prefix="mangrove-docker-", ignore_cleanup_errors=True) as folder,
            docker_engine.own_engine(Path(folder)) as url,
        ):
            yield url
    elif url := docker_engine.machine_engine():
        yield url
    else:
        pytest.skip("no Docker engine answers, and dockerd cannot be started here (not root, or not installed)")


@pytest.fixture(scope="session")
def registry_port(free_port: Callable[[], int]) -> int:
    """The port of loopback on which engines of the tests take images from a registry without encryption."""
    return free_port()


@pytest.fixture(scope="session")
def podman_host(registry_port: int) -> Iterator[str]:
    """URL of a Podman engine of our own; skips where it cannot be started."""
    if problem := podman_engine.cannot_start():
        pytest.skip(problem)
    with (
        tempfile.TemporaryDirectory(prefix="mangrove-podman-", ignore_cleanup_errors=True) as folder,
        podman_engine.own_engine(Path(folder), registry_port) as url,
    ):
        yield url


@pytest.fixture(params=["docker", "podman"])
def container_host(request: pytest.FixtureRequest) -> str:
    """URL of a container engine: every test that takes this runs with each."""
    url: str = request.getfixturevalue(f"{request.param}_host")
    return url
