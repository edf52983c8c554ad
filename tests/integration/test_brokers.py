"""The brokers that a parent runs: their accounts, their life and their end."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mangrove.base.errors import InvalidInput, Unavailable
from mangrove.link.brokers import choose, managed
from mangrove.link.brokers.choose import choose_broker
from mangrove.link.brokers.managed import Account, ManagedBroker, Tls
from mangrove.link.brokers.mosquitto import MosquittoBroker
from mangrove.link.brokers.nats import NatsBroker
from mangrove.link.transports import mqtt_connection
from mangrove.link.transports.interface import Broker, Connected, Disconnected
from mangrove.link.transports.mqtt import MqttChildTransport, try_broker
from tests.integration.conftest import MakeBroker, account
from tests.integration.links import PATIENCE, Certificate, Inbox, RawClient, wait_until

pytestmark = pytest.mark.broker


def connect(broker: ManagedBroker, parent: Account, child: Account) -> tuple[MqttChildTransport, Inbox]:
    inbox = Inbox()
    transport = MqttChildTransport(parent.username, child.username, inbox)
    transport.open(Broker(broker.url("127.0.0.1"), child.username, child.password), b"will")
    inbox.next(Connected)
    return transport, inbox


def why_refused(broker: ManagedBroker, parent: Account, child: Account) -> str:
    """Empty when the child can connect."""
    access = Broker(broker.url("127.0.0.1"), child.username, child.password)
    return try_broker(access, f"mangrove/{parent.username}/{child.username}/down/+")


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def kill(broker: ManagedBroker, meanwhile: Callable[[], None] = lambda: None) -> None:
    """End the broker's process by force, and wait for the next one."""
    pid = broker.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    meanwhile()
    wait_until(lambda: broker.alive() and broker.pid != pid, "the broker to be back")


# Accounts.


def test_a_child_that_joins_or_leaves_does_not_disturb_the_others(make_broker: MakeBroker) -> None:
    parent, stays, comes = account(), account(), account()
    broker = make_broker(parent)
    broker.set_children([stays])
    broker.start()
    pid = broker.pid
    staying, at_staying = connect(broker, parent, stays)
    assert "refused the credentials" in why_refused(broker, parent, comes)

    broker.set_children([comes, stays])
    coming, at_coming = connect(broker, parent, comes)
    assert coming.send("hello", b"", 1)

    broker.set_children([stays])
    at_coming.next(Disconnected)
    assert "refused the credentials" in why_refused(broker, parent, comes)

    renewed = Account(stays.username, secrets.token_hex(32))
    assert staying.send("beat", b"", 1)
    assert at_staying.events == [Connected()]
    broker.set_children([renewed])
    at_staying.next(Disconnected)  # its password is no longer right
    renewing, _ = connect(broker, parent, renewed)
    assert broker.pid == pid
    for transport in (staying, coming, renewing):
        transport.close()


def test_accounts_are_there_after_a_restart_of_the_broker(make_broker: MakeBroker) -> None:
    parent, child = account(), account()
    broker = make_broker(parent)
    broker.start()
    kill(broker, meanwhile=lambda: broker.set_children([child]))
    connect(broker, parent, child)[0].close()


def test_accounts_that_change_while_it_starts_are_not_missed(
    make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = account(), account()
    broker = make_broker(parent)
    wait_until_ready = broker._wait_until_ready

    def change_just_before_it_counts_as_ready(process: subprocess.Popen[str]) -> str:
        problem = wait_until_ready(process)
        broker.set_children([child])
        return problem

    monkeypatch.setattr(broker, "_wait_until_ready", change_just_before_it_counts_as_ready)
    broker.start()
    wait_until(lambda: not why_refused(broker, parent, child), "the child to be let in")


def test_a_new_child_can_connect_at_once(make_broker: MakeBroker) -> None:
    parent, children = account(), [account() for _ in range(30)]
    broker = make_broker(parent)
    broker.start()
    for number, child in enumerate(children, 1):
        broker.set_children(children[:number])
        assert why_refused(broker, parent, child) == ""


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("", "p" * 32),
        ("a:b", "p" * 32),
        ("a/b", "p" * 32),
        ("+", "p" * 32),
        ("a\nuser x", "p" * 32),
        ("a", "short"),
        ("a", "p" * 32 + "\n"),
        ("a", '"' * 32),
    ],
)
def test_accounts_that_would_mean_something_else_are_refused(username: str, password: str) -> None:
    with pytest.raises(InvalidInput, match="must be") as refusal:
        Account(username, password)
    assert password not in str(refusal.value)


