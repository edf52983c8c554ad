"""The node's DNS: answers for services and instances at the gateway's address, and forwards all else as it came."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from netmanager.names import Names, is_ours
from netmanager.situation import Family, Situation

log = logging.getLogger(__name__)

_PORT = 53
#: Seconds that an answer may be kept: as long as a client may ask a service that is gone.
_TTL = 5
#: Seconds for one resolver to answer, and how many are asked in turn: resolv.conf(5) knows no more than three.
_FORWARD, _RESOLVERS = 2.0, 3
#: Questions under way at once: each has a thread. More are refused, so that the node is not filled; and of one asker a
#: quarter, so that no instance keeps the others from asking.
_AT_ONCE, _OF_ONE = 64, 16
#: Seconds for a client to send its question over TCP.
_SLOW = 5.0
_LARGEST = 65535
#: Seconds after which a thread looks whether its socket was closed, of which nothing else tells it.
_LOOK = 30.0
# Of bind(2) where the address is not there yet; Python has no names for them.
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78


class Dns:
    """Follows the situation it is told of. resolv: where the node's own resolvers stand."""

    def __init__(self, resolv: Path = Path("/etc/resolv.conf"), port: int = _PORT) -> None:
        self._resolv, self._port = resolv, port
        self._names: Names | None = None
        self._own: frozenset[str] = frozenset()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._lock = threading.Lock()
        self._asking: Counter[str] = Counter()  # address → its questions under way

    def follow(self, situation: Situation) -> None:
        """Answer as this situation says, at its gateways. An address that cannot be had is logged, and tried again."""
        self._names = Names(situation)
        self._own = frozenset(situation.gateways.values())
        for address in self._sockets.keys() - self._own:
            self._close(address)
        for address in self._own - self._sockets.keys():
            try:
                self._open(address)
            except OSError as error:
                log.error("names are not answered at %s: %s", address, error.strerror or error)

    def close(self) -> None:
        for address in list(self._sockets):
            self._close(address)

    def answer(self, question: bytes, asker: str, forward: Callable[[bytes], bytes | None]) -> bytes | None:
        """The answer to a message; None for what is not even a question."""
        try:
            asked = DNSRecord.parse(question)
        except (DNSError, ValueError, IndexError, struct.error):
            return None
        if asked.header.qr or not asked.questions:
            return None
        name, kind = str(asked.q.qname), QTYPE[asked.q.qtype]
        family: Family | None = 4 if kind == "A" else 6 if kind == "AAAA" else None
        found = self._names.lookup(name, family, asker) if self._names is not None else None
        if found is None and not is_ours(name):
            answer = forward(question)
            if answer is not None:
                return answer
        reply = asked.reply()
        if found is None:
            reply.header.rcode = RCODE.NXDOMAIN if is_ours(name) else RCODE.SERVFAIL
        for address in found or ():
            data = A(address) if family == 4 else AAAA(address)
            reply.add_answer(RR(asked.q.qname, asked.q.qtype, rdata=data, ttl=_TTL))
        return bytes(reply.pack())

    def _open(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = []
        for kind, serve in ((socket.SOCK_DGRAM, self._datagrams), (socket.SOCK_STREAM, self._connections)):
            opened = socket.socket(family, kind)
            made.append(opened)
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
                else:
                    opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                opened.bind((address, self._port))
                if kind == socket.SOCK_STREAM:
                    opened.listen(_AT_ONCE)
            except OSError:
                for each in made:
                    each.close()
                raise
            if kind == socket.SOCK_DGRAM:
                opened.settimeout(_LOOK)
            threading.Thread(target=serve, args=(opened,), name="dns", daemon=True).start()
        self._sockets[address] = made

    def _close(self, address: str) -> None:
        for each in self._sockets.pop(address):
            # A thread that waits there is woken by this alone.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _datagrams(self, opened: socket.socket) -> None:
        while True:
            try:
                question, asker = opened.recvfrom(_LARGEST)
            except TimeoutError:
                continue  # the next call finds out whether the socket was closed
            except OSError:
                return
            self._begin(asker[0], self._datagram, opened, question, asker)

    def _datagram(self, opened: socket.socket, question: bytes, asker: tuple[str, int]) -> None:
        answer = self.answer(question, asker[0], self._ask_by_datagram)
        if answer is not None:
            with contextlib.suppress(OSError):
                opened.sendto(answer, asker)

    def _connections(self, opened: socket.socket) -> None:
        while True:
            try:
                connection, asker = opened.accept()
            except OSError:
                return
            if not self._begin(asker[0], self._connection, connection, asker[0]):
                connection.close()

    def _connection(self, connection: socket.socket, asker: str) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_SLOW)
            while question := _receive(connection):
                answer = self.answer(question, asker, self._ask_by_connection)
                if answer is None:
                    return
                connection.sendall(struct.pack("!H", len(answer)) + answer)

    def _begin(self, asker: str, serve: Callable[..., None], *arguments: object) -> bool:
        """Serve in a thread, unless there are too many; returns whether it is."""
        with self._lock:
            if self._asking.total() >= _AT_ONCE or self._asking[asker] >= _OF_ONE:
                return False
            self._asking[asker] += 1

        def work() -> None:
            try:
                serve(*arguments)
            except Exception:
                log.exception("a question of the DNS")
            finally:
                self._ended(asker)

        try:
            threading.Thread(target=work, name="dns question", daemon=True).start()
        except RuntimeError:  # the machine allows no more threads
            self._ended(asker)
            return False
        return True

    def _ended(self, asker: str) -> None:
        with self._lock:
            self._asking[asker] -= 1
            if not self._asking[asker]:
                del self._asking[asker]

    def resolvers(self) -> list[str]:
        """The node's own, without us."""
        try:
            lines = self._resolv.read_text(errors="replace").splitlines()
        except OSError:
            return []
        words = (line.split() for line in lines)
        found = [each[1] for each in words if len(each) >= 2 and each[0] == "nameserver"]
        return [address for address in found if address not in self._own][:_RESOLVERS]

    def _ask_by_datagram(self, question: bytes) -> bytes | None:
        for resolver in self.resolvers():
            # An own socket each, whose port nobody can guess; and the number of the question is an own one too.
            number = secrets.token_bytes(2)
            try:
                with socket.socket(socket.AF_INET6 if ":" in resolver else socket.AF_INET, socket.SOCK_DGRAM) as asking:
                    asking.settimeout(_FORWARD)
                    asking.connect((resolver, _PORT))
                    asking.send(number + question[2:])
                    answer = asking.recv(_LARGEST)
                    if answer[:2] == number:
                        return question[:2] + answer[2:]
            except OSError as error:
                log.debug("resolver %s: %s", resolver, error)
        return None

    def _ask_by_connection(self, question: bytes) -> bytes | None:
        for resolver in self.resolvers():
            try:
                with socket.create_connection((resolver, _PORT), timeout=_FORWARD) as asking:
                    asking.sendall(struct.pack("!H", len(question)) + question)
                    if answer := _receive(asking):
                        return answer
            except OSError as error:
                log.debug("resolver %s: %s", resolver, error)
        return None


def _receive(connection: socket.socket) -> bytes:
    """One message; empty at the end. Raises OSError."""
    head = _exactly(connection, 2)
    return _exactly(connection, struct.unpack("!H", head)[0]) if head else b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts
