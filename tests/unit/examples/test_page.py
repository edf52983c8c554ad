"""The board's page says what there is to say, and shows nothing that was sent as if it were its own."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from examples.pulse.analyst import Analyst
from examples.pulse.page import HEIGHT, WIDTH, render, sparkline
from examples.pulse.service import Request

EVIL = "<script>alert(1)</script>"


def summary(**figures: list[float]) -> dict[str, Any]:
    analyst = Analyst()
    for second, values in enumerate(zip(*figures.values(), strict=True)):
        sample = {"time": 1.8e9 + second, "values": dict(zip(figures, values, strict=True))}
        analyst.take(Request(body=json.dumps({"source": "node-1", "samples": [sample]}).encode()))
    return {"board": "board-1", "age": 0.0, **analyst.summary(Request())}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def tags(html: str) -> list[str]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def test_every_series_has_its_row_and_its_curve() -> None:
    html = render(summary(cpu=[1.0, 5.0, 3.0], load=[0.5, 0.5, 0.5]))
    assert tags(html).count("svg") == 2
    assert "node-1" in html
    assert "3.0 %" in html
    assert "Board board-1" in html


def test_before_any_sample_and_without_an_analyst_it_says_so() -> None:
    assert "No sensor has sent anything yet" in render(summary())
    assert "the analyst is away" in render({"board": "b", "problem": "the analyst is away"})


def test_nothing_is_taken_for_markup() -> None:
    known = summary(cpu=[1.0] * 40 + [99.0])
    known["sources"][EVIL] = known["sources"]["node-1"]
    known["sources"]["node-1"]["metrics"][EVIL] = known["sources"]["node-1"]["metrics"]["cpu"]
    known["unusual"][0]["source"] = EVIL
    known["board"] = known["instance"] = EVIL
    assert "script" not in tags(render(known))
    assert "script" not in tags(render({"board": EVIL, "problem": EVIL}))


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0], [-1e9, 0.0, 1e9], [float(n % 7) for n in range(60)]])
def test_a_curve_stays_within_its_picture(values: list[float]) -> None:
    drawn = re.search(r"points='([^']+)'", sparkline(values, "label"))
    assert drawn is not None
    points = [tuple(map(float, point.split(","))) for point in drawn[1].split()]
    assert len(points) == len(values)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
