"""A broker's address: what its URL says, whom TLS trusts there, and why it could not be reached."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from mangrove.base.errors import InvalidInput
from mangrove.link.transports.interface import Broker


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's URL, taken apart."""

    transport: Literal["tcp", "websockets"]
    tls: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises InvalidInput, naming what is wrong, when `url` is not a broker's."""
        example = "write for example mqtt://broker.example:1883; the schemes are mqtt, mqtts, ws and wss"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidInput("broker.url", f"{error}: {example}") from None
        if parts.username is not None or parts.password is not None:
            raise InvalidInput("broker.url", "credentials do not belong into the URL; they have fields of their own")
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise InvalidInput("broker.url", f"{url!r} is not a broker's address: {example}")
        transport, tls, usual_port = _SCHEMES[parts.scheme]
        return cls(transport, tls, parts.hostname, port or usual_port, parts.path or "/mqtt")


#: Scheme: paho's transport, TLS or not, and the port that IANA (for WebSocket: HTTP) gives it.
_SCHEMES: dict[str, tuple[Literal["tcp", "websockets"], bool, int]] = {
    "mqtt": ("tcp", False, 1883),
    "mqtts": ("tcp", True, 8883),
    "ws": ("websockets", False, 80),
    "wss": ("websockets", True, 443),
}


def verifying_context(ca_file: str) -> ssl.SSLContext:
    """Verifies certificate and host name, by `ca_file` or else by the authorities that the system trusts."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError, for a file that holds no certificate, is one too
        raise InvalidInput("broker.ca_file", f"{ca_file!r} cannot be used: {error.strerror or error}") from None
    context.sslsocket_class = _TlsSocket
    return context


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def why_not_connected(error: OSError, broker: Broker, timeout: float) -> str:
    """What a failure to connect means, and what to do about it. timeout: seconds that were waited."""
    where, ca_file, scheme = str(Address.parse(broker.url)), broker.ca_file, broker.url.partition(":")[0]
    match error:
        case ssl.SSLCertVerificationError():
            trusted = f"the authority in {ca_file}" if ca_file else "the system's authorities (no ca_file is set)"
            return f"the certificate of {where} is not valid by {trusted}: {error.verify_message}"
        case socket.gaierror():
            return f"the name of {where} cannot be resolved: {error.strerror}"
        case TimeoutError():
            return f"{where} did not answer within {timeout:g} s"
        case ConnectionRefusedError():
            return f"{where} refused the connection; is the broker running?"
        case ConnectionError() | ssl.SSLError():
            return f"{where} broke the connection off ({error}); does it speak {scheme} on that port?"
        case _:
            return f"{where} cannot be reached: {error.strerror or error}"
