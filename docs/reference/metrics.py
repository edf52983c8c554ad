"""The page about metrics, made from their table."""

from __future__ import annotations

from docs.reference.tables import table
from mangrove.roles.metrics import TABLE, Metric

_BEGIN = """# Metrics

What root, cluster and node show to Prometheus. Each name below begins with `mangrove_`; beside these there are the
usual `process_…` figures. [Watching a tree](../watching.md) says how to read them.
"""


def page() -> str:
    """The page in Markdown."""
    head = ("metric", "kind", "labels", "shown by", "what it tells")
    return f"{_BEGIN}\n{table(head, [_row(metric) for metric in TABLE])}"


def _row(metric: Metric) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"`{metric.name}`", metric.kind, labels, ", ".join(metric.on), metric.help
