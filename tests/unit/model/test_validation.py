"""Errors of documents name the field, the value and what was expected."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from mangrove.base.errors import InvalidInput
from mangrove.model.validation import MAX_DEPTH, SHOWN, check_depth, fit, shown


class Leaf(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(max_length=3)]
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    labels: dict[str, str] = {}


class Tree(msgspec.Struct):
    leaves: list[Leaf]


@pytest.mark.parametrize(
    ("raw", "field", "words"),
    [
        ({}, "leaves", "is missing"),
        ([], "", "must be an object, but is []"),
        ({"leaves": "none"}, "leaves", 'must be a list, but is "none"'),
        ({"leaves": [{"name": "a"}, {}]}, "leaves[1].name", "is missing"),
        ({"leaves": [{"name": "abcd"}]}, "leaves[0].name", 'must be a string of length <= 3, but is "abcd"'),
        ({"leaves": [{"name": "a", "size": -1}]}, "leaves[0].size", "must be a whole number >= 0, but is -1"),
        ({"leaves": [{"name": "a", "size": "1"}]}, "leaves[0].size", 'must be a whole number, but is "1"'),
        ({"leaves": [{"name": "a", "size": 1.5}]}, "leaves[0].size", "must be a whole number, but is 1.5"),
        ({"leaves": [{"name": "a", "size": True}]}, "leaves[0].size", "must be a whole number, but is true"),
        ({"leaves": [{"name": "a", "labels": {"k": 1}}]}, "leaves[0].labels[...]", "must be a string"),
    ],
)
def test_what_does_not_fit_is_named(raw: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit(raw, Tree)
    assert caught.value.field == field
    assert words in caught.value.problem


def test_what_fits_comes_back_as_the_struct() -> None:
    assert fit({"leaves": [{"name": "a"}], "other": 1}, Tree) == Tree([Leaf("a")])


def test_long_values_are_shortened() -> None:
    assert shown("x" * 1000) == '"' + "x" * (SHOWN - 2) + "…"
    assert shown("a\nb") == '"a\\nb"'
    assert shown(object()) == "object"


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        return value

    check_depth(nested(MAX_DEPTH))
    with pytest.raises(InvalidInput, match="nested deeper"):
        check_depth(nested(MAX_DEPTH + 1))
    with pytest.raises(InvalidInput, match="nested deeper"):
        check_depth(nested(50_000))
