"""A column of words: what a child *is* rather than how much it has. Each row holds a set of words, kept as one number.

Few different sets occur even in large fleets (two architectures, ten zones), so a question is answered once for each
different set, and then looked up for all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
#: Rows to look at: a slice, or numbers of rows in an array of any shape.
Rows = slice | npt.NDArray[np.intp]
#: The words of a row; None stands for "some nodes behind it have none".
Value = tuple[str | None, ...]

#: Answers kept, in bytes of all of them together: enough for hundreds of questions about a hundred thousand rows.
_ANSWERS_KEPT = 4_000_000


class Words:
    """One column. capacity: rows there is room for."""

    def __init__(self, capacity: int) -> None:
        self.codes = np.zeros(capacity, np.intp)
        self.values: list[Value] = [()]
        self._code_of: dict[Value, int] = {(): 0}
        self._codes_with: dict[str, list[int]] = {}
        self._answers: dict[Hashable, Mask] = {}

    def grow(self, capacity: int) -> None:
        """Make room for so many rows."""
        self.codes = np.concatenate([self.codes, np.zeros(capacity - len(self.codes), np.intp)])

    def set(self, row: int, value: Value) -> None:
        """Say what a row's words are."""
        code = self._code_of.get(value)
        if code is None:
            if len(self.values) > 2 * len(self.codes) + 64:
                self._forget_unused()
            code = self._learn(value)
        self.codes[row] = code

    def get(self, row: int) -> Value:
        """The words of a row."""
        return self.values[int(self.codes[row])]

    def any_of(self, words: Iterable[str], rows: Rows) -> Mask:
        """Whether each row has at least one of these words."""
        table = np.zeros(len(self.values), np.bool_)
        for word in words:
            table[self._codes_with.get(word, [])] = True
        return table[self.codes[rows]]

    def where(self, question: Hashable, answer: Callable[[Value], bool], rows: Rows) -> Mask:
        """Whether `answer` is true of each row's words. question: names it; the same name means the same answers."""
        known = self._answers.get(question)
        if known is None or len(known) < len(self.values):
            seen = 0 if known is None else len(known)
            new: Any = [answer(value) for value in self.values[seen:]]
            known = np.array(new, np.bool_) if known is None else np.concatenate([known, np.array(new, np.bool_)])
            if len(self._answers) * len(self.values) > _ANSWERS_KEPT:
                self._answers.clear()
            self._answers[question] = known
        return known[self.codes[rows]]

    def found(self, rows: Rows) -> list[str]:
        """All words of these rows, in order."""
        return sorted({word for code in np.unique(self.codes[rows]) for word in self.values[code] if word is not None})

    def _learn(self, value: Value) -> int:
        code = self._code_of[value] = len(self.values)
        self.values.append(value)
        for word in set(value):
            if word is None:
                continue
            known = self._codes_with.get(word)
            if known is None:
                self._codes_with[word] = [code]  # smaller than what is appended to, and most words stand in one set
            else:
                known.append(code)
        return code

    def _forget_unused(self) -> None:
        used, codes = np.unique(self.codes, return_inverse=True)
        values = [self.values[code] for code in used]
        self.values, self._code_of, self._codes_with = [()], {(): 0}, {}
        self._answers.clear()
        renamed = np.array([self._code_of[value] if value in self._code_of else self._learn(value) for value in values])
        self.codes = renamed[codes].astype(np.intp)