def test_passwords_are_not_shown(make_broker: MakeBroker) -> None:
    parent = account()
    assert parent.password not in repr(parent) + repr(make_broker(parent).broker)


def test_a_child_cannot_have_the_parents_account(make_broker: MakeBroker) -> None:
    parent = account()
    broker = make_broker(parent)
    with pytest.raises(InvalidInput, match="the parent's own"):
        broker.set_children([Account(parent.username, secrets.token_hex(32))])


# Life.


def test_it_starts_and_ends_without_a_trace(make_broker: MakeBroker) -> None:
    parent, child = account(), account()
    broker = make_broker(parent)
    assert not broker.alive()
    broker.set_children([child])
    broker.start()
    pid = broker.pid
    assert pid
    assert broker.alive()
    written = [path for path in broker.folder.rglob("*") if path.is_file() and "data" not in path.parts]
    assert written
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert stat.S_IMODE(broker.folder.stat().st_mode) == 0o700
    if broker.name == "Mosquitto":
        assert not any(child.password in path.read_text() for path in written)
    with pytest.raises(RuntimeError, match="started already"):
        broker.start()
    broker.stop()
    assert not broker.alive()
    assert not lives(pid)
    assert list(broker.folder.iterdir()) == []
    broker.stop()  # once more does no harm
    broker.start()  # and it can be started again
    connect(broker, parent, child)[0].close()


