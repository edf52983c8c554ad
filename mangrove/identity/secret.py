"""A parent's one secret, and every key and password that follows from it.

Keys are derived, never stored: a copy of the store alone lets nobody speak as a parent or as a child.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from mangrove.base.errors import MangroveError
from mangrove.base.files import private_folder, write_atomically
from mangrove.model.documents import META
from mangrove.store.interface import ABSENT, Put, RevisionConflict, Store

#: Bytes of the secret and of each key: the largest security blake2b-256 gives.
KEY_SIZE = 32

#: Bytes of an id in hexadecimal digits; see mangrove.base.ids.
_ID_SIZE = 12

#: Document of `META` that remembers with which secret the store's children joined.
_FINGERPRINT = "secret"


class UnusableSecret(MangroveError):
    """The secret is damaged, readable by others, or not the one that this parent's children know."""


class MasterSecret:
    """32 random bytes from which all keys of one parent derive. Never printed: its repr tells nothing.

    Each comes from keyed blake2b with a purpose of its own (the hash's `person`), so that no key tells about another.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a secret has {KEY_SIZE} bytes, not {len(key)}")
        self._key = key

    def __repr__(self) -> str:
        return "MasterSecret(...)"

    def link_key(self, child: str, generation: int) -> bytes:
        """Key of the envelopes exchanged with `child`, 32 bytes."""
        return self._derive(b"link", child, str(generation))

    def broker_password(self, child: str, generation: int) -> str:
        """Password of `child` at the parent's brokers, 64 hexadecimal digits."""
        return self._derive(b"broker", child, str(generation)).hex()

    def parent_broker_password(self) -> str:
        """Password of the parent itself at its brokers, 64 hexadecimal digits."""
        return self._derive(b"parent-broker").hex()

    def child_id(self, token: str, key: str) -> str:
        """The id that a child gets which joins by `token` with the nonce `key`: the same each time it repeats that."""
        return self._derive(b"child-id", token, key, size=_ID_SIZE).hex()

    def operator_token(self) -> str:
        """What an operator on the parent's own machine shows to its local API, 64 hexadecimal digits."""
        return self._derive(b"operator").hex()

    def parent_id(self) -> str:
        """The parent's own name in topics, 24 hexadecimal digits: it stays when the store is replaced."""
        return self._derive(b"parent-id", size=_ID_SIZE).hex()

    def fingerprint(self) -> str:
        """Tells secrets apart without telling anything about them, 32 hexadecimal digits."""
        return self._derive(b"fingerprint", size=16).hex()

    def _derive(self, purpose: bytes, *parts: str, size: int = KEY_SIZE) -> bytes:
        digest = blake2b(digest_size=size, key=self._key, person=purpose)
        for part in parts:
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
        return digest.digest()


def load_or_create(data: Path) -> MasterSecret:
    """The secret of the parent whose data folder is `data`, made at first use in `data/secrets/parent.key`.

    Safe for several processes that start at once. Raises UnusableSecret, and OSError when the disk does not allow it.
    """
    folder = private_folder(data / "secrets")
    path = folder / "parent.key"
    with _locked(folder):
        if not path.exists():
            write_atomically(path, secrets.token_bytes(KEY_SIZE))
    return _read(path)


def verify_store(secret: MasterSecret, store: Store) -> None:
    """Make sure that the children in `store` joined with `secret`, which a store that knows none yet remembers.

    Without this, a lost key file would silently be replaced and every child be locked out. Raises UnusableSecret.
    """
    known = store.get(META, _FINGERPRINT)
    if known is None:
        try:
            store.apply([Put(META, _FINGERPRINT, {"fingerprint": secret.fingerprint()}, expect=ABSENT)])
        except RevisionConflict:
            known = store.get(META, _FINGERPRINT)
    if known is not None and known.document["fingerprint"] != secret.fingerprint():
        raise UnusableSecret(
            "secrets/parent.key is not the secret that the children in this store joined with: "
            "put the right file back from a backup, or start with an empty data folder and let all children join anew"
        )


def _read(path: Path) -> MasterSecret:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise UnusableSecret(
                f"{path} has permissions {mode:04o}, so others on this machine can use the secret in it: "
                f"allow its owner alone (chmod 600 {path})"
            )
        content = file.read(KEY_SIZE + 1)
    if len(content) != KEY_SIZE:
        size = "more" if len(content) > KEY_SIZE else str(len(content))
        raise UnusableSecret(
            f"{path} must hold {KEY_SIZE} bytes, not {size}: put the right file back from a backup "
            "(if it is removed, a new secret is made and every child has to join again)"
        )
    return MasterSecret(content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
