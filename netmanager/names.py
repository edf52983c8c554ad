"""What a name leads to, for who asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mangrove.network.plan import ServiceEntry
from netmanager.situation import FAMILIES, Family, Situation

#: Under which all names of ours are too. `.internal` is reserved for private use (ICANN, 2024).
SUFFIX = "mangrove.internal"


class Names:
    """The names of one situation."""

    def __init__(self, situation: Situation) -> None:
        self._services: dict[tuple[str, str], list[ServiceEntry]] = {}
        for entry in situation.plan.services.values():
            name = entry.name.lower(), entry.application_name.lower()
            self._services.setdefault(name, []).append(entry)
        self._askers = {
            it.address(family): situation.plan.services.get(it.service)
            for it in situation.attached.values()
            for family in FAMILIES
            if it.address(family)
        }
        self._situation = situation

    def lookup(self, name: str, family: Family | None, asker: str) -> list[str] | None:
        """Addresses of `name` for who asks from `asker` (an address); family: None for a question about neither.

        An empty list: the name is there and has none of that kind. None: nothing of ours has that name.
        """
        labels = name.lower().rstrip(".").removesuffix("." + SUFFIX).split(".")
        number: int | None = None
        if len(labels) == 3 and labels[0].isascii() and labels[0].isdecimal() and len(labels[0]) < 10:
            number, labels = int(labels[0]), labels[1:]
        if len(labels) != 2:
            return None
        entries = list(self._seen(asker, (labels[0], labels[1])))
        if len(entries) != 1:
            return None
        if family is None:
            return []
        if number is not None:
            targets = self._situation.targets(entries[0].service, family)
            return [target.address for target in targets if target.number == number][:1]
        wanted = [it for it in entries[0].addresses if (":" in it.address) == (family == 6)]
        return [it.address for it in wanted if it.policy != "instance"][:1] or [it.address for it in wanted]

    def _seen(self, asker: str, name: tuple[str, str]) -> Iterator[ServiceEntry]:
        """Services of that name that the asker may reach; the node itself may reach all."""
        known = asker in self._askers
        own = self._askers.get(asker)
        for entry in self._services.get(name, ()):
            if not known or (own is not None and own.may_reach(entry)):
                yield entry


def is_ours(name: str) -> bool:
    """Whether a name is never to be asked of others."""
    name = name.lower().rstrip(".")
    return name == SUFFIX or name.endswith("." + SUFFIX)
