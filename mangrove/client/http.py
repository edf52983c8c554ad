"""JSON over HTTP with the standard library alone, so that a device can use it too. All that can go wrong is an error
with a sentence for a person.

A request that is lost on the way is sent again where that is safe: every POST carries an `Idempotency-Key`, so a root
does what it asks for once, however often it comes.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import ssl
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, TypeVar, overload
from urllib.parse import urlsplit

import msgspec

from mangrove.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from mangrove.client.wire import Reader, Silent, TooLarge, read_whole

#: Seconds for a whole request unless the caller says otherwise: ample for a small answer over a bad mobile link.
TIMEOUT = 10.0

#: Bytes of the largest answer that is read: a list of some ten thousand instances.
MAX_ANSWER = 32 * 1024 * 1024

#: Bytes of the longest line of a streamed answer: an event is some hundred bytes, a line of a log at most 64 KiB.
_MAX_LINE = 1024 * 1024

#: Seconds of silence after which a streamed answer counts as broken: parents send something at least every 15 s.
SILENCE = 45.0

#: Seconds before a lost request is sent again, each time up to twice as long, so that many do not come at once.
_FIRST_PAUSE = 0.1

#: Methods that may be sent again when nobody knows whether they have been heard. Not DELETE: the second answer, that
#: there is nothing to delete, would mislead.
_REPEATABLE = frozenset({"GET", "PUT", "POST"})

_HOST = re.compile(r"[a-zA-Z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}")
_Answer = TypeVar("_Answer")


class UnexpectedAnswer(MangroveError):
    """The other side answered, but not as a Mangrove parent does."""


class _Lost(Unavailable):
    """The connection broke before the answer was there."""


class _Later(Unavailable):
    """Not now. pause: seconds after which it may be tried again."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Address:
    """Where a parent listens; scheme: `http` or `https`."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str, default_port: int) -> Address:
    """Read `host`, `host:port`, `http://host:port` or `https://host:port` (an IPv6 address in brackets).

    Raises InvalidInput.
    """
    wrong = InvalidInput("address", f"must be host, host:port or http(s)://host:port, not {text[:200]!r}")
    try:
        parts = urlsplit(text.strip() if "://" in text else f"http://{text.strip()}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or extra or port == 0 or _HOST.fullmatch(host) is None:
        raise wrong
    return Address(parts.scheme, host, default_port if port is None else port)


class HttpClient:
    """Requests to one address, each on a connection of its own; may be used from several threads.

    timeout: seconds for a request with all its repetitions. ca_file: certificates to trust with https, instead of the
    system's. repeats: how often a request is sent again whose connection broke, or that was asked to come later. Raises
    InvalidInput when ca_file holds no certificate.
    """

    def __init__(
        self, address: Address, *, timeout: float = TIMEOUT, ca_file: str | None = None, repeats: int = 0
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._repeats = repeats
        self._tls = _trusting(ca_file) if address.scheme == "https" else None

    @overload
    def request(self, method: str, path: str, body: Any = None, *, bearer: str = "", key: str = "") -> Any: ...

    @overload
    def request(
        self, method: str, path: str, body: Any = None, *, bearer: str = "", key: str = "", form: type[_Answer]
    ) -> _Answer: ...

    def request(
        self, method: str, path: str, body: Any = None, *, bearer: str = "", key: str = "", form: Any = Any
    ) -> Any:
        """The JSON of the answer as `form`. body: anything msgspec can encode. bearer: an access token.

        key: of a POST that the caller may send again; made anew where none is given. Raises the error that the other
        side answered with (InvalidInput, Unauthorized, Forbidden, NotFound, Conflict, Unavailable), with the request's
        id as `request_id`; Unavailable when there is no answer in time, and UnexpectedAnswer when it is no parent of
        ours.
        """
        headers = {"Accept": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        deadline = monotonic() + self._timeout
        pause = _FIRST_PAUSE
        for left in range(self._repeats, -1, -1):
            try:
                content, status = self._answer(method, path, body, bearer, headers, deadline)
                return self._decoded(content, status, path, form)
            except (_Lost, _Later) as error:
                wait = error.pause if isinstance(error, _Later) else pause * random.uniform(1, 2)
                safe = isinstance(error, _Later) or method in _REPEATABLE
                if not (left and safe) or monotonic() + wait >= deadline:
                    raise
                pause *= 2
                sleep(wait)
        raise AssertionError("the last repetition returns or raises")

    def date(self) -> str:
        """The time that the other side tells with its answers, as HTTP writes it; empty where it tells none.

        Raises as `request` does.
        """
        headers = {"Accept": "application/json"}
        with self._exchange("GET", "/livez", None, "", headers, monotonic() + self._timeout) as (answer, _):
            return answer.headers.get("Date", "")

    def lines(
        self,
        path: str,
        *,
        bearer: str = "",
        accept: str = "text/plain",
        headers: Mapping[str, str] | None = None,
        silence: float = SILENCE,
    ) -> Generator[bytes, None, None]:
        """The lines of a GET's answer as they come, without their ends, until the other side ends it.

        silence: seconds after which a connection that says nothing is given up. Raises as `request` does, at the first
        line at the earliest; closing the iterator closes the connection.
        """
        sent = {"Accept": accept, **(headers or {})}
        with self._exchange("GET", path, None, bearer, sent, monotonic() + self._timeout) as (answer, reader):
            if answer.status >= 300:
                raise self._failure(answer.status, answer.headers, read_whole(answer, MAX_ANSWER))
            kind = answer.headers.get_content_type()
            if kind != accept:
                raise UnexpectedAnswer(f"{self.address} answered {path} as {kind} instead of {accept}")
            reader.silence = silence
            while line := answer.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    raise UnexpectedAnswer(f"{self.address} sends a line of more than {_MAX_LINE} bytes")
                yield line.rstrip(b"\r\n")

    def _answer(
        self, method: str, path: str, body: Any, bearer: str, more: Mapping[str, str], deadline: float
    ) -> tuple[bytes, int]:
        """Body and status of an answer that is none of a failure."""
        with self._exchange(method, path, body, bearer, more, deadline) as (answer, _):
            content = read_whole(answer, MAX_ANSWER)
            if answer.status >= 300:
                raise self._failure(answer.status, answer.headers, content)
            return content, answer.status

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: Any, bearer: str, more: Mapping[str, str], deadline: float
    ) -> Iterator[tuple[http.client.HTTPResponse, Reader]]:
        """An answer whose head is read, and what reads the rest. What breaks inside the block is explained too."""
        headers = {**more, "Connection": "close", **_bearing(bearer)}
        encoded = None
        if body is not None:
            encoded = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        connection = self._connection(max(0.001, deadline - monotonic()))
        try:
            connection.connect()
            with closing(Reader(connection.sock, deadline)) as reader:
                # When we are cut off while still sending, the answer that says why may be there to read.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body=encoded, headers=headers)
                with closing(reader.answer(method)) as answer:
                    yield answer, reader
        except TooLarge:
            raise UnexpectedAnswer(
                f"{self.address}: the answer is larger than {MAX_ANSWER} bytes: it is not read"
            ) from None
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None
        finally:
            connection.close()

    def _decoded(self, content: bytes, status: int, path: str, form: Any) -> Any:
        try:
            return msgspec.json.decode(content, type=form)
        except msgspec.ValidationError as error:
            raise UnexpectedAnswer(
                f"{self.address} answered {path} in another form than expected ({error}): "
                "do both sides run the same version of Mangrove?"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._not_ours(status) from None

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        address = self.address
        if self._tls is None:
            return http.client.HTTPConnection(address.host, address.port, timeout=seconds)
        return http.client.HTTPSConnection(address.host, address.port, timeout=seconds, context=self._tls)

    def _no_answer(self, error: Exception) -> MangroveError:
        match error:
            case Silent():
                return _Lost(f"{self.address} fell silent in the middle of its answer")
            case TimeoutError():
                return Unavailable(f"{self.address} did not answer within {self._timeout:g} s")
            case ConnectionRefusedError():
                return Unavailable(f"nothing listens on {self.address}: is it running, and is the address right?")
            case socket.gaierror() | UnicodeError():  # unknown, or no host name at all
                return Unavailable(f"the host name {self.address.host!r} cannot be found: is it right?")
            case ssl.SSLCertVerificationError():
                return Unavailable(f"{self.address} shows no valid certificate: {error.verify_message}")
            case ssl.SSLError():
                return UnexpectedAnswer(f"{self.address} does not speak TLS: try http:// instead of https://")
            case http.client.RemoteDisconnected() | ConnectionError() | http.client.IncompleteRead():
                return _Lost(f"{self.address} broke the connection off before it had answered")
            case http.client.HTTPException():
                return UnexpectedAnswer(f"{self.address} does not speak HTTP: is the port right?")
            case OSError():
                return Unavailable(f"{self.address} cannot be reached: {error.strerror or error}")
        return Unavailable(f"{self.address} cannot be reached: {error}")

    def _not_ours(self, status: int) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self.address} answered {status}, but not as Mangrove does: are host and port those of a Mangrove parent?"
        )

    def _failure(self, status: int, headers: http.client.HTTPMessage, content: bytes) -> MangroveError:
        if status < 400:
            elsewhere = headers.get("Location", "another address")[:200]
            return UnexpectedAnswer(f"{self.address} sends us on to {elsewhere}: give that address instead")
        try:
            answer = msgspec.json.decode(content, type=_Failure)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._not_ours(status)
        error = self._told(status, answer, _seconds(headers.get("Retry-After", "")))
        error.request_id = _printable(headers.get("X-Request-ID", ""))
        return error

    def _told(self, status: int, answer: _Failure, retry_after: float | None) -> MangroveError:
        message = answer.message
        match status:
            case 401:
                return Unauthorized(message)
            case 403:
                return Forbidden(message)
            case 404:
                return NotFound(message)
            case 409:
                return Conflict(message)
            case 429 | 503 if retry_after is not None:
                return _Later(message, retry_after)
            case 429 | 503:
                return Unavailable(message)
            case _ if status < 500:
                return InvalidInput(answer.field, message.removeprefix(f"{answer.field}: "))
        return UnexpectedAnswer(f"{self.address}: {message}")


class _Failure(msgspec.Struct):
    message: str
    field: str = ""


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput("ca_file", f"{ca_file} holds no certificates: {error.strerror}") from None


def _bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _seconds(text: str) -> float | None:
    """What a `Retry-After` says, None when it says nothing or a date."""
    return float(text) if re.fullmatch(r"\d{1,6}", text.strip()) else None


def _printable(text: str) -> str:
    return text if re.fullmatch(r"[!-~]{1,128}", text) else ""
