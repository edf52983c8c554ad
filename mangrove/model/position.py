"""Where things stand on Earth, and how far apart they are."""

from __future__ import annotations

import math

import msgspec

#: Kilometres; the mean radius of the Earth (IUGG).
EARTH = 6371.0


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where something stands. Degrees, and metres of radius."""

    latitude: float
    longitude: float
    radius: float = 0.0


def position_of(text: str) -> Position:
    """`48.1,11.5` or `48.1,11.5,100` (metres) as a position. Raises ValueError with the way out."""
    try:
        latitude, longitude, *radius = (float(part) for part in text.split(","))
        position = Position(latitude, longitude, *radius)
    except (ValueError, TypeError):
        raise ValueError("is not LATITUDE,LONGITUDE or LATITUDE,LONGITUDE,METRES") from None
    if not on_earth(position):
        raise ValueError("is not on Earth: latitude -90 to 90, longitude -180 to 180")
    return position


def on_earth(position: Position) -> bool:
    """Whether there is such a place; not for NaN."""
    return -90 <= position.latitude <= 90 and -180 <= position.longitude <= 180 and 0 <= position.radius < 5e7


def kilometres(one: Position, other: Position) -> float:
    """The great-circle distance of two positions by the haversine formula, their radii left out."""
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    half = math.radians(other.longitude - one.longitude) / 2
    root = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(half) ** 2
    return 2 * EARTH * math.asin(math.sqrt(min(1.0, root)))


def covering(positions: list[Position]) -> Position | None:
    """A circle that holds all of these, or None when there are none: around the mean of them as points on a ball."""
    found = sorted(set(positions), key=lambda each: (each.latitude, each.longitude, each.radius))
    if len(found) <= 1:
        return found[0] if found else None
    x = y = z = 0.0
    for each in found:
        latitude, longitude = math.radians(each.latitude), math.radians(each.longitude)
        x += math.cos(latitude) * math.cos(longitude)
        y += math.cos(latitude) * math.sin(longitude)
        z += math.sin(latitude)
    # Rounded, so that the same nodes are the same circle whatever the order: some metres, which the radius makes good.
    latitude, longitude = math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))
    centre = Position(round(latitude, 4), round(longitude, 4))
    return msgspec.structs.replace(
        centre, radius=math.ceil(max(1000 * kilometres(centre, each) + each.radius for each in found))
    )
