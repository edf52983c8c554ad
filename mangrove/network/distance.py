"""How far apart two nodes are, where nobody has measured it."""

from __future__ import annotations

from mangrove.model.position import Position, kilometres

#: Milliseconds there and back that any other node is away, and any of another cluster: a hop in a local network, and
#: the way out of a site and into another one.
_NEXT, _ELSEWHERE = 0.5, 10.0
#: Kilometres that light in glass makes there and back in a millisecond.
_KILOMETRES = 100.0


def milliseconds(here: Position | None, there: Position | None, *, remote: bool) -> float:
    """An estimate of a round trip, to a tenth; remote: to another cluster."""
    far = kilometres(here, there) / _KILOMETRES if here is not None and there is not None else 0.0
    return round((_ELSEWHERE if remote else _NEXT) + far, 1)
