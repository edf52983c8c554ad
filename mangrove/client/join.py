"""Joining a parent and leaving it, as a child does it."""

from __future__ import annotations

from pathlib import Path

from mangrove.base.errors import Forbidden, NotFound, Refused
from mangrove.client.http import TIMEOUT, HttpClient, UnexpectedAnswer, parse_address
from mangrove.identity.messages import JoinReply, JoinRequest, LeaveRequest, leave_proof


def token_in(file: Path | None) -> str:
    """The join token that a file holds, empty without a file. Raises OSError."""
    return "" if file is None else file.read_text(errors="replace").strip()


def join(
    address: str, request: JoinRequest, *, default_port: int, timeout: float = TIMEOUT, ca_file: str | None = None
) -> JoinReply:
    """Ask the parent at `address` for an identity. timeout: seconds.

    After Unavailable nobody knows whether the parent took it: repeat it with the same `request`, which must then have a
    `key`. Raises InvalidInput, Unauthorized (token), Refused, Conflict (name), Unavailable, UnexpectedAnswer.
    """
    client = HttpClient(parse_address(address, default_port), timeout=timeout, ca_file=ca_file)
    try:
        return client.request("POST", "/api/v1/join", request, form=JoinReply)
    except Forbidden as error:
        raise Refused(error.message) from None
    except NotFound:
        raise UnexpectedAnswer(
            f"{client.address} is nothing that one can join: are host and port those of a Mangrove parent?"
        ) from None


def leave(
    address: str, identity: JoinReply, *, default_port: int, timeout: float = TIMEOUT, ca_file: str | None = None
) -> None:
    """Tell the parent at `address` that this child is gone for good. May be repeated. Raises as `join` does."""
    client = HttpClient(parse_address(address, default_port), timeout=timeout, ca_file=ca_file)
    proof = leave_proof(bytes.fromhex(identity.link_key), identity.child)
    client.request("POST", "/api/v1/leave", LeaveRequest(identity.child, identity.generation, proof))
