"""What a batch comes to: its preconditions checked in order, its documents encoded. Every store applies it the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mangrove.store.interface import ABSENT, Delete, Document, Operation, Put, RevisionConflict

#: (collection, id)
Key = tuple[str, str]
#: What a batch leaves behind: the encoded document of each key it touched, None where it was removed.
Writes = dict[Key, bytes | None]

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(dict[str, Any])


def decode(document: bytes | str) -> Document:
    """The document that was encoded; each call makes a new one, so that no caller can change what the store holds.

    Raises msgspec.DecodeError when this is no JSON object.
    """
    return _decoder.decode(document)


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair cannot, so nothing in a store has such an id."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def evaluate(operations: Sequence[Operation], revision: int, revision_of: Callable[[str, str], int]) -> Writes:
    """The writes of a batch that becomes `revision`, last word for each document.

    Operations are taken in order: each sees what the earlier ones did. revision_of: the revision a document has before
    the batch (`ABSENT` when it is not there). Raises RevisionConflict, ValueError (an id that no store can keep) and
    TypeError (a document that is no JSON), always before anything is written.
    """
    writes: Writes = {}
    for operation in operations:
        if not operation.id or not is_text(operation.id):  # empty is where a query's cursor begins
            raise ValueError(f"id of a document: {operation.id!r} is empty or no valid text; give another")
        key = (operation.collection, operation.id)
        present = revision_of(*key) if key not in writes else ABSENT if writes[key] is None else revision
        if operation.expect is not None and operation.expect != present:
            raise RevisionConflict(*key)
        if isinstance(operation, Put):
            writes[key] = encode(operation.document)
        elif isinstance(operation, Delete) and present != ABSENT:
            writes[key] = None
    return writes
