"""What the programs of both kinds of parent share: data folder, store, secret, broker and accounts, loop and end."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec
from flask import has_request_context, request

from mangrove.base.clock import Clock, SystemClock
from mangrove.base.errors import Conflict, InvalidInput, MangroveError
from mangrove.base.files import private_folder, read_json, write_atomically
from mangrove.base.log import set_up_logging
from mangrove.base.notify import notify, wait_for_signal
from mangrove.identity.secret import MasterSecret, load_or_create, verify_store
from mangrove.link.brokers.choose import choose_broker
from mangrove.link.brokers.managed import Account, ManagedBroker
from mangrove.link.pace import Settings
from mangrove.link.streams import ParentStreams
from mangrove.link.transports.interface import OnEvent, TransportEvent
from mangrove.link.transports.mqtt import MqttParentTransport
from mangrove.model.documents import IDENTITIES, Identity
from mangrove.roles import parent_readings, readings
from mangrove.roles.bulk import ParentBulk
from mangrove.roles.housekeeping import CHORES, Chore, Housekeeping
from mangrove.roles.loop import Core, Loop
from mangrove.roles.metrics import Sample
from mangrove.roles.metrics_page import TOKEN_FILE, token_in
from mangrove.roles.parent import CONTROLLER, Parent
from mangrove.roles.stores import LONGEST_LEASE, Renewal, open_store, store_argument, take_lease
from mangrove.store.interface import StoreUnavailable
from mangrove.store.measured import MeasuredStore

log = logging.getLogger(__name__)


#: Objects made before Python looks for garbage in circles. By default 700: an answer of a thousand services makes
#: thirty thousand, and would be looked through fifty times while it is made.
GARBAGE = 50_000


class Ports(msgspec.Struct):
    """Ports that this parent's children remember, kept in its data folder."""

    mqtt: int = 0


