"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable

#: Names that a message lists when none is near: as many as one reads at a glance.
_SHOWN = 8

#: How much less alike than the nearest a name may be to be named too: a letter or so in a name of ten.
_AS_NEAR = 0.05


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that says there is no `word`: the nearest of those that are there, or which there are."""
    from difflib import SequenceMatcher, get_close_matches  # only mistakes need it

    names = sorted(set(known))
    if not names:
        return "; there are none"
    lower = {name.lower(): name for name in names}
    found = get_close_matches(word.lower(), lower, n=3, cutoff=0.6)
    if found:
        alike = {each: SequenceMatcher(None, word.lower(), each).ratio() for each in found}
        best = max(alike.values())
        meant = [lower[each] for each in found if alike[each] >= best - _AS_NEAR]
        return f"; did you mean {' or '.join(map(repr, meant))}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (there is {', '.join(names[:_SHOWN])}{more})"
