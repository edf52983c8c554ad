"""A specification as the filters and scorers read it: prepared once, asked often."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from mangrove.model.specification import Constraint, Preference, Specification


class Request:
    """What one instance asks for.

    asked: amounts above zero, by key. kinds: what its reservation counts as. attributes: the mask of rows whose
    attributes pass, and up to which change of the table it is right (kept here by the engine).
    """

    __slots__ = ("asked", "attributes", "by_type", "kinds", "preferences", "seen", "specification")

    def __init__(self, specification: Specification, preferences: tuple[Preference, ...]) -> None:
        self.specification = specification
        self.asked = [(key, amount) for key, amount in specification.resources.amounts() if amount > 0]
        self.kinds = kinds_of(specification)
        self.by_type: dict[str, list[Constraint]] = {}
        for constraint in specification.constraints:
            self.by_type.setdefault(constraint.type, []).append(constraint)
        self.preferences = specification.preferences or preferences
        self.attributes: npt.NDArray[np.bool_] | None = None
        self.seen = 0


def priority_of(specification: Specification) -> int | None:
    """Above which priority others may displace an instance; None when nobody may: what ends by itself is let to, since
    elsewhere it would do its work twice."""
    return None if specification.one_shot else specification.priority


def kinds_of(specification: Specification) -> tuple[Hashable, ...]:
    """What an attempt counts as on its child: its service, its image, its host ports."""
    kinds: list[Hashable] = [("service", specification.name)]
    if specification.image:
        kinds.append(("image", specification.image))
    kinds.extend(("port", port.host, port.protocol) for port in specification.ports)
    return tuple(kinds)
