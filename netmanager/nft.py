"""The program `nft`: one transaction in, all that our table holds out."""

from __future__ import annotations

import subprocess
from typing import Any

import msgspec

from mangrove.base.errors import Unavailable
from netmanager.ruleset import Seen, read
from netmanager.situation import PREFIX

#: Seconds for one transaction. The largest measured, a table of 1,000 services anew on a busy machine, took 0.5.
_PATIENCE = 30.0
#: Docker's chain for rules of others, and by what ours are known there.
_DOCKERS, _COMMENT = "DOCKER-USER", "mangrove"


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


def firewall() -> str:
    """Let what others' firewall forwards include ours, as far as they have a place for that; else what is in the way,
    in one line.

    Docker sets the policy of forwarding to drop, which counts for our packets too, and keeps the chain DOCKER-USER for
    the rules of others. We judge in a table of our own. Raises Unavailable.
    """
    chains: dict[tuple[str, str], dict[str, Any]] = {}
    ours: set[str] = set()
    for entry in msgspec.json.decode(_nft(["-j", "list", "ruleset"]))["nftables"]:
        if chain := entry.get("chain"):
            chains[f"{chain['family']} {chain['table']}", chain["name"]] = chain
        elif (rule := entry.get("rule")) and rule.get("comment") == _COMMENT:
            ours.add(f"{rule['family']} {rule['table']}")
    closed = [
        table for (table, _), chain in chains.items() if (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
    ]
    for table in closed:
        if (table, _DOCKERS) in chains and table not in ours:
            run(
                "".join(
                    f'insert rule {table} {_DOCKERS} {way} "{PREFIX}*" counter accept comment "{_COMMENT}"\n'
                    for way in ("iifname", "oifname")
                )
            )
            ours.add(table)
    left = [table for table in closed if table not in ours]
    return f"the firewall of this node drops what is forwarded (table {left[0]}): let {PREFIX}* through" if left else ""


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
