"""How the cluster becomes the root's child, once, and what it remembers of that."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mangrove import __version__
from mangrove.base.errors import InvalidInput
from mangrove.base.files import private_folder, read_json, write_atomically
from mangrove.client.join import join
from mangrove.identity.messages import JoinReply, JoinRequest, new_join_key
from mangrove.link.messages import PROTOCOL

#: Where a root listens when its address names no port.
ROOT_PORT = 10000


def identity_in(data: Path) -> JoinReply | None:
    """What the root answered when this cluster joined it, or None when it has not yet. Raises CorruptFile, OSError."""
    way_out = "put it back from a backup, or remove it and join the root anew with --root and --token"
    return read_json(_path(data), JoinReply, way_out)


def join_root(data: Path, address: str, token: str, name: str) -> JoinReply:
    """Join the root at `address` and remember the answer. Repeating it after a lost answer takes no second use.

    Raises InvalidInput, Unauthorized, Refused, Conflict, Unavailable.
    """
    if not address or not token:
        raise InvalidInput(
            "--root" if not address else "--token",
            "this cluster has not joined a root yet: give --root ADDRESS and --token TOKEN "
            "(made on the root by `mangrove cluster token`)",
        )
    key_file = private_folder(data / "secrets") / "join.key"
    if not key_file.exists():
        write_atomically(key_file, new_join_key().encode())
    request = JoinRequest(
        token=token,
        name=name,
        kind="cluster",
        protocols=(PROTOCOL,),
        software=__version__,
        key=key_file.read_text(),
    )
    reply = join(address, request, default_port=ROOT_PORT)
    write_atomically(_path(data), msgspec.json.encode(reply))
    key_file.unlink()
    return reply


def _path(data: Path) -> Path:
    return data / "secrets" / "identity.json"
