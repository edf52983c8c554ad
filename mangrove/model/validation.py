"""What others send, made to fit a struct; every error names the field, the value that came, and what was expected."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from mangrove.base.errors import InvalidInput

#: Characters of an offending value that a message repeats: enough to recognise it, too few to flood a log.
SHOWN = 60

#: Levels of lists and objects in an accepted document. An SLA needs eight; the decoder itself gives up near a thousand.
MAX_DEPTH = 32

_T = TypeVar("_T")
_TYPES = re.compile("`([^`]*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_ODD_FIELD = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def fit(raw: object, form: type[_T], *, strict: bool = True) -> _T:
    """`raw` (decoded JSON) as `form`. strict: whether no text is taken for a number.

    Raises InvalidInput with the path of the first field that does not fit.
    """
    try:
        return msgspec.convert(raw, form, strict=strict)
    except msgspec.ValidationError as error:
        raise _explained(str(error), raw) from None


def check_depth(raw: object, limit: int = MAX_DEPTH) -> None:
    """Raise InvalidInput when lists and objects are nested deeper than `limit` levels."""
    level, below = 0, [raw]
    while below := [value for value in below if isinstance(value, dict | list)]:
        level += 1
        if level > limit:
            raise InvalidInput("", f"lists and objects are nested deeper than {limit} levels; send a flatter document")
        below = [child for value in below for child in (value.values() if isinstance(value, dict) else value)]


def shown(value: object) -> str:
    """A value as it may stand in a message: as JSON, shortened, on one line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _explained(sentence: str, raw: object) -> InvalidInput:
    """msgspec's sentence ("Expected `int`, got `str` - at `$.a[0].b`") with the path as field and the value shown."""
    problem, _, path = sentence.partition(" - at `$")
    path = path.rstrip("`")
    odd = _ODD_FIELD.fullmatch(problem)
    if odd is not None:
        problem = "is missing; it is required" if odd["how"] == "missing required" else "is not known here; remove it"
        return InvalidInput(f"{path}.{odd['name']}".removeprefix("."), problem)
    expected = problem.removeprefix("Expected ").partition(", got ")[0]
    expected = _TYPES.sub(lambda types: " or ".join(_WORDS.get(one, one) for one in types[1].split(" | ")), expected)
    return InvalidInput(path.removeprefix("."), f"must be {expected}, but is {shown(_at(path, raw))}")


def _at(path: str, raw: object) -> Any:
    """The value at a path such as `.a[0].b`, as deep as it can be followed (map keys are not named: `[...]`)."""
    value: Any = raw
    for name, index in _STEP.findall(path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            break
    return value
