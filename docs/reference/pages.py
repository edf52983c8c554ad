"""The pages that are made from the code, by their place in the site, each with what writes its Markdown."""

from __future__ import annotations

from collections.abc import Callable

from docs.reference import api, configuration, decisions, events, metrics, sla

PAGES: dict[str, Callable[[], str]] = {
    "decisions/index.md": decisions.page,
    "reference/api.md": api.page,
    "reference/configuration.md": configuration.page,
    "reference/events.md": events.page,
    "reference/metrics.md": metrics.page,
    "reference/sla.md": sla.page,
}
