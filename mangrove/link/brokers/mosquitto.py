"""Mosquitto 2: the broker of choice where it is installed."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping

from mangrove.link.brokers.managed import MAX_MESSAGE, Account, ManagedBroker

#: PBKDF2 rounds of a password's hash. Rounds slow down guessing, but nobody guesses 128 random bits; they would slow
#: down Mosquitto, which hashes for each connection made and again for all connections at each reload.
_ITERATIONS = 1

_CONFIGURATION = """\
# Written by Mangrove at each start; changes are lost.
listener {port} {host}
{tls}
{user}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/access
persistence false
# Nobody of ours retains, and what others retain would fill the memory.
retain_available false
# The whole packet: payload, topic (some hundred bytes at most) and header.
max_packet_size {max_packet}
# A parent that is busy for a moment gets the reports of a whole fleet afterwards, instead of losing those above 1,000.
max_inflight_messages 1000
max_queued_messages 20000
max_queued_bytes 67108864
set_tcp_nodelay true
sys_interval 0
log_dest stderr
log_timestamp false
log_type error
connection_messages false
"""

_ACCESS = """\
user {parent}
topic readwrite mangrove/{parent}/#

pattern write mangrove/{parent}/%u/up/#
pattern read mangrove/{parent}/%u/down/#
"""


def find() -> str:
    """Path of the program, or empty. Debian keeps it where only root's PATH leads."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin") or ""


class MosquittoBroker(ManagedBroker):
    name = "Mosquitto"

    def _command(self) -> list[str]:
        return [find() or "mosquitto", "-c", str(self.folder / "mosquitto.conf")]

    def _files(self, parent: Account, children: Iterable[Account]) -> Mapping[str, str]:
        tls = f"certfile {self.tls.cert_file}\nkeyfile {self.tls.key_file}" if self.tls else ""
        configuration = _CONFIGURATION.format(
            port=self.port,
            host=self.host,
            tls=tls,
            # It would give up root's rights, and with them the right to read its files again, and the kernel's promise
            # to end it with its parent.
            user="user root" if os.geteuid() == 0 else "",
            folder=self.folder,
            max_packet=MAX_MESSAGE + 1024,
        )
        return {
            "mosquitto.conf": configuration,
            "access": _ACCESS.format(parent=parent.username),
            "passwords": "".join(f"{who.username}:{hash_password(who)}\n" for who in (parent, *children)),
        }


def hash_password(account: Account) -> str:
    """As mosquitto_passwd writes it: `$7$<iterations>$<salt>$<PBKDF2 with SHA-512>`, in base64.

    The salt follows from the username, an id, so that equal accounts give an equal file.
    """
    salt = hashlib.blake2b(account.username.encode(), digest_size=12).digest()
    digest = hashlib.pbkdf2_hmac("sha512", account.password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
