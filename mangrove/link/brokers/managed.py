"""A broker as a process of ours: what does not depend on which broker it is."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from mangrove.base.clock import SystemClock
from mangrove.base.errors import InvalidInput, Unavailable
from mangrove.base.files import private_folder, write_atomically
from mangrove.link.brokers.process import free_port, start_bound_to_this_thread
from mangrove.link.transports.interface import MAX_PAYLOAD, Broker
from mangrove.link.transports.mqtt import down_topic, try_broker

#: Largest message a broker takes, in bytes; who sends a larger one is disconnected. Twice what receivers accept, so
#: that an honest mistake is dropped and counted by the receiver instead.
MAX_MESSAGE = 2 * MAX_PAYLOAD

#: Seconds for a broker to start and answer: Mosquitto takes 0.1, NATS 0.3; a busy Raspberry Pi some twenty times that.
START_TIMEOUT = 15.0

#: Seconds to wait for a broker to let new accounts in; after that they have to try again.
_RELOAD_TIMEOUT = 2.0

#: Seconds for a broker to end by itself before it is killed; both need less than 0.1.
STOP_TIMEOUT = 5.0

#: Seconds before a broker that died is started again: at first, and at most when it keeps dying.
FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0

#: Names and passwords that no broker's configuration takes for something else.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{22,128}")

#: In lines that brokers write when all is well.
_NOISE = ("[INF]", "Plaintext passwords detected", "should not be run as root")

_log = logging.getLogger(__name__)
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Account:
    """Who may connect. The username is an id; the password 22 to 128 of [A-Za-z0-9_-], random (22 hold 128 bits)."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.username):
            raise InvalidInput("username", f"{self.username!r} must be 1 to 64 letters, digits, _ or -")
        if not _PASSWORD.fullmatch(self.password):
            raise InvalidInput("password", "must be 22 to 128 letters, digits, _ or -")


@dataclass(frozen=True, slots=True)
class Tls:
    """A broker's certificate (chain) and key, PEM files. The certificate must name `localhost` too: the parent
    connects there. ca_file: by whom it is signed; empty for an authority that the system trusts."""

    cert_file: Path
    key_file: Path
    ca_file: str = ""


