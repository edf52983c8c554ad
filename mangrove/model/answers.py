"""What the HTTP APIs of root and cluster answer alike, for servers and clients."""

from __future__ import annotations

import msgspec


class AdoptedInstance(msgspec.Struct, frozen=True):
    """What runs, and a store that was brought back did not know.

    id: of the attempt; name: `application.service.number`; child: name of the cluster or node that has it; since:
    wall-clock seconds; dropped: it is being stopped.
    """

    id: str
    name: str
    child: str
    service: str
    number: int
    since: float
    dropped: bool
