"""What a node's operator says of it by options of the program: for placement, and nothing that could be measured."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.model.child import Capacity
from mangrove.model.position import Position, position_of
from mangrove.model.resources import Counted, counted

#: A name as it may stand in labels, taints, add-ons: what an SLA can write too.
_NAME = re.compile(r"[^\s;=\x00-\x1f\x7f]{1,200}")
_RESOURCE = re.compile(r"[a-z][a-z0-9._-]{0,62}")
#: Of each kind: a parent believes no more of one child.
_MOST = 64


@dataclass(frozen=True, slots=True)
class Declared:
    """Labels, taints (`key` or `key=value`), add-ons, counted things and a position."""

    labels: dict[str, str]
    taints: tuple[str, ...] = ()
    addons: tuple[str, ...] = ()
    counted: tuple[Counted, ...] = ()
    position: Position | None = None

    def told(self, measured: Capacity) -> Capacity:
        """What was measured, with what is declared."""
        return msgspec.structs.replace(
            measured,
            allocatable=msgspec.structs.replace(measured.allocatable, counted=self.counted),
            labels=self.labels,
            taints=self.taints,
            addons=tuple(sorted({*measured.addons, *self.addons})),
            position=self.position,
        )


def add_options(options: argparse.ArgumentParser) -> None:
    """The options that `declared_in` reads."""
    options.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="for placement; repeatable")
    options.add_argument(
        "--taint",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="run only what tolerates this; repeatable",
    )
    options.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=COUNT",
        help="something else to give out, such as tpu=2 or bandwidth_in=100000 (kbit/s); repeatable",
    )
    options.add_argument("--addon", action="append", default=[], metavar="NAME", help="what it offers; repeatable")
    options.add_argument(
        "--location", default="", metavar="LAT,LON[,METRES]", help="where it stands (where its cluster does)"
    )


def declared_in(options: argparse.Namespace) -> Declared:
    """What the options say. Raises InvalidInput."""
    try:
        position = position_of(options.location) if options.location else None
    except ValueError as error:
        raise InvalidInput("--location", f"{options.location[:80]!r} {error}") from None
    return Declared(
        labels_of(options.label),
        _names("--taint", options.taint, with_value=True),
        _names("--addon", options.addon),
        resources_of(options.resource),
        position,
    )


def labels_of(texts: list[str]) -> dict[str, str]:
    """`KEY=VALUE` each. Raises InvalidInput."""
    labels = {}
    for text in _few("--label", texts):
        key, equals, value = text.partition("=")
        if not key or not equals or len(text) > 200:
            raise InvalidInput("--label", f"{text[:80]!r} is not KEY=VALUE of at most 200 characters")
        labels[key] = value
    return labels


def resources_of(texts: list[str]) -> tuple[Counted, ...]:
    """`NAME=COUNT` each. Raises InvalidInput."""
    amounts: dict[str, int] = {}
    for text in _few("--resource", texts):
        name, _, count = text.partition("=")
        if not _RESOURCE.fullmatch(name) or not count.isdecimal() or len(count) > 12:
            raise InvalidInput("--resource", f"{text[:80]!r} is not NAME=COUNT, such as tpu=2")
        amounts[name] = int(count)
    return counted(amounts)


def _names(option: str, texts: list[str], *, with_value: bool = False) -> tuple[str, ...]:
    for text in _few(option, texts):
        key, equals, _ = text.partition("=")
        if not _NAME.fullmatch(key) or len(text) > 200 or (equals and not with_value):
            form = "KEY or KEY=VALUE" if with_value else "a name"
            raise InvalidInput(option, f"{text[:80]!r} is not {form} of at most 200 characters without spaces")
    return tuple(sorted(set(texts)))


def _few(option: str, texts: list[str]) -> list[str]:
    if len(texts) > _MOST:
        raise InvalidInput(option, f"is given {len(texts)} times; at most {_MOST} are told to the cluster")
    return texts
