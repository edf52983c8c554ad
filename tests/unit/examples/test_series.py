"""A series' statistics agree with the textbook's, in bounded memory, and what is unusual stands out."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.pulse.series import WARM_UP, WINDOW, Series


def fed(values: list[float]) -> Series:
    series = Series()
    for second, value in enumerate(values):
        series.add(float(second), value)
    return series


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=60))
def test_mean_and_deviation_are_those_of_all_figures(values: list[float]) -> None:
    series = fed(values)
    scale = max(abs(value) for value in values) + 1
    assert series.mean == pytest.approx(statistics.fmean(values), abs=1e-9 * scale)
    assert series.deviation == pytest.approx(statistics.stdev(values), abs=1e-6 * scale)


def test_only_a_window_is_kept_but_all_are_counted() -> None:
    series = fed([float(number) for number in range(WINDOW + 100)])
    assert len(series.points) == WINDOW
    assert series.points[0] == (100.0, 100.0)
    assert series.count == WINDOW + 100


def test_the_moving_mean_follows_and_the_mean_of_all_does_not() -> None:
    series = fed([10.0] * 200 + [50.0] * 200)
    assert series.moving_mean == pytest.approx(50, abs=0.5)
    assert series.mean == pytest.approx(30)


def test_a_jump_is_unusual_and_noise_is_not() -> None:
    noise = random.Random(7)
    series = Series()
    assert not any(series.add(float(second), noise.gauss(20, 2)) for second in range(1000))
    assert series.add(1000.0, 60.0)
    assert series.z > 10
    assert series.unusual == 1


def test_nothing_is_unusual_before_there_is_something_to_compare_with() -> None:
    series = Series()
    assert not any(series.add(float(second), 10.0**second) for second in range(8))
    assert series.z == 0
    assert WARM_UP > 8


@pytest.mark.parametrize("level", [0.0, 40.0, -3e6])
def test_what_never_moves_has_a_distance_too(level: float) -> None:
    series = fed([level] * 100)
    assert series.z == 0
    assert not series.add(100.0, level * 1.01)  # a hundredth more is no surprise
    assert series.add(101.0, level + abs(level) + 1)
