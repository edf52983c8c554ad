"""What a node's engine, and people on the node, say to its netmanager over a Unix socket: one JSON request, one answer.

State comes by the plan's file; the socket only says that it changed, and is where an instance gets its interface.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: In the folder that an engine shares with its netmanager: the plan, the socket, and what instances get as resolv.conf.
PLAN, SOCKET, RESOLV = "plan.json", "netmanager.sock", "resolv.conf"

#: Seconds to wait for an answer. The longest work behind one, a table of thousands of services anew, takes one.
PATIENCE = 10.0


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """The plan's file is another one now. Answered once that has been put into effect."""


class Attach(msgspec.Struct, frozen=True, omit_defaults=True, tag="attach"):
    """Give an instance its interface. pid: of a process in its network namespace; 0: make it a namespace first.

    ipv4, ipv6: out of the node's grants; either may be empty.
    """

    attempt: str
    service: str
    number: int
    ipv4: str = ""
    ipv6: str = ""
    pid: int = 0


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Take an instance's interface away, and its namespace if it was made for it. Not there is success."""

    attempt: str


class Show(msgspec.Struct, frozen=True, omit_defaults=True, tag="show"):
    """Tell what there is: see `netmanager.view`. counters: with what went through, which takes longer to find out."""

    counters: bool = False


Request = Changed | Attach | Release | Show


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """error: empty when it was done. namespace: path of the instance's network namespace. view: for `Show`."""

    error: str = ""
    namespace: str = ""
    view: Any = None
