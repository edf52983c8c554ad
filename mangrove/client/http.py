"""JSON over HTTP with the standard library alone, so that a device can use it too. All that can go wrong is an error
with a sentence for a person."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
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

#: Seconds for a whole request unless the caller says otherwise: ample for a small answer over a bad mobile link.
TIMEOUT = 10.0

#: Bytes of the largest answer that is read: a list of some ten thousand instances.
MAX_ANSWER = 32 * 1024 * 1024

#: Bytes asked for at a time.
_CHUNK = 64 * 1024

_HOST = re.compile(r"[a-zA-Z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}")
_Answer = TypeVar("_Answer")


class UnexpectedAnswer(MangroveError):
    """The other side answered, but not as a Mangrove parent does."""


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

    ca_file: certificates to trust with https, instead of the system's. Raises InvalidInput when it holds none.
    """

    def __init__(self, address: Address, *, timeout: float = TIMEOUT, ca_file: str | None = None) -> None:
        self.address = address
        self._timeout = timeout
        self._tls = _trusting(ca_file) if address.scheme == "https" else None

    @overload
    def request(self, method: str, path: str, body: Any = None, *, bearer: str = "") -> Any: ...

    @overload
    def request(
        self, method: str, path: str, body: Any = None, *, bearer: str = "", form: type[_Answer]
    ) -> _Answer: ...

    def request(self, method: str, path: str, body: Any = None, *, bearer: str = "", form: Any = Any) -> Any:
        """The JSON of the answer as `form`. body: anything msgspec can encode. bearer: an access token.

        Raises the error that the other side answered with (InvalidInput, Unauthorized, Forbidden, NotFound, Conflict,
        Unavailable), Unavailable when there is no answer in time, and UnexpectedAnswer when it is no parent of ours.
        """
        status, headers, content = self._exchange(method, path, body, bearer)
        if 300 <= status < 400:
            elsewhere = headers.get("Location", "another address")[:200]
            raise UnexpectedAnswer(f"{self.address} sends us on to {elsewhere}: give that address instead")
        if status >= 400:
            raise self._failure(status, content)
        try:
            return msgspec.json.decode(content, type=form)
        except msgspec.ValidationError as error:
            raise UnexpectedAnswer(
                f"{self.address} answered {path} in another form than expected ({error}): "
                "do both sides run the same version of Mangrove?"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._not_ours(status) from None

    def _exchange(self, method: str, path: str, body: Any, bearer: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        encoded = None
        if body is not None:
            encoded = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        deadline = monotonic() + self._timeout
        connection = self._connection()
        try:
            connection.connect()
            wire = connection.sock
            wire.settimeout(max(0.001, deadline - monotonic()))
            # When we are cut off while still sending, the answer that says why may be there to read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body=encoded, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, _read(answer, wire, deadline)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        address = self.address
        if self._tls is None:
            return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        return http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout, context=self._tls)

    def _no_answer(self, error: Exception) -> MangroveError:
        match error:
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
                return Unavailable(f"{self.address} broke the connection off before it had answered")
            case http.client.HTTPException():
                return UnexpectedAnswer(f"{self.address} does not speak HTTP: is the port right?")
            case OSError():
                return Unavailable(f"{self.address} cannot be reached: {error.strerror or error}")
        return Unavailable(f"{self.address} cannot be reached: {error}")

    def _not_ours(self, status: int) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self.address} answered {status}, but not as Mangrove does: are host and port those of a Mangrove parent?"
        )

    def _failure(self, status: int, content: bytes) -> MangroveError:
        try:
            answer = msgspec.json.decode(content, type=_Failure)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return self._not_ours(status)
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


def _read(answer: http.client.HTTPResponse, wire: socket.socket, deadline: float) -> bytes:
    """The whole body. Raises TimeoutError at `deadline`, however steadily it drips in."""
    content = bytearray()
    while True:
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        wire.settimeout(left)
        chunk = answer.read1(_CHUNK)
        if not chunk:
            break
        content += chunk
        if len(content) > MAX_ANSWER:
            raise UnexpectedAnswer(f"the answer is larger than {MAX_ANSWER} bytes: it is not read")
    if answer.length:
        raise http.client.IncompleteRead(bytes(content[:0]), answer.length)
    return bytes(content)
