"""The page about events, made from the table of their kinds."""

from __future__ import annotations

from docs.reference.tables import table
from mangrove.model.events import TABLE

_BEGIN = """# Events

What `mangrove events` and `GET /api/v1/events` tell of. Each event has an `id`, a `time`, a `kind`, the id of what it
is about as its `subject`, and a sentence for people. Programs go by the kind; sentences may change.

Clusters and nodes are everybody's to see who may list them. Of services and their instances those are told who may see
them, and of users Admins.
"""


def page() -> str:
    """The page in Markdown."""
    rows = ((f"`{kind.name}`", kind.subject, kind.meaning) for kind in TABLE)
    return f"{_BEGIN}\n{table(('kind', 'subject', 'what happened'), rows)}"
