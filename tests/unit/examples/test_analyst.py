"""The analyst takes what sensors send, refuses junk by name, and stays within its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from examples.pulse import analyst as module
from examples.pulse.analyst import MAX_METRICS, MAX_SAMPLES, MAX_SOURCES, Analyst
from examples.pulse.service import Refused, Request


def send(analyst: Analyst, source: str, *values: dict[str, float], time: float = 1.8e9) -> None:
    samples = [{"time": time + second, "values": one} for second, one in enumerate(values)]
    analyst.take(Request(body=json.dumps({"source": source, "samples": samples}).encode()))


def test_samples_become_statistics() -> None:
    analyst = Analyst()
    send(analyst, "a", {"cpu": 10, "load": 1.5}, {"cpu": 20})
    summary = analyst.summary(Request())
    cpu = summary["sources"]["a"]["metrics"]["cpu"]
    assert (cpu["newest"], cpu["mean"], cpu["lowest"], cpu["highest"], cpu["count"]) == (20, 15, 10, 20, 2)
    assert cpu["recent"] == [10, 20]
    assert summary["samples"] == 2
    series = analyst.series(Request({"source": "a", "metric": "cpu"}))
    assert series["points"] == [(1.8e9, 10), (1.8e9 + 1, 20)]


def test_what_is_unusual_is_remembered_newest_first() -> None:
    analyst = Analyst()
    send(analyst, "a", *[{"cpu": 10.0 + second % 2} for second in range(60)])
    send(analyst, "a", {"cpu": 95.0}, time=1.9e9)
    send(analyst, "a", {"cpu": 1000.0}, time=2.0e9)
    unusual = analyst.summary(Request())["unusual"]
    assert [entry["value"] for entry in unusual] == [1000.0, 95.0]
    assert unusual[1]["source"] == "a"
    assert unusual[1]["z"] > 5


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ([], "object"),
        ({"samples": []}, "source"),
        ({"source": "a b", "samples": []}, "source"),
        ({"source": "x" * 101, "samples": []}, "source"),
        ({"source": "a"}, "samples"),
        ({"source": "a", "samples": {}}, "samples"),
        ({"source": "a", "samples": [{}] * (MAX_SAMPLES + 1)}, "samples"),
        ({"source": "a", "samples": [1]}, "samples[0]"),
        ({"source": "a", "samples": [{"time": 1, "values": {"cpu": 1}}, {"time": 1}]}, "samples[1]"),
        ({"source": "a", "samples": [{"values": {"cpu": 1}}]}, "samples[0].time"),
        ({"source": "a", "samples": [{"time": 1e12, "values": {}}]}, "samples[0].time"),
        ({"source": "a", "samples": [{"time": 1, "values": {"cpu": "1"}}]}, "samples[0].values.cpu"),
        ({"source": "a", "samples": [{"time": 1, "values": {"cpu": True}}]}, "samples[0].values.cpu"),
        ({"source": "a", "samples": [{"time": 1, "values": {"<b>": 1}}]}, "samples[0].values"),
        (b'{"source": "a", "samples": [{"time": 1, "values": {"cpu": NaN}}]}', "samples[0].values.cpu"),
        (b'{"source": "a", "samples": [{"time": 1, "values": {"cpu": 1e999}}]}', "samples[0].values.cpu"),
    ],
)
def test_junk_is_refused_by_name_and_changes_nothing(body: Any, named: str) -> None:
    analyst = Analyst()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as refused:
        analyst.take(Request(body=raw))
    assert refused.value.status == 400
    assert named in str(refused.value)
    assert analyst.summary(Request())["sources"] == {}


def test_a_series_that_nobody_sent_is_not_found() -> None:
    with pytest.raises(Refused, match="nothing is known of 'cpu' of 'b'") as refused:
        Analyst().series(Request({"source": "b", "metric": "cpu"}))
    assert refused.value.status == 404


def test_a_new_source_waits_while_all_are_heard_and_replaces_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    analyst = Analyst()
    for number in range(MAX_SOURCES):
        send(analyst, f"s{number}", {"cpu": 1})
    with pytest.raises(Refused, match="source") as refused:
        send(analyst, "late", {"cpu": 1})
    assert refused.value.status == 429
    monkeypatch.setattr(module, "SILENT", 0.0)
    send(analyst, "late", {"cpu": 1})
    sources = analyst.summary(Request())["sources"]
    assert len(sources) == MAX_SOURCES
    assert "late" in sources
    assert "s0" not in sources


def test_more_metrics_than_there_is_room_for_are_left_out() -> None:
    analyst = Analyst()
    send(analyst, "a", {f"m{number}": 1.0 for number in range(MAX_METRICS + 5)})
    assert len(analyst.summary(Request())["sources"]["a"]["metrics"]) == MAX_METRICS
