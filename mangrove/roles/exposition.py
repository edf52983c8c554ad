"""The table of metrics as Prometheus reads it. Loaded only where metrics are shown."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from mangrove import __version__
from mangrove.roles.metrics import BY_NAME, TABLE, Program, Sample, Source

# A series more for each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_log = logging.getLogger(__name__)

#: As every Prometheus understands it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Seconds. An answer from memory takes one millisecond, a login 0.2 s, a question to a node some seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Methods that are named; any other is `other`, since clients may send what they like.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Exposition:
    """One program's metrics. sources: where its figures come from; one that fails is left out and logged."""

    def __init__(self, program: Program, sources: Iterable[Source]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Reader(program, tuple(sources)))
        self._requests: Histogram | None = None
        requests = BY_NAME["http_request_seconds"]
        if program in requests.on:
            self._requests = Histogram(
                f"mangrove_{requests.name}", requests.help, requests.labels, registry=self.registry, buckets=_BUCKETS
            )

    def on_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered (see install_requests)."""
        if self._requests is not None:
            named = method if method in _METHODS else "other"
            self._requests.labels(named, route or "none", str(status)).observe(seconds)

    def page(self) -> bytes:
        """All figures as they are now."""
        return generate_latest(self.registry)


class _Reader(Collector):
    def __init__(self, program: Program, sources: tuple[Source, ...]) -> None:
        self._program = program
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for metric in TABLE:
            if self._program in metric.on and metric.kind != "histogram":
                form = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                families[metric.name] = form(f"mangrove_{metric.name}", metric.help, labels=metric.labels)
        for sample in self._read():
            families[sample.name].add_metric(sample.labels, sample.value)  # type: ignore[attr-defined]  # both forms
        return iter(families.values())

    def _read(self) -> Iterator[Sample]:
        yield Sample("build_info", 1, (self._program, __version__, platform.python_version()))
        for source in self._sources:
            try:
                samples = list(source())
            except Exception:
                _log.exception("some metrics cannot be read")
                continue
            yield from samples
