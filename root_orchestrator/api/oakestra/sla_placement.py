"""What an SLA says about where to run: constraints (hard) and preferences (soft), as the model has them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import get_args

from mangrove.base.errors import InvalidInput
from mangrove.model.position import Position, position_of
from mangrove.model.specification import Constraint, Operator, Preference
from mangrove.model.validation import shown
from mangrove.placement.scorers import known_names
from root_orchestrator.api.oakestra import sla_form as form
from root_orchestrator.api.oakestra.sla_contradictions import refuse_contradiction

#: Names that nodes, clusters, labels and add-ons can have; none is longer than an option of the node takes.
_NAME = re.compile(r"[^\s;=\x00-\x1f\x7f]{1,200}")
_COMPARISONS = ("lt", "le", "gt", "ge")
#: Beyond this a preference is a constraint; ten thousand times another one is more than anybody means.
_WEIGHT = 10_000.0


def constraints_of(wishes: Sequence[form.Constraint], path: str) -> tuple[Constraint, ...]:
    """All constraints that ask for something. Raises InvalidInput."""
    found = []
    for index, wish in enumerate(wishes):
        one = constraint_of(wish, f"{path}[{index}]")
        if one is not None:
            found.append(one)
            refuse_contradiction(found, f"{path}[{index}]")
    return tuple(found)


def constraint_of(wish: form.Constraint, path: str) -> Constraint | None:
    """A constraint, or None when it asks for nothing. Raises InvalidInput."""
    read = _READERS.get(wish.type)
    if read is None:
        known = ", ".join(f"`{name}`" for name in _READERS)
        raise InvalidInput(f"{path}.type", f"{shown(wish.type)} is no known constraint; there are {known}")
    return read(wish, path)


def preference_of(wish: form.Preference, path: str) -> Preference:
    """A preference. Raises InvalidInput."""
    if wish.by not in known_names():
        raise InvalidInput(f"{path}.by", f"{shown(wish.by)} is no known scorer; there are {', '.join(known_names())}")
    if not (math.isfinite(wish.weight) and 0 < abs(wish.weight) <= _WEIGHT):
        raise InvalidInput(f"{path}.weight", f"is {shown(wish.weight)}; choose a number up to {_WEIGHT:g}, not 0")
    if wish.by == "labels" or wish.key:
        _checked([wish.key], f"{path}.key")
    if wish.by in ("affinity", "anti_affinity") and not wish.services:
        raise InvalidInput(f"{path}.services", "is empty; name services as application.namespace.service.namespace")
    names = wish.services or wish.values
    _checked(names, f"{path}.services" if wish.services else f"{path}.values")
    return Preference(wish.by, wish.weight, wish.key, tuple(names), _place(wish.location, f"{path}.location"))


def _direct(wish: form.Constraint, path: str) -> Constraint | None:
    cluster, node = ";".join(_listed(wish.cluster)), ";".join(_listed(wish.node))
    return Constraint("direct", cluster, node) if cluster or node else None


def _clusters(wish: form.Constraint, path: str) -> Constraint | None:
    names = [name for text in wish.allowed for name in _listed(text)]
    return Constraint("clusters", names=tuple(names)) if names else None


def _addons(wish: form.Constraint, path: str) -> Constraint | None:
    return Constraint("addons", names=_checked(wish.needs, f"{path}.needs")) if wish.needs else None


def _label(wish: form.Constraint, path: str) -> Constraint:
    operator, values = wish.operator or "in", wish.values
    _checked([wish.key], f"{path}.key")
    if operator not in get_args(Operator):
        known = ", ".join(get_args(Operator))
        raise InvalidInput(f"{path}.operator", f"{shown(operator)} is no operator; there are {known}")
    if operator in ("exists", "not_exists") and values:
        raise InvalidInput(f"{path}.values", f"{operator} compares with nothing; leave it empty, or use in or not_in")
    if operator in ("in", "not_in") and not values:
        raise InvalidInput(f"{path}.values", "is empty; write the values of the label to compare with")
    if operator in _COMPARISONS and (len(values) != 1 or not _is_number(values[0])):
        raise InvalidInput(f"{path}.values", f'is {shown(values)}; {operator} compares with one number, such as ["4"]')
    return Constraint("label", key=wish.key, operator=operator, names=tuple(values))  # type: ignore[arg-type]


def _tolerates(wish: form.Constraint, path: str) -> Constraint:
    _checked([wish.key], f"{path}.key")
    return Constraint("tolerates", key=wish.key, names=tuple(wish.values))


def _per_node(wish: form.Constraint, path: str) -> Constraint:
    if not (1 <= wish.threshold <= 100_000 and wish.threshold == int(wish.threshold)):
        raise InvalidInput(
            f"{path}.threshold", f"is {shown(wish.threshold)}; write how many may be on one node, from 1"
        )
    return Constraint("per_node", threshold=wish.threshold)


def _geo(wish: form.Constraint, path: str) -> Constraint:
    return _where("geo", wish, path, "km", least=0.0)


def _latency(wish: form.Constraint, path: str) -> Constraint:
    place = _where("latency", wish, path, "ms", least=0.001)
    if not wish.service:
        return place
    if place.key or place.position is not None:
        raise InvalidInput(f"{path}.service", "stands beside a location or an area; write two constraints instead")
    return Constraint("latency", names=_checked([wish.service], f"{path}.service"), threshold=wish.threshold)


def _where(type: str, wish: form.Constraint, path: str, unit: str, least: float) -> Constraint:
    position = _place(wish.location, f"{path}.location")
    area = wish.area
    if position is None and "," in area:  # coordinates, as Oakestra's clusters have them
        position, area = _place(area, f"{path}.area"), ""
    if position is None and not area and type == "geo":
        raise InvalidInput(f"{path}.location", "is missing; write LATITUDE,LONGITUDE, or name an `area`")
    if area:
        _checked([area], f"{path}.area")
    least = least if position is not None or type == "latency" else 0.0  # an area has no threshold
    if not least <= wish.threshold <= 1e6:
        raise InvalidInput(f"{path}.threshold", f"is {shown(wish.threshold)}; write a number of {unit}, up to 1000000")
    return Constraint(type, key="" if position is not None else area, position=position, threshold=wish.threshold)


_READERS: dict[str, Callable[[form.Constraint, str], Constraint | None]] = {
    "direct": _direct,
    "clusters": _clusters,
    "geo": _geo,
    "latency": _latency,
    "addons": _addons,
    "label": _label,
    "tolerates": _tolerates,
    "per_node": _per_node,
}


def _place(text: str, path: str) -> Position | None:
    if not text.strip():
        return None
    try:
        return position_of(text)
    except ValueError as error:
        raise InvalidInput(path, f"{shown(text)} {error}") from None


def _checked(names: Sequence[str], path: str) -> tuple[str, ...]:
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidInput(path, f"{shown(name)} is no name; write 1 to 200 characters without spaces, `;` and `=`")
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _listed(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(";")) if name]
