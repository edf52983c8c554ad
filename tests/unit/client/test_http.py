"""The client against servers that answer, or do not, in every way."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mangrove.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from mangrove.client import http
from mangrove.client.http import Address, HttpClient, UnexpectedAnswer, parse_address

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@contextmanager
def answering(behave: Callable[[socket.socket], None]) -> Iterator[HttpClient]:
    """A client of a server that takes one connection and does with it what `behave` says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield HttpClient(Address("http", "127.0.0.1", listening.getsockname()[1]), timeout=5)
        finally:
            socket.create_connection(listening.getsockname()).close()  # in case nobody came
            thread.join(10)
            assert not thread.is_alive()


def saying(*answer: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in answer:
            connection.sendall(piece)

    return behave


def heard(connection: socket.socket) -> bytes:
    """A whole request with a body."""
    request = b""
    while True:
        request += connection.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if length is not None and len(body) == int(length[1]):
            return request


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("root", "http://root:10000"),
        ("root:1234", "http://root:1234"),
        ("http://root", "http://root:10000"),
        ("https://root.example.org:443/", "https://root.example.org:443"),
        (" 192.0.2.1:80\n", "http://192.0.2.1:80"),
        ("[::1]", "http://[::1]:10000"),
        ("[fe80::1]:80", "http://[fe80::1]:80"),
        ("HTTPS://Root:1", "https://root:1"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert str(parse_address(text, 10000)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "http://",
        "ftp://root",
        "root:port",
        "root:0",
        "root:65536",
        "root:-1",
        "root/path",
        "http://root/api",
        "http://user:password@root",
        "http://root?x",
        "http://[::1",
        "a b",
        "root\0",
        "a" * 300,
        "::1:80",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInput, match="address: must be host, host:port or"):
        parse_address(text, 10000)


def test_json_goes_and_comes() -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(heard(connection))
        connection.sendall(OK % (7, b'{"a":1}'))

    with answering(behave) as client:
        assert client.request("POST", "/x", {"b": 2}, bearer="token") == {"a": 1}
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"Authorization: Bearer token" in head
    assert b"Content-Type: application/json" in head
    assert body == b'{"b":2}'


def test_a_chunked_answer_is_read_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(saying(head, b"2\r\n[1\r\n", b"3\r\n,2]\r\n", b"0\r\n\r\n")) as client:
        assert client.request("GET", "/", form=list[int]) == [1, 2]


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, '{"message":"bad"}', InvalidInput, "bad"),
        (401, '{"message":"who"}', Unauthorized, "who"),
        (403, '{"message":"no"}', Forbidden, "no"),
        (404, '{"message":"gone"}', NotFound, "gone"),
        (409, '{"message":"taken"}', Conflict, "taken"),
        (422, '{"message":"a.b: is wrong","field":"a.b"}', InvalidInput, "a.b: is wrong"),
        (429, '{"message":"slower"}', Unavailable, "slower"),
        (503, '{"message":"later","reasons":["x"]}', Unavailable, "later"),
        (500, '{"message":"internal error"}', UnexpectedAnswer, "internal error"),
        (404, "<html>", UnexpectedAnswer, "answered 404, but not as Mangrove does"),
        (502, "", UnexpectedAnswer, "answered 502, but not as Mangrove does"),
        (404, '{"detail":"x"}', UnexpectedAnswer, "answered 404, but not as Mangrove does"),
        (404, '"text"', UnexpectedAnswer, "answered 404, but not as Mangrove does"),
        (404, '{"message":7}', UnexpectedAnswer, "answered 404, but not as Mangrove does"),
        (200, "<html>", UnexpectedAnswer, "answered 200, but not as Mangrove does"),
        (200, "", UnexpectedAnswer, "answered 200, but not as Mangrove does"),
        (200, "[]", UnexpectedAnswer, "in another form than expected.*same version of Mangrove"),
    ],
)
def test_failures_carry_the_message(status: int, body: str, error: type[MangroveError], message: str) -> None:
    encoded = body.encode()
    sent = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(encoded), encoded)
    with answering(saying(sent)) as client, pytest.raises(error, match=message) as caught:
        client.request("GET", "/", form=dict[str, int])
    assert type(caught.value) is error


def test_a_named_field_stays_named() -> None:
    sent = b'HTTP/1.1 422 X\r\nContent-Length: 45\r\n\r\n{"message":"a.b: is wrong","field":"a.b"}    '
    with answering(saying(sent)) as client, pytest.raises(InvalidInput) as caught:
        client.request("GET", "/")
    assert (caught.value.field, caught.value.problem) == ("a.b", "is wrong")


