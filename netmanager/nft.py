"""The program `nft`: one transaction in, all that our table holds out."""

from __future__ import annotations

import subprocess

import msgspec

from mangrove.base.errors import Unavailable
from netmanager.ruleset import Seen, read

#: Seconds for one transaction. The largest measured, a table of 1,000 services anew on a busy machine, took 0.5.
_PATIENCE = 30.0


def run(transaction: str) -> None:
    """Apply all of it or nothing. Raises Unavailable with what nft says."""
    _nft(["-f", "-"], transaction)


def seen(table: str) -> Seen:
    """What the table holds; empty when it is not there or cannot be understood. Raises Unavailable."""
    try:
        return read(msgspec.json.decode(_nft(["-j", "list", "table", *table.split()])))
    except (Unavailable, ValueError):
        _nft(["-j", "list", "tables"])
        return Seen()


def counters(table: str) -> dict[str, int]:
    """Connections that went through each chain with a counter."""
    found: dict[str, int] = {}
    listed = msgspec.json.decode(_nft(["-j", "list", "table", *table.split()]))
    for entry in listed["nftables"]:
        if rule := entry.get("rule"):
            for part in rule["expr"]:
                if isinstance(part, dict) and isinstance(counter := part.get("counter"), dict):
                    found[rule["chain"]] = found.get(rule["chain"], 0) + counter["packets"]
    return found


def remove(table: str) -> None:
    run(f"table {table}\ndelete table {table}\n")


def _nft(arguments: list[str], given: str = "") -> str:
    try:
        done = subprocess.run(
            ["nft", *arguments], input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except FileNotFoundError:
        raise Unavailable("there is no nft on this node: install nftables (apt-get install nftables)") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"nft gave no answer in {_PATIENCE:.0f} s") from None
    if done.returncode:
        raise Unavailable(f"nft: {done.stderr.strip()[:500] or f'exit code {done.returncode}'}")
    return done.stdout
