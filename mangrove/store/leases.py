"""Who may hold a lease: the rules, without a store."""

from __future__ import annotations

from mangrove.store.interface import Lease, StaleLease


def taken(held: Lease | None, name: str, holder: str, counter_seen: int | None, above: int = 0) -> Lease | None:
    """The lease as `holder` gets it, or None when it stays with whom it is; `held`: as it stands now.

    The counter rises at each take-over, too, so that a second watcher sees that it moved. above: its term is higher.
    """
    if held is None:
        return Lease(name, holder, term=above + 1, counter=1)
    if held.holder == holder or held.counter == counter_seen:
        return Lease(name, holder, max(held.term, above) + 1, held.counter + 1)
    return None


def renewed(held: Lease | None, lease: Lease) -> Lease | None:
    """The lease with its counter raised, or None when `lease` is over."""
    if held is None or not _same_term(held, lease):
        return None
    return Lease(held.name, held.holder, held.term, held.counter + 1)


def check(held: Lease | None, lease: Lease) -> None:
    """Raises StaleLease unless `lease` is of the term that stands now."""
    if held is None or not _same_term(held, lease):
        now = "nobody" if held is None else f"{held.holder} in term {held.term}"
        raise StaleLease(
            f"lease {lease.name}: term {lease.term} of {lease.holder} is over, it is held by {now}; "
            "acquire it anew before writing"
        )


def _same_term(held: Lease, lease: Lease) -> bool:
    return held.term == lease.term and held.holder == lease.holder