def test_a_redirect_names_where_to() -> None:
    sent = b"HTTP/1.1 301 X\r\nLocation: https://root:1/\r\nContent-Length: 0\r\n\r\n"
    with (
        answering(saying(sent)) as client,
        pytest.raises(UnexpectedAnswer, match="sends us on to https://root:1/: give"),
    ):
        client.request("GET", "/")


def test_nothing_listens(free_port: Callable[[], int]) -> None:
    port = free_port()
    with pytest.raises(Unavailable, match=f"nothing listens on http://127.0.0.1:{port}: is it running"):
        HttpClient(parse_address(f"127.0.0.1:{port}", 1)).request("GET", "/")


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "no-such-host"])
def test_an_unknown_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def offline(name: str, *details: Any, **more: Any) -> Any:
        if name == "no-such-host":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(name, *details, **more)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(Unavailable, match=f"host name '{host}' cannot be found"):
        HttpClient(parse_address(host, 1)).request("GET", "/")


@pytest.mark.parametrize(
    "dripped",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"],
    ids=["no answer", "half an answer"],
)
def test_silence_has_an_end(dripped: bytes) -> None:
    done = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.sendall(dripped)
        done.wait(10)

    with answering(behave) as patient:
        client = HttpClient(patient.address, timeout=0.2)
        with pytest.raises(Unavailable, match=r"did not answer within 0.2 s"):
            client.request("GET", "/")
        done.set()


def test_an_answer_that_drips_has_an_end_too() -> None:
    done = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not done.wait(0.02):
            connection.sendall(b" ")

    with answering(behave) as patient:
        begun = monotonic()
        with pytest.raises(Unavailable, match="did not answer within"):
            HttpClient(patient.address, timeout=0.3).request("GET", "/")
        assert monotonic() - begun < 5
        done.set()


@pytest.mark.parametrize(
    "sent",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
    ids=["nothing", "too little"],
)
def test_an_answer_that_breaks_off(sent: bytes) -> None:
    with answering(saying(sent)) as client, pytest.raises(Unavailable, match="broke the connection off"):
        client.request("GET", "/")


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http(sent: bytes) -> None:
    with answering(saying(sent)) as client, pytest.raises(UnexpectedAnswer, match="does not speak HTTP"):
        client.request("GET", "/")


def test_what_is_no_tls() -> None:
    with answering(saying(b"HTTP/1.1 400 Bad\r\n\r\n")) as client:
        address = Address("https", "127.0.0.1", client.address.port)
        with pytest.raises(UnexpectedAnswer, match="does not speak TLS"):
            HttpClient(address, timeout=5).request("GET", "/")


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1, signed by nobody else, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(pem) + key.private_bytes(pem, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return path


def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behave(connection: socket.socket) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as wrapped:
            saying(OK % (2, b"{}"))(wrapped)

    with answering(behave) as plain:
        address = Address("https", "127.0.0.1", plain.address.port)
        assert HttpClient(address, timeout=5, ca_file=str(certificate)).request("GET", "/") == {}
    with answering(behave) as plain:
        address = Address("https", "127.0.0.1", plain.address.port)
        with pytest.raises(Unavailable, match="shows no valid certificate: self-signed certificate"):
            HttpClient(address, timeout=5).request("GET", "/")


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(InvalidInput, match=f"ca_file: {path} holds no certificates"):
            HttpClient(Address("https", "127.0.0.1", 1), ca_file=str(path))


def test_a_huge_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER", 1000)
    with (
        answering(saying(OK % (1001, b" " * 1001))) as client,
        pytest.raises(UnexpectedAnswer, match="larger than 1000"),
    ):
        client.request("GET", "/")


def test_who_cuts_us_off_while_we_still_send_is_heard() -> None:
    sent = b'HTTP/1.1 413 X\r\nContent-Length: 23\r\n\r\n{"message":"too large"}'

    def behave(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(sent)  # and closes, with most of the request unread: that resets the connection

    with answering(behave) as client, pytest.raises(InvalidInput, match="too large"):
        client.request("POST", "/", "x" * 20_000_000)


def test_it_is_light() -> None:
    """A device loads it to join: it must not bring a web server or a store along."""
    code = "import sys, mangrove.client.join; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(out.stdout.split())
    assert "mangrove.identity.messages" in loaded
    heavy = {"flask", "requests", "urllib3", "waitress", "pymongo", "numpy", "click", "rich", "cryptography"}
    assert not loaded & (heavy | {"mangrove.store.interface", "mangrove.link"})


def test_msgspec_structs_can_be_sent() -> None:
    class Body(msgspec.Struct):
        a: int

    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        seen.append(heard(connection))
        connection.sendall(OK % (2, b"{}"))

    with answering(behave) as client:
        client.request("POST", "/", Body(1))
    assert seen[0].endswith(b'{"a":1}')
