"""The engine's side of the network between services, with a netmanager that only answers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from mangrove.model.child import NO_NETWORK
from mangrove.model.specification import Specification
from mangrove.network.door import PLAN, SOCKET, Answer, Attach, Changed, Release, Request, Show
from mangrove.network.plan import NodePlan
from netmanager.server import Server
from node_engine import network as module
from node_engine.network import Network, entering
from node_engine.runtimes.interface import RuntimeFault, Workload

WORK = Workload("a1", "web", 0, 1, Specification("web"), ipv4="10.18.0.2")
PATIENCE = 20.0


class Netmanager:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.view: dict[str, object] = {"trouble": "", "peers": []}
        self.error = ""

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        return Answer(view=self.view) if isinstance(request, Show) else Answer(self.error, "/run/netns/x")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:  # a socket's path may have 107 characters at most
        yield Path(made) / "network"


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def network(folder: Path, changes: list[None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setattr(module, "_LOOK", 0.02)
    made = Network(folder, "192.0.2.1", lambda: changes.append(None))
    made.start()
    yield made
    made.close()


@pytest.fixture
def netmanager() -> Netmanager:
    return Netmanager()


@pytest.fixture
def server(folder: Path, network: Network, netmanager: Netmanager) -> Iterator[Server]:
    made = Server(folder / SOCKET, netmanager.answer)
    yield made
    made.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_without_a_netmanager_a_node_takes_no_part(network: Network) -> None:
    network.publish(NodePlan("n1"))
    assert network.networking() == NO_NETWORK
    network.release("a1")
    with pytest.raises(RuntimeFault, match="mangrove-netmanager"):
        network.attach(WORK)


def test_it_takes_part_as_soon_as_there_is_one_and_its_plan_is_written(
    network: Network, folder: Path, netmanager: Netmanager, server: Server, changes: list[None]
) -> None:
    until(lambda: network.networking().wanted)
    assert (network.networking().underlay, network.networking().trouble) == (("192.0.2.1",), "")
    assert changes
    network.publish(NodePlan("n1", version=7))
    until(lambda: Changed() in netmanager.asked)
    assert msgspec.json.decode((folder / PLAN).read_bytes(), type=NodePlan).version == 7
    assert network.attach(WORK, 42) == "/run/netns/x"
    assert Attach("a1", "web", 0, "10.18.0.2", "", 42) in netmanager.asked
    network.release("a1")
    assert netmanager.asked[-1] == Release("a1") or Release("a1") in netmanager.asked


def test_what_is_wrong_is_told_to_the_cluster(network: Network, netmanager: Netmanager, server: Server) -> None:
    netmanager.view = {"trouble": "", "peers": [{"trouble": "south is at another site"}, {"trouble": ""}]}
    until(lambda: network.networking().wanted)
    network.publish(NodePlan("n1"))
    until(lambda: network.networking().trouble == "south is at another site")
    netmanager.view = {"trouble": "the plan is not taken"}
    until(lambda: network.networking().trouble == "the plan is not taken")
    netmanager.error = "no room"
    with pytest.raises(RuntimeFault, match="no network for this instance: no room"):
        network.attach(WORK)


def test_who_took_part_still_does_while_the_netmanager_is_away(folder: Path) -> None:
    folder.mkdir()
    (folder / PLAN).write_bytes(msgspec.json.encode(NodePlan("n1")))
    assert Network(folder, "", lambda: None).networking().wanted == 1


def test_a_command_enters_with_its_own_resolvers() -> None:
    words = entering("/run/netns/x", Path("/r/resolv.conf"))
    assert "--net=/run/netns/x" in words
    assert words[-1] == "/r/resolv.conf"
    assert all(word.startswith("/") for word in (words[0], words[2]))
