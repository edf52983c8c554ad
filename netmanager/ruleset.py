"""A table of nftables as data: what it holds, and what has to be said to `nft` to get from one to another.

What the kernel holds is read as JSON. It gives rules back in words of its own, so each rule carries the digest of ours
as its comment, and that is compared.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mangrove.base.digest import digest_of

#: Elements in one statement: more make lines that nft parses slowly, fewer more lines.
_BATCH = 500


@dataclass(frozen=True)
class Chain:
    """hook: what makes it a base chain, such as `type nat hook output priority -100; policy accept;`, or empty."""

    rules: tuple[str, ...]
    hook: str = ""

    @cached_property
    def comments(self) -> tuple[str, ...]:
        """Of each rule. Worked out once: most chains stay as they are through thousands of changes."""
        return tuple(map(comment_of, self.rules))


@dataclass(frozen=True, slots=True)
class Collection:
    """A set or a map. kind: `set` or `map`. type: such as `ipv4_addr : verdict`. elements: in nft's words."""

    kind: str
    type: str
    elements: frozenset[str] = frozenset()
    intervals: bool = False


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All of our table."""

    collections: Mapping[str, Collection] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)


def comment_of(rule: str) -> str:
    """By which a rule is known again; 12 hexadecimal digits."""
    return digest_of(rule)[:12]


def whole(table: str, wanted: Ruleset) -> str:
    """The transaction that replaces the table, whatever it is now, by what is wanted."""
    lines = [f"table {table}", f"delete table {table}", f"table {table}"]
    return "\n".join([*lines, *_make(table, wanted, Seen())]) + "\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is in the kernel. chains: by name, the comments of their rules."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    collections: Mapping[str, Collection] = field(default_factory=dict)


def seen_of(wanted: Ruleset) -> Seen:
    """What is seen after `wanted` was applied."""
    return Seen(
        {name: chain.comments for name, chain in _chains(wanted).items()},
        wanted.collections,
    )


def changes(table: str, seen: Seen, wanted: Ruleset) -> str:
    """The transaction that makes `wanted` of what is seen; empty when that is the same already."""
    same_types = all(
        _form(seen.collections[name]) == _form(collection)
        for name, collection in wanted.collections.items()
        if name in seen.collections
    )
    if not same_types or _layout(wanted) not in seen.chains:
        return whole(table, wanted)
    lines = [*_make(table, wanted, seen), *_unmake(table, wanted, seen)]
    return "\n".join(lines) + "\n" if lines else ""


def _layout(wanted: Ruleset) -> str:
    """Name of an empty chain that is there when the hooks are what they are to be: a hook can only be made anew."""
    hooks = sorted(f"{name} {chain.hook}" for name, chain in wanted.chains.items() if chain.hook)
    return f"layout_{comment_of(' '.join(hooks))}"


def _form(collection: Collection) -> tuple[str, str, bool]:
    return collection.kind, collection.type, collection.intervals


def _chains(wanted: Ruleset) -> Mapping[str, Chain]:
    return {_layout(wanted): Chain(()), **wanted.chains}


def _make(table: str, wanted: Ruleset, seen: Seen) -> Iterator[str]:
    """First what others refer to, then who does."""
    for name, chain in _chains(wanted).items():
        if name not in seen.chains:
            yield f"add chain {table} {name}" + (f" {{ {chain.hook} }}" if chain.hook else "")
    for name, collection in wanted.collections.items():
        if name not in seen.collections:
            flags = " flags interval;" if collection.intervals else ""
            yield f"add {collection.kind} {table} {name} {{ type {collection.type};{flags} }}"
    for name, collection in wanted.collections.items():
        before = seen.collections[name].elements if name in seen.collections else frozenset()
        yield from _elements("delete", table, name, before - collection.elements, keys=collection.kind == "map")
        yield from _elements("add", table, name, collection.elements - before)
    for name, chain in wanted.chains.items():
        if seen.chains.get(name, ()) == chain.comments:
            continue
        if name in seen.chains:
            yield f"flush chain {table} {name}"
        for rule, comment in zip(chain.rules, chain.comments, strict=True):
            yield f'add rule {table} {name} {rule} comment "{comment}"'


def _unmake(table: str, wanted: Ruleset, seen: Seen) -> Iterator[str]:
    """First who refers, then what is referred to."""
    gone = sorted(seen.chains.keys() - _chains(wanted).keys())
    for name in gone:
        yield f"flush chain {table} {name}"
    for name, collection in seen.collections.items():
        if name not in wanted.collections:
            yield f"delete {collection.kind} {table} {name}"
    for name in gone:
        yield f"delete chain {table} {name}"


def _elements(verb: str, table: str, name: str, elements: Iterable[str], *, keys: bool = False) -> Iterator[str]:
    """keys: whether to name elements by their keys alone, as is done to delete them from a map."""
    named = sorted(element.partition(" : ")[0] if keys else element for element in elements)
    for start in range(0, len(named), _BATCH):
        yield f"{verb} element {table} {name} {{ {', '.join(named[start : start + _BATCH])} }}"


# What `nft -j list table` says


def read(listed: Mapping[str, Any]) -> Seen:
    """What the kernel holds. Raises ValueError for an answer in another form: then the table is to be replaced."""
    chains: dict[str, list[str]] = {}
    collections: dict[str, Collection] = {}
    try:
        for entry in listed["nftables"]:
            if chain := entry.get("chain"):
                chains[chain["name"]] = []
            elif rule := entry.get("rule"):
                chains[rule["chain"]].append(rule.get("comment", ""))
            elif found := entry.get("set") or entry.get("map"):
                collections[found["name"]] = _collection(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"nft lists the table in a form that is not known: {error!r}") from error
    return Seen({name: tuple(comments) for name, comments in chains.items()}, collections)


def _collection(found: Mapping[str, Any]) -> Collection:
    keys = found["type"] if isinstance(found["type"], str) else " . ".join(found["type"])
    return Collection(
        "map" if "map" in found else "set",
        f"{keys} : {found['map']}" if "map" in found else keys,
        frozenset(_element(each) for each in found.get("elem", ())),
        intervals="interval" in found.get("flags", ()),
    )


def _element(element: Any) -> str:
    match element:
        case [key, value]:
            return f"{_element(key)} : {_element(value)}"
        case {"elem": {"val": value}}:
            return _element(value)
        case {"concat": parts}:
            return " . ".join(map(_element, parts))
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [low, high]}:
            return _range(low, high)
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case str() | int():
            return str(element)
    raise TypeError(f"element {element!r}")


def _range(low: Any, high: Any) -> str:
    """A network where it is one: nft gives some as ranges."""
    try:
        networks = list(ipaddress.summarize_address_range(ipaddress.ip_address(low), ipaddress.ip_address(high)))
    except (ValueError, TypeError):
        return f"{low}-{high}"
    return str(networks[0]) if len(networks) == 1 else f"{low}-{high}"