def test_it_is_started_again_on_the_same_port(make_broker: MakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    broker = make_broker()
    broker.start()
    port = broker.port
    for _ in range(3):
        kill(broker)
    assert broker.port == port
    assert "ended with status -9" in caplog.text


def test_a_port_of_its_choice_is_kept(make_broker: MakeBroker) -> None:
    broker = make_broker(port=0)
    assert 20_000 <= broker.port < 32_768
    broker.start()
    port = broker.port
    broker.stop()
    broker.start()
    assert broker.port == port
    assert broker.url("host.example") == f"mqtt://host.example:{port}"


def test_a_taken_port_is_told(
    make_broker: MakeBroker, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "CONNECT_TIMEOUT", 0.5)  # who has the port does not answer
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        broker = make_broker(port=port)
        with pytest.raises(Unavailable, match=f"does not start on 127.0.0.1:{port}: .*in use"):
            broker.start()
    assert not broker.alive()
    assert list(broker.folder.iterdir()) == []
    broker.start()


def test_a_broker_that_does_not_answer_is_told(
    make_broker: MakeBroker, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = make_broker(tls=Tls(certificate.cert, certificate.key))  # by an authority that nobody knows
    for seconds in (1, 5, 20):  # longer only where it is not even up after the first
        monkeypatch.setattr(managed, "START_TIMEOUT", float(seconds))
        with pytest.raises(Unavailable, match=f"did not answer within {seconds} s: ") as told:
            broker.start()
        assert not broker.alive()
        if "the certificate of localhost" in told.value.message:
            return
    pytest.fail(told.value.message)


def test_a_program_that_is_gone_is_told(make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = make_broker()
    monkeypatch.setattr(type(broker), "_command", lambda self: ["/nowhere/broker"])
    with pytest.raises(Unavailable, match="does not start"):
        broker.start()


@pytest.mark.parametrize("options", [{"host": "nowhere.example"}, {"port": -1}, {"port": 65536}])
def test_addresses_that_cannot_be(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="must be"):
        NatsBroker(account(), tmp_path, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_stopping_while_it_keeps_dying_is_prompt(make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = make_broker()
    broker.start()
    monkeypatch.setattr(type(broker), "_command", lambda self: ["/nowhere/broker"])
    assert broker.pid
    os.kill(broker.pid, signal.SIGKILL)
    wait_until(lambda: not broker.alive(), "its death to be noticed")
    stopping = threading.Thread(target=broker.stop)
    stopping.start()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


# Its parent's death.

PARENT = """
import sys, threading, time
from pathlib import Path
from mangrove.link.brokers.choose import choose_broker
from mangrove.link.brokers.managed import Account
kind, folder, port = sys.argv[1:]
broker = choose_broker(Account("parent", "p" * 32), Path(folder), kind=kind, port=int(port))
starter = threading.Thread(target=broker.start)  # that this thread ends must not matter
starter.start()
starter.join()
print(broker.pid, flush=True)
time.sleep(600)
"""


def test_it_dies_with_its_parent(kind: str, tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    arguments = [kind, str(tmp_path / "broker"), str(port)]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert lives(pid)
        assert os.getsid(pid) != os.getsid(parent.pid), "Ctrl-C would reach the broker first"
        parent.kill()
    wait_until(lambda: not lives(pid), "the broker to die")
    # What it left does not hinder the next one.
    broker = choose_broker(account(), tmp_path / "broker", kind=kind, port=port)
    broker.start()
    broker.stop()


# What it allows.


def test_it_may_open_as_many_files_as_a_large_fleet_needs(make_broker: MakeBroker) -> None:
    broker = make_broker()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))  # as usual where a shell starts a program
    try:
        broker.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert broker.pid
    allowed, most = psutil.Process(broker.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert allowed >= min(most, 65536)


def test_it_bears_a_large_fleet(make_broker: MakeBroker) -> None:
    """More than the 1,000 to which files and NATS are limited unless told otherwise."""
    parent, children = account(), [account() for _ in range(1050)]
    broker = make_broker(parent)
    broker.set_children(children)
    broker.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_000), hard))  # each of them takes two here
    inbox = Inbox()
    transports = [MqttChildTransport(parent.username, child.username, inbox) for child in children]
    try:
        for transport, child in zip(transports, children, strict=True):
            transport.open(Broker(broker.url("127.0.0.1"), child.username, child.password), b"will")
        wait_until(lambda: len(inbox.events) == len(children), "all children to connect", 60)
        assert set(inbox.events) == {Connected()}
    finally:
        for transport in transports:
            transport.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_mosquitto_retains_nothing(make_broker: MakeBroker) -> None:
    parent, child = account(), account()
    broker = make_broker(parent)
    if broker.name != "Mosquitto":
        return  # NATS cannot be told so: the transports drop it, and it is gone at the next start
    broker.set_children([child])
    broker.start()
    topic = f"mangrove/{parent.username}/{child.username}/up/hello"
    attacker = RawClient(Broker(broker.url("127.0.0.1"), child.username, child.password))
    attacker.publish(topic, b"kept?", qos=1, retain=True)
    attacker.close()
    reader = RawClient(broker.broker)
    reader.subscribe(topic)
    reader.publish(topic, b"now", qos=1)
    wait_until(lambda: reader.heard, "a message")
    reader.close()
    assert [payload for _, payload in reader.heard] == [b"now"]


def test_it_keeps_nothing(make_broker: MakeBroker) -> None:
    """What was retained, or waits for nobody, is gone with the process."""
    parent = account()
    broker = make_broker(parent)
    broker.start()
    writer = RawClient(broker.broker)
    writer.publish(f"mangrove/{parent.username}/x/up/hello", b"kept?", qos=1, retain=True)
    writer.close()
    kill(broker)
    reader = RawClient(broker.broker)
    assert reader.subscribe(f"mangrove/{parent.username}/+/up/+")
    reader.publish(f"mangrove/{parent.username}/x/up/beat", b"now", qos=1)
    wait_until(lambda: reader.heard, "a message")
    assert [payload for _, payload in reader.heard] == [b"now"]
    reader.close()


# Which one.


def test_mosquitto_is_preferred_and_nats_is_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"mosquitto": "/usr/sbin/mosquitto", "nats": "/usr/bin/nats-server"}
    monkeypatch.setattr(
        choose,
        "_KINDS",
        {
            "mosquitto": (MosquittoBroker, lambda: there["mosquitto"]),
            "nats": (NatsBroker, lambda: there["nats"]),
        },
    )
    assert isinstance(choose_broker(account(), tmp_path), MosquittoBroker)
    assert isinstance(choose_broker(account(), tmp_path, kind="nats"), NatsBroker)
    there["mosquitto"] = ""
    assert isinstance(choose_broker(account(), tmp_path), NatsBroker)
    with pytest.raises(Unavailable, match="apt install mosquitto"):
        choose_broker(account(), tmp_path, kind="mosquitto")
    there["nats"] = ""
    with pytest.raises(Unavailable, match=r"pip install 'mangrove\[broker\]'"):
        choose_broker(account(), tmp_path)
    with pytest.raises(InvalidInput, match="'hivemq' is not one of mosquitto, nats"):
        choose_broker(account(), tmp_path, kind="hivemq")
