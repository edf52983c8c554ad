"""Which endpoints a service's address leads to, and how nftables chooses among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from mangrove.network.plan import Readiness, ServiceAddress

#: Clients are spread over so many buckets, and these over the endpoints: with 256, endpoints' shares differ by some
#: percent, and a rule stays below 5 kB.
_BUCKETS = 256
#: Milliseconds there and back by which endpoints may differ and still count as equally close: what a busy link adds.
_AS_CLOSE = 1.0
#: Percent of a core by which endpoints may differ and still count as equally loaded: telemetry is no finer.
_AS_LOADED = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """An endpoint as one address family sees it. distance: milliseconds there and back."""

    number: int
    attempt: str
    address: str
    state: Readiness = "ready"
    load: float = 0.0
    distance: float = 0.0


def chosen(where: ServiceAddress, targets: Iterable[Target]) -> tuple[Target, ...]:
    """Where new connections to an address go, in a fixed order; empty when there is nowhere."""
    there = sorted(target for target in targets if target.state != "stopping")
    if where.policy == "instance":
        there = [target for target in there if target.number == where.number]
    there = [target for target in there if target.state == "ready"] or there
    if not there:
        return ()
    if where.policy == "closest":
        nearest = min(target.distance for target in there)
        there = [target for target in there if target.distance <= nearest + _AS_CLOSE]
    elif where.policy == "least_loaded":
        least = min(target.load for target in there)
        there = [target for target in there if target.load <= least + _AS_LOADED]
    return tuple(there)


def translation(family: str, targets: Sequence[Target], *, affinity: bool) -> str:
    """The statement that sends a new connection to one of `targets` (at least one). family: `ip` or `ip6`.

    affinity: whether a client's address decides, so that it comes to the same endpoint each time, from every node; when
    endpoints come or go, only clients of those that went, or of a fair share for the new one, go elsewhere.
    """
    if len(targets) == 1:
        return f"dnat {family} to {targets[0].address}"
    if affinity:
        owners = {bucket: max(targets, key=lambda it: _weight(it.attempt, bucket)) for bucket in range(_BUCKETS)}
        return f"dnat {family} to jhash {family} saddr mod {_BUCKETS} seed 1 map {_map(owners)}"
    return f"dnat {family} to numgen inc mod {len(targets)} map {_map(dict(enumerate(targets)))}"


def _map(targets: Mapping[int, Target]) -> str:
    return "{ " + ", ".join(f"{key} : {target.address}" for key, target in targets.items()) + " }"


def _weight(attempt: str, bucket: int) -> bytes:
    """Rendezvous hashing: the endpoint with the greatest weight has the bucket."""
    return blake2b(f"{attempt} {bucket}".encode(), digest_size=8).digest()
