"""Things by the names that people give them, besides their ids.

| what | how it may be named |
|---|---|
| application | its name; `name.namespace`; its id, or the beginning of that |
| service | `application.service`; its name alone where only one has it; its id, or the beginning of that |
| instance | a service as above, and the number: `application.service.3` |
| cluster, node | its name, its id, or the beginning of that; a node also as `cluster.node` |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mangrove.base.errors import Conflict, NotFound
from mangrove.base.nearest import nearest
from mangrove.client.documents import Application, Cluster, Instance, Node, Service
from mangrove.client.root import RootClient

#: Characters of an id that are enough to mean it: with fewer, names such as `bed` would be taken for ids.
_SHORTEST = 4

#: Candidates that a message names.
_SHOWN = 6

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Named(Generic[_Thing]):
    """A thing with all it is called. full: what it is shown as; others: further names."""

    thing: _Thing
    id: str
    full: str
    others: tuple[str, ...] = ()


def choose(noun: str, text: str, things: Iterable[Named[_Thing]]) -> _Thing:
    """The one that is meant. Raises NotFound with the nearest names, Conflict with the candidates."""
    known = list(things)
    found = [each for each in known if text in (each.full, each.id, *each.others)]
    if not found and len(text) >= _SHORTEST and re.fullmatch(r"[0-9a-f]+", text):
        found = [each for each in known if each.id.startswith(text)]
    if not found:
        raise NotFound(f"there is no {noun} {text!r}{nearest(text, _words(known, text))}")
    if len(found) > 1:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        candidates = ", ".join(f"{each.full} ({each.id[:12]})" for each in found[:_SHOWN])
        raise Conflict(f"{text!r} may be any of {candidates}{more}: name it in full, or by the beginning of its id")
    return found[0].thing


def _words(known: Iterable[Named[_Thing]], text: str) -> list[str]:
    """Names in the form in which the wrong one was given."""
    if "." in text:
        return [each.full for each in known]
    return [next((name for name in each.others if "." not in name), each.full) for each in known]


def application(root: RootClient, text: str) -> Application:
    """The application that is named so. Raises NotFound, Conflict."""
    things = (Named(each, each.id, each.name, (f"{each.name}.{each.namespace}",)) for each in root.applications())
    return choose("application", text, things)


def service(root: RootClient, text: str) -> Service:
    """The service that is named so. Raises NotFound, Conflict."""
    return choose("service", text, _services(root))


def _services(root: RootClient) -> list[Named[Service]]:
    applications = {each.id: each for each in root.applications()}
    found = []
    for each in root.services():
        parent = applications.get(each.application)
        names: tuple[str, ...] = (each.name,)
        full = each.name
        if parent is not None:
            full = f"{parent.name}.{each.name}"
            names = (each.name, f"{parent.name}.{parent.namespace}.{each.name}.{each.namespace}")
        found.append(Named(each, each.id, full, names))
    return found


def instance(root: RootClient, text: str) -> Instance:
    """The instance that is named so, with its history. Raises NotFound, Conflict."""
    of, dot, number = text.rpartition(".")
    if not dot or not number.isdecimal() or len(number) > 9:
        raise NotFound(f"there is no instance {text!r}: name it as application.service.0, with its number")
    found = service(root, of)
    try:
        return root.instance(f"{found.id}.{int(number)}")
    except NotFound:
        numbers = ", ".join(str(each.number) for each in root.service(found.id).instances) or "none"
        raise NotFound(f"there is no instance {number} of {of} (there is {numbers})") from None


def cluster(root: RootClient, text: str) -> Cluster:
    """The cluster that is named so. Raises NotFound, Conflict."""
    return choose("cluster", text, (Named(each, each.id, each.name) for each in root.clusters()))


def node(root: RootClient, text: str) -> Node:
    """The node that is named so. Raises NotFound, Conflict."""
    things = (Named(each, each.id, f"{each.cluster.name}.{each.name}", (each.name,)) for each in root.nodes())
    return choose("node", text, things)
