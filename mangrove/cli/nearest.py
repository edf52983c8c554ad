"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable

#: Names that a message lists when none is near: as many as one reads at a glance.
_SHOWN = 8


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that says there is no `word`: the nearest of those that are there, or which there are."""
    from difflib import get_close_matches  # only mistakes need it

    names = sorted(set(known))
    if not names:
        return "; there are none"
    lower = {name.lower(): name for name in names}
    found = get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    if found:
        return f"; did you mean {' or '.join(repr(lower[each]) for each in found)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (there is {', '.join(names[:_SHOWN])}{more})"
