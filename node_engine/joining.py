"""How a node becomes its cluster's child, once, and what it remembers of that."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mangrove import __version__
from mangrove.base.errors import InvalidInput
from mangrove.client.join import join, leave
from mangrove.identity.messages import JoinReply, JoinRequest, new_join_key
from mangrove.link.messages import PROTOCOL
from node_engine.state import State, read_identity

#: Where a cluster listens when its address names no port.
CLUSTER_PORT = 10100


class Membership(msgspec.Struct):
    """What the node engine keeps of joining. address: of the cluster. key: of a join whose answer is not here yet."""

    address: str
    key: str = ""
    reply: JoinReply | None = None


def membership_in(state: State) -> Membership | None:
    """What is known of an earlier join, or None."""
    return state.load_identity(Membership)


def cluster_of(folder: Path) -> str:
    """The address of the cluster that the node with this data folder has joined, empty if none; changes nothing."""
    known = read_identity(folder, Membership)
    return known.address if known is not None and known.reply is not None else ""


def join_cluster(state: State, address: str, token: str, name: str) -> JoinReply:
    """Join the cluster at `address` and remember the answer. Repeating it after a lost answer takes no second use.

    Raises InvalidInput, Unauthorized, Refused, Conflict, Unavailable.
    """
    if not address or not token:
        raise InvalidInput(
            "--cluster" if not address else "--token",
            "this node has not joined a cluster yet: give --cluster ADDRESS and --token TOKEN "
            "(made on the cluster by `mangrove node token`)",
        )
    before = membership_in(state)
    key = before.key if before is not None and before.key else new_join_key()
    state.save_identity(msgspec.to_builtins(Membership(address, key)))
    request = JoinRequest(token=token, name=name, kind="node", protocols=(PROTOCOL,), software=__version__, key=key)
    reply = join(address, request, default_port=CLUSTER_PORT)
    state.save_identity(msgspec.to_builtins(Membership(address, "", reply)))
    return reply


def leave_cluster(state: State) -> str:
    """Tell the cluster that this node is gone for good, and forget it; the cluster's name. Raises as `join_cluster`."""
    known = membership_in(state)
    if known is None or known.reply is None:
        raise InvalidInput("", "this node has not joined a cluster")
    leave(known.address, known.reply, default_port=CLUSTER_PORT)
    state.save_identity(None)
    state.save_assignment(None)
    return known.reply.parent_name
