"""Mail to users, through the SMTP server that the operator names."""

from __future__ import annotations

import ipaddress
import logging
import queue
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from threading import Thread
from urllib.parse import unquote, urlsplit

from mangrove.base.errors import InvalidInput
from mangrove.model.validation import shown

_log = logging.getLogger(__name__)

#: Seconds for each step of a talk with the server. Mail is never urgent, and one thread sends it all.
TIMEOUT = 10.0

#: Errands that wait at most. What asks for them is throttled by address; more than this is an attack.
WAITING = 100

_PORTS = {"smtps": 465, "smtp": 587}


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server. scheme: `smtps` (TLS from the start) or `smtp` (STARTTLS, but for this machine itself)."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    sender: str

    def __repr__(self) -> str:
        return f"MailServer({self.scheme}://{self.host}:{self.port}, user={self.user!r}, sender={self.sender!r})"

    def send(self, to: str, subject: str, text: str) -> None:
        """Send a mail. Raises OSError, smtplib.SMTPException."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message.set_content(text)
        context = ssl.create_default_context()
        if self.scheme == "smtps":
            talk: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=context)
        else:
            talk = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)
        with talk:
            if self.scheme == "smtp" and not _is_this_machine(self.host):
                talk.starttls(context=context)
            if self.user:
                talk.login(self.user, self.password)
            talk.send_message(message)


def mail_server(url: str, password: str, sender: str) -> MailServer:
    """The server of a URL such as `smtps://user@mail.example` or `smtp://localhost:25`. Raises InvalidInput."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise InvalidInput("--smtp", f"is {shown(url)}: {error}; write smtps://user@host or smtp://host:port") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise InvalidInput("--smtp", f"is {shown(url)}; write smtps://user@host or smtp://host:port")
    if parts.password:
        raise InvalidInput("--smtp", "holds a password, which others could read; give it by --smtp-password-file")
    if "@" not in sender or not sender.isprintable():
        raise InvalidInput("--mail-from", f"is {shown(sender)}; name the address that mails come from")
    return MailServer(parts.scheme, parts.hostname, port, unquote(parts.username or ""), password, sender)


class Errands:
    """Does what may take long in one thread of its own, in order; forgets what is too much, and logs what fails."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._thread = Thread(target=self._run, name="errands", daemon=True)
        self._thread.start()

    def post(self, errand: Callable[[], None]) -> None:
        """Do it later."""
        try:
            self._waiting.put_nowait(errand)
        except queue.Full:
            _log.warning("too much to do at once: a mail is not sent")

    def stop(self) -> None:
        """End after the errand that is being done; what waits is given up."""
        while True:
            try:
                self._waiting.put_nowait(None)
                break
            except queue.Full:
                self._waiting.get_nowait()
        self._thread.join(4 * TIMEOUT)

    def _run(self) -> None:
        while (errand := self._waiting.get()) is not None:
            try:
                errand()
            except Exception as error:
                # Its text may repeat what was sent, so only its kind is told.
                _log.error("an errand failed: %s", type(error).__name__)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
