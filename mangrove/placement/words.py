"""A column of words: what a child *is* rather than how much it has. Each row holds a set of words, kept as one number.

Few different sets occur even in large fleets (two architectures, ten zones), so a question is answered once for each
different set, and then looked up for all rows at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
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
#: Answers for all rows that are kept, in bytes: of a hundred questions about eight thousand rows.
_MASKS_KEPT = 1_000_000


class Words:
    """One column. capacity: rows there is room for."""

    def __init__(self, capacity: int) -> None:
        self.codes = np.zeros(capacity, np.intp)
        self.values: list[Value] = [()]
        self._code_of: dict[Value, int] = {(): 0}
        self._codes_with: dict[str, list[int]] = {}
        self._answers: dict[Hashable, Mask] = {}
        #: Rows whose words changed, oldest first; with `_forgotten` more before these.
        self._changes: list[int] = []
        self._forgotten = 0
        #: By question: the answer for every row, and up to which change it is right; the one asked last is last.
        self._masks: OrderedDict[Hashable, tuple[Mask, int]] = OrderedDict()

    def grow(self, capacity: int) -> None:
        """Make room for so many rows."""
        self._masks.clear()
        self.codes = np.concatenate([self.codes, np.zeros(capacity - len(self.codes), np.intp)])

    def set(self, row: int, value: Value) -> None:
        """Say what a row's words are."""
        code = self._code_of.get(value)
        if code is None:
            if len(self.values) > 2 * len(self.codes) + 64:
                self._forget_unused()
            code = self._learn(value)
        self.codes[row] = code
        self._changes.append(row)
        if len(self._changes) > 2 * self._many():
            half = len(self._changes) // 2
            del self._changes[:half]
            self._forgotten += half

    def get(self, row: int) -> Value:
        """The words of a row."""
        return self.values[int(self.codes[row])]

    def any_of(self, words: Sequence[str], rows: Rows) -> Mask:
        """Whether each row has at least one of these words."""
        table = np.zeros(len(self.values), np.bool_)
        for word in words:
            table[self._codes_with.get(word, [])] = True
        return self._of_rows(("any", *words), table, rows)

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
        return self._of_rows(("where", question), known, rows)

    def _of_rows(self, question: Hashable, answers: Mask, rows: Rows) -> Mask:
        """The answers for these rows, not to be written to. answers: by code.

        For all rows at once they are kept, and looked up anew only for rows that changed since.
        """
        if not isinstance(rows, slice):
            return answers[self.codes[rows]]
        newest = self._forgotten + len(self._changes)
        mask, seen = self._masks.pop(question, (None, 0))
        if mask is None or newest - seen > self._many():
            mask = answers[self.codes]
        elif newest > seen:
            changed = self._changes[seen - newest :]
            mask[changed] = answers[self.codes[changed]]
        self._masks[question] = mask, newest
        if len(self._masks) * len(mask) > _MASKS_KEPT and len(self._masks) > 1:
            self._masks.popitem(last=False)
        shown = mask[rows]
        shown.flags.writeable = False
        return shown

    def _many(self) -> int:
        """Changes beyond which all rows are looked up anew: a row by itself costs some ten times as much."""
        return len(self.codes) // 16 + 8

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
        self._masks.clear()
        renamed = np.array([self._code_of[value] if value in self._code_of else self._learn(value) for value in values])
        self.codes = renamed[codes].astype(np.intp)
