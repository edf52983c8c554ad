"""What a batch comes to: its preconditions checked in order, its documents encoded. Every store applies it the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mangrove.store.interface import ABSENT, INDEXES, Delete, Document, Operation, Put, RevisionConflict

#: (collection, id)
Key = tuple[str, str]
#: What a batch leaves behind: the encoded document of each key it touched, None where it was removed.
Writes = dict[Key, bytes | None]

#: Bytes of a document as JSON. MongoDB keeps 16 MiB, in which the fields it is queried by stand once more; no request
#: brings more than 1 MiB.
MAX_DOCUMENT = 4 * 1024 * 1024
#: Bytes of an id: what MongoDB takes as the key of an index, in all versions, with the collection's name before it.
MAX_ID = 900
#: Objects and lists within each other. SQLite and Python read about 1,000 levels; a request brings at most 32.
MAX_DEPTH = 200

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


def indexed(collection: str, encoded: bytes) -> list[tuple[str, str]]:
    """The fields by which a document of `collection` can be found, with their values: those that are text."""
    fields = INDEXES.get(collection, ())
    if not fields:
        return []
    document = decode(encoded)
    return [(field, value) for field in fields if isinstance(value := document.get(field), str)]


def evaluate(operations: Sequence[Operation], revision: int, revision_of: Callable[[str, str], int]) -> Writes:
    """The writes of a batch that becomes `revision`, last word for each document.

    Operations are taken in order: each sees what the earlier ones did. revision_of: the revision a document has before
    the batch (`ABSENT` when it is not there); only asked for what `depends_on_revision`. Raises RevisionConflict,
    ValueError (an id or a document that no store can keep) and TypeError (a document that is no JSON), always before
    anything is written.
    """
    writes: Writes = {}
    for operation in operations:
        check_id(operation.id)
        key = (operation.collection, operation.id)
        if depends_on_revision(operation):
            present = revision_of(*key) if key not in writes else ABSENT if writes[key] is None else revision
            if operation.expect is not None and operation.expect != present:
                raise RevisionConflict(*key)
        if isinstance(operation, Put):
            writes[key] = encoded(operation)
        elif isinstance(operation, Delete) and present != ABSENT:
            writes[key] = None
    return writes


def depends_on_revision(operation: Operation) -> bool:
    """Whether what it does depends on the document as it was before."""
    return operation.expect is not None or isinstance(operation, Delete)


def check_id(id: str) -> None:
    """Raises ValueError for an id that no store can keep."""
    if not id or not is_text(id):  # empty is where a query's cursor begins
        raise ValueError(f"id of a document: {id!r} is empty or no valid text; give another")
    if len(id) > MAX_ID or len(id.encode()) > MAX_ID:
        raise ValueError(f"id of a document: {id[:40]!r}… is longer than {MAX_ID} bytes; give a shorter one")


def encoded(put: Put) -> bytes:
    """The document of `put` as JSON. A number that is not finite becomes null, for JSON has none.

    Raises ValueError when it is too large, too deep or no valid text, TypeError when it is no JSON.
    """
    try:
        text = encode(put.document)
    except RecursionError:
        raise _too_deep(put) from None
    if len(text) > MAX_DOCUMENT:
        raise ValueError(
            f"{put.collection}/{put.id}: the document has {len(text)} bytes; at most {MAX_DOCUMENT} are kept"
        )
    # Most documents have fewer brackets in all, and need no closer look.
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and not _is_flat(put.document):
        raise _too_deep(put)
    return text


def _too_deep(put: Put) -> ValueError:
    return ValueError(f"{put.collection}/{put.id}: the document is nested deeper than {MAX_DEPTH} levels")


def _is_flat(document: Document) -> bool:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not level:
            return True
    return False
