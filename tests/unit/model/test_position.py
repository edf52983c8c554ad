"""Distances on Earth, and the circle around several places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mangrove.model.position import Position, covering, kilometres, position_of

places = st.builds(
    Position, st.floats(-90, 90, width=32), st.floats(-180, 180, width=32), st.floats(0, 10_000, width=32)
)


def test_known_distances() -> None:
    munich, berlin, sydney = Position(48.137, 11.575), Position(52.520, 13.405), Position(-33.869, 151.209)
    assert kilometres(munich, berlin) == pytest.approx(504, abs=2)
    assert kilometres(munich, sydney) == pytest.approx(16_300, abs=60)
    assert kilometres(Position(0, 179.5), Position(0, -179.5)) == pytest.approx(111.2, abs=0.1)
    assert kilometres(Position(90, 0), Position(-90, 0)) == pytest.approx(20_015, abs=1)


@given(st.lists(places, max_size=6))
def test_the_circle_around_several_places_holds_them_all(found: list[Position]) -> None:
    circle = covering(found)
    assert (circle is None) == (not found)
    for each in found:
        assert circle is not None
        assert 1000 * kilometres(circle, each) + each.radius <= circle.radius + 1e-3
    assert covering(found[::-1]) == circle


@pytest.mark.parametrize("text", ["", "here", "1", "1,2,3,4", "91,0", "0,181", "0,0,-1", "nan,0", "0,inf"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        position_of(text)


def test_places_are_read() -> None:
    assert position_of("48.1, 11.5") == Position(48.1, 11.5)
    assert position_of("-48.1,11.5,200") == Position(-48.1, 11.5, 200.0)
