"""Real brokers, as processes of their own on loopback. Every test that takes `kind` or `broker` runs with each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mangrove.base.ids import new_id
from mangrove.link.brokers import mosquitto, nats
from mangrove.link.brokers.choose import choose_broker
from mangrove.link.brokers.managed import Account, ManagedBroker, Tls
from mangrove.link.transports.interface import Broker, OnEvent
from mangrove.link.transports.mqtt import MqttChildTransport, MqttParentTransport
from mangrove.link.transports.mqtt_connection import KEEP_ALIVE
from mangrove.store.interface import Store
from mangrove.store.mongo import MongoStore
from mangrove.store.sqlite import SqliteStore
from tests.integration.links import Certificate, Relay, threads, wait_until
from tests.mongo_server import database

MakeBroker = Callable[..., ManagedBroker]

_INSTALLED = {"mosquitto": mosquitto.find, "nats": nats.find}


def account() -> Account:
    return Account(new_id(), secrets.token_hex(32))


@contextmanager
def _store(kind: str) -> Iterator[Store]:
    if kind == "sqlite":
        with TemporaryDirectory() as folder, closing(SqliteStore(Path(folder) / "store.db")) as store:
            yield store
        return
    with database() as uri, closing(MongoStore(uri)) as far:
        yield far


@pytest.fixture(params=["sqlite", "mongo"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store for the API, of both kinds that roots have."""
    with _store(request.param) as store:
        yield store


@pytest.fixture(scope="module", params=["sqlite", "mongo"])
def common_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The same for all tests of a module together."""
    with _store(request.param) as store:
        yield store


@pytest.fixture(params=["mosquitto", "nats"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not _INSTALLED[name]():
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def make_broker(kind: str, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[MakeBroker]:
    """Makes brokers, not started yet, that end with the test."""
    made: list[ManagedBroker] = []

    def make(parent: Account | None = None, *, port: int | None = None, tls: Tls | None = None) -> ManagedBroker:
        folder = tmp_path / f"broker{len(made)}"
        port = free_port() if port is None else port
        made.append(choose_broker(parent or account(), folder, kind=kind, port=port, tls=tls))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@dataclass
class House:
    """A parent's broker with the accounts of the parent and of two children, and transports that end with the test."""

    broker: ManagedBroker
    parent: Account
    a: Account
    b: Account
    _opened: list[MqttChildTransport | MqttParentTransport] = field(default_factory=list)

    def access(self, who: Account, port: int = 0) -> Broker:
        """How `who` connects, through a relay's `port` if there is one."""
        return Broker(f"mqtt://127.0.0.1:{port or self.broker.port}", who.username, who.password)

    def parent_transport(
        self, on_event: OnEvent, *, port: int = 0, bulk: bool = False, keep_alive: int = KEEP_ALIVE
    ) -> MqttParentTransport:
        """Opened, unless it is for streams."""
        brokers = [self.access(self.parent, port)]
        transport = MqttParentTransport(self.parent.username, brokers, on_event, bulk=bulk, keep_alive=keep_alive)
        self._opened.append(transport)
        if not bulk:
            transport.open()
        return transport

    def child_transport(
        self, who: Account, on_event: OnEvent, *, bulk: bool = False, keep_alive: int = KEEP_ALIVE
    ) -> MqttChildTransport:
        """Not opened."""
        transport = MqttChildTransport(self.parent.username, who.username, on_event, bulk=bulk, keep_alive=keep_alive)
        self._opened.append(transport)
        return transport

    def close(self) -> None:
        for transport in self._opened:
            transport.close()


@pytest.fixture
def house(make_broker: MakeBroker) -> Iterator[House]:
    parent, a, b = account(), account(), account()
    broker = make_broker(parent)
    broker.set_children([a, b])
    broker.start()
    house = House(broker, parent, a, b)
    yield house
    house.close()


@pytest.fixture
def relay(house: House) -> Iterator[Relay]:
    relay = Relay(house.broker.port)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fails when the test leaves a thread of a transport or a broker behind."""
    yield
    wait_until(lambda: not threads("mqtt-") + threads("broker"), "the end of all threads")
