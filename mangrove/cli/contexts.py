"""The roots that a user has logged in to, kept between commands: addresses and tokens, never passwords.

They are in `contexts.json` in the folder `mangrove` of `$XDG_CONFIG_HOME` (`~/.config`), readable by its owner alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mangrove.base.errors import CorruptFile, NotFound
from mangrove.base.files import private_folder, write_atomically
from mangrove.base.nearest import nearest
from mangrove.client.root import Session


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """A root, as whom to talk to it, and the tokens of the last login; without them one has logged out.

    root: as `http://host:port`. ca_file: certificates to trust with https; empty for the system's.
    """

    root: str
    user: str
    token: str = ""
    refresh_token: str = ""
    ca_file: str = ""

    @property
    def session(self) -> Session | None:
        """The login that is kept, if any."""
        return Session(self.user, self.token, self.refresh_token) if self.refresh_token else None

    def __repr__(self) -> str:
        return f"Context(root={self.root!r}, user={self.user!r})"


class Contexts(msgspec.Struct, frozen=True):
    """All contexts by name. current: the one that is meant when none is named; empty for none."""

    current: str = ""
    contexts: dict[str, Context] = {}

    def named(self, name: str) -> Context:
        """Raises NotFound with the nearest name that there is."""
        try:
            return self.contexts[name]
        except KeyError:
            raise NotFound(f"there is no context {name!r}{nearest(name, self.contexts)}") from None

    def with_(self, name: str, context: Context, *, current: bool = False) -> Contexts:
        return Contexts(name if current else self.current, {**self.contexts, name: context})

    def without(self, name: str) -> Contexts:
        rest = {each: context for each, context in self.contexts.items() if each != name}
        return Contexts("" if self.current == name else self.current, rest)


def path() -> Path:
    """Where they are kept."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification of these folders says that a path which is not absolute is to be ignored.
    folder = Path(home) if home.startswith("/") else Path("~/.config").expanduser()
    return folder / "mangrove" / "contexts.json"


def load() -> Contexts:
    """What is kept; empty when nothing is. Raises CorruptFile, OSError."""
    file = path()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(f"{file} cannot be read ({error}): mend it, or remove it and log in again") from None


@contextmanager
def changing() -> Iterator[list[Contexts]]:
    """What is kept, as a list of one, to be replaced in it; no other command changes it meanwhile.

    Raises CorruptFile, OSError.
    """
    folder = private_folder(path().parent)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = load()
        held = [before]
        yield held
        if held != [before]:
            write_atomically(path(), msgspec.json.format(msgspec.json.encode(held[0])))
    finally:
        os.close(descriptor)


def keep_session(name: str, session: Session) -> None:
    """Remember a renewed login of a context. Where that cannot be written, the next command renews it again."""
    with suppress(OSError, CorruptFile), changing() as held:
        context = held[0].contexts.get(name)
        if context is not None and context.user == session.user:
            renewed = msgspec.structs.replace(context, token=session.token, refresh_token=session.refresh_token)
            held[0] = held[0].with_(name, renewed)