class ManagedBroker(ABC):
    """A broker that runs as long as this program does, started again when it dies, gone without trace afterwards.

    It keeps nothing: sessions are clean, and nothing is retained. What it needs lies in `folder`, which is its own.
    `start`, `stop` and `set_children` may be called from any thread.
    """

    #: For people.
    name: str

    def __init__(
        self, parent: Account, folder: Path, *, host: str = "127.0.0.1", port: int = 0, tls: Tls | None = None
    ) -> None:
        """parent: its id and password. host: the IP address to listen on. port: 0 chooses a free one; `self.port` is
        which, to be kept and given again, because children remember it. Raises InvalidInput, Unavailable.
        """
        if not 0 <= port <= 65535:
            raise InvalidInput("port", f"{port} must be between 1 and 65535, or 0 to choose a free one")
        try:
            ip_address(host)
        except ValueError:
            raise InvalidInput("host", f"{host!r} must be an IP address of this machine, such as 0.0.0.0") from None
        self.host = host
        self.port = port or free_port(host)
        self.tls = tls
        self.folder = folder.absolute()
        self._parent = parent
        self._children: tuple[Account, ...] = ()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ready = False
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._last_words: deque[str] = deque(maxlen=5)

    # What differs between brokers.

    @abstractmethod
    def _command(self) -> list[str]:
        """The program with its arguments."""

    @abstractmethod
    def _files(self, parent: Account, children: Iterable[Account]) -> Mapping[str, str]:
        """Names and contents of the files it reads at its start and again on SIGHUP."""

    # What they have in common.

    @property
    def broker(self) -> Broker:
        """How the parent itself connects."""
        everywhere = ip_address(self.host).is_unspecified
        host = "localhost" if self.tls else "127.0.0.1" if everywhere else self.host
        ca_file = self.tls.ca_file if self.tls else ""
        return Broker(self.url(host), self._parent.username, self._parent.password, ca_file)

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def url(self, host: str) -> str:
        """Where children connect, who know this machine as `host`."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def alive(self) -> bool:
        """Whether it runs and has answered since it started."""
        return self._ready and self.pid is not None

    def start(self) -> None:
        """Start it and wait until it answers. Raises Unavailable with the broker's own words when it does not."""
        if self._supervisor is not None:
            raise RuntimeError(f"{self.name} was started already")
        private_folder(self.folder)
        self._stopping.clear()
        started = Future[str]()
        self._supervisor = threading.Thread(target=self._supervise, args=(started,), name="broker", daemon=True)
        self._supervisor.start()
        problem = started.result()
        if problem:
            self.stop()
            raise Unavailable(f"{self.name} does not start on {self.host}:{self.port}: {problem}")

    def stop(self) -> None:
        """End it, and remove what it left."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        with self._lock:
            self._stopping.set()
            self._ready = False
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
        supervisor.join()
        self._supervisor = None
        self._sweep()

    def set_children(self, accounts: Iterable[Account]) -> None:
        """Let exactly these children in. Who stays, stays connected; who is no longer among them is disconnected.
        Whoever is new can connect when this returns. Raises InvalidInput when one has the parent's name, OSError when
        the disk does not allow it.
        """
        children = tuple(sorted(accounts, key=lambda account: account.username))
        for child in children:
            if child.username == self._parent.username:
                raise InvalidInput("username", f"{child.username!r} is the parent's own")
        with self._lock:
            before = frozenset(self._children)
            self._children = children
            if self._supervisor is not None and not self._stopping.is_set():
                self._write()
                self._reload()
        new = next((child for child in children if child not in before), None)
        if new is not None:
            self._wait_until_known(new)

    def _wait_until_known(self, who: Account) -> None:
        """NATS reads its accounts again when it gets round to it: 10 to 100 ms later."""
        deadline = _clock.now() + _RELOAD_TIMEOUT
        while self.alive() and self._try(who) and _clock.now() < deadline:
            self._stopping.wait(0.005)

    def _try(self, who: Account) -> str:
        """Why `who` cannot connect now; empty if it can."""
        own = self.broker
        access = Broker(own.url, who.username, who.password, own.ca_file)
        return try_broker(access, down_topic(self._parent.username, who.username, "+"))

    def _write(self) -> None:
        for name, content in self._files(self._parent, self._children).items():
            path = self.folder / name
            if not path.exists() or path.read_text() != content:
                write_atomically(path, content.encode(), mode=0o600)

    def _reload(self) -> None:
        if self._ready and self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def _sweep(self) -> None:
        for name in self._files(self._parent, ()):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def _data(self) -> Path:
        """Where the broker may write; emptied before each start, because nothing relies on a broker's memory."""
        return self.folder / "data"

    def _supervise(self, started: Future[str]) -> None:
        """Keep it running, once it has `started` (empty, or the problem if it has not). This thread lives as long as
        the broker may, as the kernel's promise to end the broker with us demands."""
        delay = FIRST_DELAY
        while True:
            began = _clock.now()
            problem = self._run_once(started)
            if not started.done():
                started.set_result(problem)
                return
            if self._stopping.is_set():
                return
            if _clock.now() - began > LONGEST_DELAY:
                delay = FIRST_DELAY
            _log.warning("%s %s; it is started again in %.1f s", self.name, problem, delay)
            self._stopping.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def _run_once(self, started: Future[str]) -> str:
        """Run the broker until it ends; returns why it did."""
        self._last_words.clear()
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "was stopped"
                shutil.rmtree(self._data, ignore_errors=True)
                self._write()
                children = self._children
                process = self._process = start_bound_to_this_thread(self._command(), self.folder)
        except OSError as error:
            return f"cannot be started: {error}"
        with process:
            problem = self._wait_until_ready(process)
            if problem:
                process.kill()
            else:
                with self._lock:
                    self._ready = not self._stopping.is_set()
                    if self._children is not children:  # they changed since, and it may have read the old ones
                        self._reload()
                if not started.done():
                    started.set_result("")
            for line in process.stdout or ():
                _log.debug("%s: %s", self.name, line.rstrip())
                if not any(noise in line for noise in _NOISE):
                    self._last_words.append(line.strip())
        self._ready = False
        words = " / ".join(self._last_words)
        return (problem or f"ended with status {process.returncode}") + (f" ({words})" if words else "")

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> str:
        """Empty when the parent can connect and subscribe, else what is wrong. An open port would prove less: signals
        are handled, and accounts known, only a moment later."""
        deadline = _clock.now() + START_TIMEOUT
        problem = ""
        while _clock.now() < deadline and not self._stopping.wait(0.02):
            if process.poll() is not None:
                return f"ended with status {process.returncode}"
            problem = self._try(self._parent)
            if not problem:
                return ""
        return f"did not answer within {START_TIMEOUT:g} s: {problem}"
