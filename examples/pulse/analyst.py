"""The analyst: takes samples in, keeps a window of each series with its statistics, and says what is unusual.

Environment: PORT, HOST. All it knows is in memory and bounded; after a restart it learns anew from what sensors send.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from typing import Any

from examples.pulse.series import Series
from examples.pulse.service import Refused, Request, Routes, begin, instance_name, listening, log

#: At most so many sources, metrics of each, samples in a request, and unusual figures remembered: with windows of 300
#: points about 25 MB in all.
MAX_SOURCES, MAX_METRICS, MAX_SAMPLES, MAX_UNUSUAL = 64, 12, 300, 50
#: A source silent for so many seconds gives way to a new one when there is no room.
SILENT = 60.0
#: Points of each series in the summary: enough for a small curve.
RECENT = 60
#: The largest figure, and time, taken: any byte counter fits, and calendars and squares still work.
LARGEST = 1e11

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Analyst:
    """What is known of all sources. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, dict[str, Series]] = {}
        self._heard: dict[str, float] = {}
        self._unusual: deque[dict[str, Any]] = deque(maxlen=MAX_UNUSUAL)
        self._taken = 0

    def take(self, request: Request) -> dict[str, int]:
        """Samples of one source: `{"source": name, "samples": [{"time": s, "values": {metric: number}}]}`."""
        source, samples = _parse(request.body)
        with self._lock:
            self._make_room(source)
            self._heard[source] = time.monotonic()
            for moment, values in samples:
                self._add(source, moment, values)
            self._taken += len(samples)
        return {"taken": len(samples)}

    def summary(self, _: Request) -> dict[str, Any]:
        """Of every series its statistics and its newest points, and what was unusual lately, newest first."""
        with self._lock:
            now = time.monotonic()
            sources = {
                source: {
                    "silent_for": round(now - self._heard[source], 1),
                    "metrics": {metric: _describe(series) for metric, series in sorted(of_source.items())},
                }
                for source, of_source in sorted(self._series.items())
            }
            return {
                "instance": instance_name(),
                "samples": self._taken,
                "sources": sources,
                "unusual": list(reversed(self._unusual)),
            }

    def series(self, request: Request) -> dict[str, Any]:
        """All points kept of one series: `?source=…&metric=…`."""
        source, metric = request.query.get("source", ""), request.query.get("metric", "")
        with self._lock:
            series = self._series.get(source, {}).get(metric)
            if series is None:
                raise Refused(f"source, metric: nothing is known of {metric!r} of {source!r}", 404)
            return {"source": source, "metric": metric, "points": list(series.points)}

    def _add(self, source: str, moment: float, values: dict[str, float]) -> None:
        of_source = self._series.setdefault(source, {})
        for metric, value in values.items():
            if metric not in of_source and len(of_source) >= MAX_METRICS:
                continue
            series = of_source.setdefault(metric, Series())
            if series.add(moment, value):
                log.info("unusual: %s of %s is %.1f, z-score %.1f", metric, source, value, series.z)
                self._unusual.append(
                    {"time": moment, "source": source, "metric": metric, "value": value, "z": round(series.z, 1)}
                )

    def _make_room(self, source: str) -> None:
        if source in self._heard or len(self._heard) < MAX_SOURCES:
            return
        longest_silent = min(self._heard, key=self._heard.__getitem__)
        if time.monotonic() - self._heard[longest_silent] < SILENT:
            raise Refused(f"source: there are {MAX_SOURCES} already", 429)
        del self._heard[longest_silent], self._series[longest_silent]


def _describe(series: Series) -> dict[str, Any]:
    values = [value for _, value in series.points]
    return {
        "newest": values[-1],
        "mean": series.mean,
        "deviation": series.deviation,
        "moving_mean": series.moving_mean,
        "lowest": min(values),
        "highest": max(values),
        "count": series.count,
        "z": series.z,
        "unusual": series.unusual,
        "recent": [round(value, 2) for value in values[-RECENT:]],
    }


def _parse(body: bytes) -> tuple[str, list[tuple[float, dict[str, float]]]]:
    """Source and samples of a request's body. Raises Refused naming the field that is wrong."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Refused(f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise Refused("the body must be an object with source and samples")
    source, samples = content.get("source"), content.get("samples")
    if not isinstance(source, str) or not _NAME.fullmatch(source):
        raise Refused(f"source must be a name of at most 100 letters, digits or _.:-, not {source!r:.120}")
    if not isinstance(samples, list) or len(samples) > MAX_SAMPLES:
        raise Refused(f"samples must be a list of at most {MAX_SAMPLES}")
    parsed = []
    for index, sample in enumerate(samples):
        where = f"samples[{index}]"
        if not isinstance(sample, dict) or not isinstance(sample.get("values"), dict):
            raise Refused(f"{where} must be an object with time and values")
        values = {}
        for metric, value in sample["values"].items():
            if not _NAME.fullmatch(metric):
                raise Refused(f"{where}.values: {metric!r:.120} is no name of a metric")
            values[metric] = _number(f"{where}.values.{metric}", value)
        parsed.append((_number(f"{where}.time", sample.get("time")), values))
    return source, parsed


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise Refused(f"{where} must be a number from -{LARGEST:g} to {LARGEST:g}, not {value!r:.80}")
    return float(value)


def routes(analyst: Analyst) -> Routes:
    return {
        ("POST", "/api/samples"): analyst.take,
        ("GET", "/api/summary"): analyst.summary,
        ("GET", "/api/series"): analyst.series,
    }


def main() -> None:
    stop = begin("analyst")
    with listening(routes(Analyst())):
        stop.wait()
    log.info("stopped")


if __name__ == "__main__":
    main()
