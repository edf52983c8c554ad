"""Mail goes out as SMTP servers want it, and never holds anything up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from mangrove.base.errors import InvalidInput
from root_orchestrator.mail import WAITING, Errands, MailServer, mail_server
from root_orchestrator.main import parser, post_of


class Inbox:
    """An SMTP server's end: what came, and who signed in."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], str]] = []
        self.users: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret")


class OnFreePort(Controller):
    """A server on a port that the system chooses."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def port(inbox: Inbox) -> Iterator[int]:
    """Of a server on this machine, so without TLS."""
    controller = OnFreePort(
        inbox, hostname="127.0.0.1", port=0, authenticator=inbox.authenticate, auth_require_tls=False, ready_timeout=30
    )
    controller.start()
    yield controller.port
    controller.stop()


def test_a_mail_arrives(inbox: Inbox, port: int) -> None:
    server = mail_server(f"smtp://127.0.0.1:{port}", "", "mangrove@example.org")
    server.send("ada@example.org", "Größe", "Hello\n\nhttps://x.example/" + "t" * 100 + "\n")
    [(sender, to, text)] = inbox.mails
    assert (sender, to) == ("mangrove@example.org", ["ada@example.org"])
    assert "https://x.example/" in text
    assert inbox.users == []


def test_it_signs_in(inbox: Inbox, port: int) -> None:
    server = mail_server(f"smtp://post%40man@127.0.0.1:{port}", "secret", "mangrove@example.org")
    assert "secret" not in repr(server)
    server.send("ada@example.org", "x", "y")
    assert inbox.users == [(b"post@man", b"secret")]


def test_nothing_leaves_this_machine_in_clear(inbox: Inbox, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = MailServer("smtp", "127.0.0.1", port, "post", "secret", "mangrove@example.org")
    monkeypatch.setattr("root_orchestrator.mail._is_this_machine", lambda host: False)
    with pytest.raises(Exception, match="STARTTLS"):
        server.send("ada@example.org", "x", "y")
    assert (inbox.mails, inbox.users) == ([], [])


@pytest.mark.parametrize(
    ("url", "sender", "field"),
    [
        ("mail.example", "a@b", "--smtp"),
        ("http://mail.example", "a@b", "--smtp"),
        ("smtp://", "a@b", "--smtp"),
        ("smtp://host:port", "a@b", "--smtp"),
        ("smtp://user:secret@host", "a@b", "--smtp"),
        ("smtp://host/path", "a@b", "--smtp"),
        ("smtp://host", "", "--mail-from"),
        ("smtp://host", "a@b\nBcc: c@d", "--mail-from"),
    ],
)
def test_bad_settings_name_the_option(url: str, sender: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        mail_server(url, "", sender)
    assert refused.value.field == field
    assert "secret" not in refused.value.message


def test_ports_that_are_usual() -> None:
    assert (mail_server("smtps://host", "", "a@b").port, mail_server("smtp://host", "", "a@b").port) == (465, 587)


def test_errands_are_done_in_order_and_one_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    errands, over = Errands(), threading.Event()

    def fail() -> None:
        raise OSError("550 <ada@example.org> unknown")

    errands.post(lambda: done.append(1))
    errands.post(fail)
    errands.post(lambda: done.append(2))
    errands.post(over.set)
    assert over.wait(30)
    errands.stop()
    assert done == [1, 2]
    assert "an errand failed: OSError" in caplog.text
    assert "ada@" not in caplog.text


def test_what_is_too_much_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    errands, begun, go_on = Errands(), threading.Event(), threading.Event()
    done: list[int] = []

    def wait() -> None:
        begun.set()
        go_on.wait(30)

    errands.post(wait)
    assert begun.wait(30)
    for number in range(WAITING + 5):
        errands.post(lambda number=number: done.append(number))  # type: ignore[misc]
    assert caplog.text.count("too much to do at once") == 5
    go_on.set()
    errands.stop()
    assert len(done) < WAITING + 5


def test_the_program_says_what_is_missing(tmp_path: Path) -> None:
    assert post_of(parser().parse_args([])) is None
    with pytest.raises(InvalidInput) as refused:
        post_of(parser().parse_args(["--smtp", "smtp://localhost", "--mail-from", "a@b"]))
    assert refused.value.field == "--reset-link"
    password = tmp_path / "password"
    password.write_text("secret\n")
    given = ["--smtp", "smtps://me@mail.example", "--mail-from", "a@b", "--smtp-password-file", str(password)]
    post = post_of(parser().parse_args([*given, "--reset-link", "https://dashboard.example/reset/"]))
    assert post is not None
    assert post.link == "https://dashboard.example/reset/"
    assert "secret" not in repr(post)
