"""The list of all decisions, by their own headings."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "decisions"

_BEGIN = """# Decisions

Why things are as they are, half a page each, in the order in which they were decided.
"""


def page() -> str:
    """The page in Markdown."""
    return "\n".join([_BEGIN, *(f"- [{_title(file)}]({file.name})" for file in sorted(_FOLDER.glob("[0-9]*.md")))])


def _title(file: Path) -> str:
    return file.read_text().partition("\n")[0].removeprefix("# ")
