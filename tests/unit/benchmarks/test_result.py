"""Figures of benchmarks: judged, spread out and shown as they are."""

from __future__ import annotations

import pytest

from benchmarks.result import Figure, Result, spread, table


@pytest.mark.parametrize(
    ("value", "goal", "verdict"), [(1.0, None, ""), (299.9, 300, "met"), (300, 300, "met"), (300.1, 300, "MISSED")]
)
def test_a_figure_meets_its_goal_up_to_the_goal_itself(value: float, goal: float | None, verdict: str) -> None:
    assert Figure("time", value, "ms", goal).verdict == verdict


def test_a_spread_tells_median_and_95th_percentile_in_milliseconds() -> None:
    times = [number / 1000 for number in range(101)]  # 0 to 100 ms
    median, late = spread("deploy", times, p50=50, p95=90)

    assert median.value == pytest.approx(50)
    assert (median.unit, median.verdict) == ("ms", "met")
    assert median.note == "quartiles 25 and 75, n = 101"
    assert late.value == pytest.approx(95)
    assert late.verdict == "MISSED"
    assert late.note == "0 to 100"


def test_one_value_is_its_own_spread() -> None:
    assert [figure.value for figure in spread("deploy", [0.25])] == [250, 250]


def test_a_table_is_markdown_with_conditions_figures_and_goals() -> None:
    figures = (Figure("lost", 0, "", 0), Figure("time", 12.345, "s", 5, "quartiles 1 and 2"))
    shown = table(Result("burst", "many at once", ("on one machine",), figures))

    lines = [[cell.strip() for cell in line.split("|")] for line in shown.splitlines()]
    assert lines[0] == ["### burst: many at once"]
    assert ["- on one machine"] in lines
    assert ["", "lost", "0", "≤ 0", "met", "", ""] in lines
    assert ["", "time", "12.3 s", "≤ 5 s", "MISSED", "quartiles 1 and 2", ""] in lines