def common_arguments(program: str, *, port: int, mqtt_port: int, data: str) -> argparse.ArgumentParser:
    """The options that both kinds of parent have."""
    parser = argparse.ArgumentParser(prog=f"mangrove-{program}", description=f"Run a Mangrove {program} orchestrator.")
    parser.add_argument("--data-dir", type=Path, default=Path(data), help="where it keeps everything (%(default)s)")
    store_argument(parser)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104
    parser.add_argument("--port", type=int, default=port, help="HTTP port (%(default)s)")
    parser.add_argument("--mqtt-port", type=int, default=mqtt_port, help="port of its broker; 0: any (%(default)s)")
    parser.add_argument("--advertise", default="", help="name or address by which children reach the broker")
    parser.add_argument("--broker", choices=("mosquitto", "nats"), default="", help="which broker to run")
    parser.add_argument(
        "--placement",
        default="best_fit",
        metavar="SCORER[:KEY][=WEIGHT],…",
        help="which child is the best for services that do not say, such as spread:zone=2,best_fit (%(default)s)",
    )
    parser.add_argument("--lease", type=float, default=10.0, help="seconds a child may be silent, 1 to 3600 (10)")
    parser.add_argument(
        "--metrics-token-file",
        type=Path,
        help="what it holds opens /metrics (by default metrics.token of the data folder, made at the first start)",
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    parser.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    parser.add_argument("--log-file", type=Path, help="write here instead, 10 MB at most")
    return parser


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Times for the children. Raises InvalidInput."""
    if not 1 <= arguments.lease <= 3600:
        raise InvalidInput("--lease", f"{arguments.lease:g} must be between 1 and 3600 seconds")
    return Settings(lease=arguments.lease, beat=min(2.0, arguments.lease / 4))


class Base:
    """What a parent stands on, opened in order and closed in reverse. Raises MangroveError, OSError."""

    def __init__(self, arguments: argparse.Namespace, store_name: str) -> None:
        self.clock: Clock = SystemClock()
        self.data = private_folder(arguments.data_dir.absolute())
        opened = open_store(arguments.store, self.data, store_name)
        self.store = MeasuredStore(opened.store)
        self.holder, self.shared = opened.holder, opened.shared
        self.secret: MasterSecret = load_or_create(self.data)
        verify_store(self.secret, self.store)
        self.settings = settings_of(arguments)
        self.store_lease = min(self.settings.lease, LONGEST_LEASE)
        if self.shared:
            take_lease(opened, CONTROLLER, self.store_lease, self.clock, _sleep_ready)
        self.id = self.secret.parent_id()
        self.metrics_token = token_in(arguments.metrics_token_file or self.data / TOKEN_FILE)
        self.advertise: str = arguments.advertise
        self.rng = random.Random()
        ports_file = self.data / "ports.json"
        way_out = "remove it, and give --mqtt-port the port that the children know"
        ports = read_json(ports_file, Ports, way_out) or Ports()
        self.broker: ManagedBroker = choose_broker(
            Account(self.id, self.secret.parent_broker_password()),
            self.data / "broker",
            kind=arguments.broker,
            host=arguments.host,
            port=arguments.mqtt_port or ports.mqtt,
        )
        write_atomically(ports_file, msgspec.json.encode(Ports(self.broker.port)))
        self._accounts = threading.Lock()
        self.refresh_accounts()
        self.broker.start()

    def key_of(self, identity: Identity) -> bytes:
        """A child's link key."""
        return self.secret.link_key(identity.id, identity.generation)

    def refresh_accounts(self, identity: Identity | None = None) -> None:
        """Let the broker know exactly the children that may speak, with `identity` among them."""
        with self._accounts:  # whoever reads the list later must also be the one to apply it later
            known = {one.id: one.read(Identity) for one in self.store.load(IDENTITIES)}
            if identity is not None:
                known[identity.id] = identity
            self.broker.set_children(
                [
                    Account(one.id, self.secret.broker_password(one.id, one.generation))
                    for one in known.values()
                    if not one.revoked
                ]
            )

    def broker_urls(self) -> list[str]:
        """Where whoever asks just now reaches the broker: by the name by which it reached us, unless one is given."""
        if self.advertise:
            return [self.broker.url(self.advertise)]
        host = request.host if has_request_context() else "127.0.0.1"
        return [self.broker.url(_without_port(host))]

    def transport(self, on_event: OnEvent, *, bulk: bool = False) -> MqttParentTransport:
        """The parent's own connection to its broker; bulk: the second one, for streams."""
        return MqttParentTransport(self.id, [self.broker.broker], on_event, bulk=bulk)

    def bulk(self, parent: Parent, on_event: OnEvent, of_child: int) -> ParentBulk:
        """The parent's end of its streams, of which a child may have so many."""
        streams = ParentStreams(self.id, self.store.id, parent.lease.term, parent.link_key, of_child)
        return ParentBulk(streams, self.transport(on_event, bulk=True), self.clock)

    def close(self) -> None:
        """Stop the broker and close the store."""
        self.broker.stop()
        self.store.close()


class Running:
    """A parent's core in its loop, following its store, with its housekeeping."""

    def __init__(self, base: Base, core: Core, parent: Parent, name: str, chores: Sequence[Chore] = ()) -> None:
        """chores: beside those that every parent has."""
        self.base = base
        self.parent = parent
        self.loop = Loop(core, base.clock, name)
        self._housekeeping = Housekeeping(base.store, base.clock, parent.lease, (*CHORES, *chores))
        self._stopping = threading.Event()
        self._asked_to_end: SimpleQueue[None] = SimpleQueue()
        self._lost = False
        self._renewal = Renewal(base.store, parent.lease, base.store_lease, base.clock, parent.acquired, self._on_lost)
        if base.shared:
            parent.held_until = lambda: self._renewal.held_until
        self._watcher = threading.Thread(target=self._watch, name="store feed", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.loop.start()
        self._watcher.start()
        self._housekeeping.start()
        if self.base.shared:
            self._renewal.start()

    def stop(self) -> None:
        """End; nothing is decided or heard afterwards."""
        self._stopping.set()
        self._renewal.stop()
        self._housekeeping.stop()
        self.loop.stop()
        self._watcher.join(5.0)

    def wait_for_end(self) -> None:
        """Say that all is ready, and wait for SIGTERM or SIGINT. Raises Conflict when another program took over."""
        wait_for_signal(self.loop.post, self._asked_to_end)
        if self._lost:
            raise Conflict("another program has taken the store over; started again, this one stands by")

    def _on_lost(self) -> None:
        self._lost = True
        self._asked_to_end.put(None)

    def deliver(self, handle: Callable[[TransportEvent], None]) -> OnEvent:
        """A transport's callback that lets the loop handle the event."""

        def post(event: TransportEvent) -> None:
            self.loop.post(lambda: handle(event))

        return post

    def reasons_not_ready(self) -> list[str]:
        """One sentence each; empty when it does its work."""
        reasons = []
        if not self.loop.alive:
            reasons.append("the controller's loop has ended: restart the program")
        if not self.base.broker.alive():
            reasons.append("the broker does not run: see the log")
        if self.parent.unavailable:
            reasons.append(f"the store cannot be written: {self.parent.unavailable}")
        return reasons

    def readings(self) -> Iterator[Sample]:
        """What the metrics tell of it."""
        yield from readings.disk(self.base.data)
        yield from readings.loop(self.loop, self.base.clock)
        yield from parent_readings.store(self.base.store)
        yield from parent_readings.parent(self.parent)
        yield Sample("broker_up", self.base.broker.alive())

    def _watch(self) -> None:
        """Wake the loop when somebody has written to the store."""
        seen = 0
        while not self._stopping.is_set():
            try:
                if self.base.store.wait(seen, 1.0):
                    seen = self.base.store.revision()
                    self.loop.post(lambda: None)
            except StoreUnavailable:
                self._stopping.wait(1.0)


def guarded(program: str, run: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run a program; the exit status. What a person can mend is told in one sentence, without a traceback."""
    gc.set_threshold(GARBAGE)
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except MangroveError as error:
        print(f"mangrove-{program}: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"mangrove-{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def begin_logging(program: str, arguments: argparse.Namespace) -> None:
    """Log as the options say. What other libraries say about every request or job is left out."""
    os.umask(0o077)
    set_up_logging(program, arguments.log_level, json_lines=arguments.log_json, file=arguments.log_file)
    # The driver of MongoDB would log what it reads and writes.
    for noisy in ("apscheduler", "waitress.queue", "pymongo"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _sleep_ready(seconds: float) -> None:
    """Sleep as a stand-by: to a service manager it works as it should."""
    notify("READY=1")
    notify("WATCHDOG=1")
    time.sleep(seconds)


def _without_port(host: str) -> str:
    """`name` of `name:port`, `[v6]:port` or `name`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
