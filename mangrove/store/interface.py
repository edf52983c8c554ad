"""The store's interface: load, get, query, apply a batch atomically, follow changes, hold a lease.

A document is a JSON-able dict, kept under (collection, id). Each write gives it a new revision: numbers that rise
through the whole store's life, the same for all writes of one batch. Nothing here knows what the documents mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec

from mangrove.base.errors import MangroveError

Document = dict[str, Any]
_T = TypeVar("_T")

#: As an expected revision: the document must not be there yet.
ABSENT: Final = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it stands in the store. encoded: as JSON, read only by whoever needs it, in the form needed."""

    collection: str
    id: str
    revision: int
    encoded: bytes | str

    @property
    def document(self) -> Document:
        """A new dict at each call. Raises StoreUnavailable when the store is damaged."""
        return self.read(Document)

    def read(self, form: type[_T]) -> _T:
        """The document as `form` (a struct). Raises msgspec.ValidationError when it has another form."""
        try:
            found: _T = _DECODERS[form].decode(self.encoded)
            return found
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            raise StoreUnavailable(
                f"the store is damaged: {self.collection}/{self.id} is no JSON; restore a backup"
            ) from error


class _Decoders(dict[Any, msgspec.json.Decoder[Any]]):
    """By the form that documents are read in; each is made once, which takes longer than to use it."""

    def __missing__(self, form: Any) -> msgspec.json.Decoder[Any]:
        self[form] = decoder = msgspec.json.Decoder(form)
        return decoder


_DECODERS = _Decoders()


@dataclass(frozen=True, slots=True)
class Put:
    """Write `document`. expect: the revision it must have now, `ABSENT`, or None for any."""

    collection: str
    id: str
    document: Document
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a document; removing what is not there is no error unless a revision was expected."""

    collection: str
    id: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Write nothing, but fail the batch unless the document has this revision (`ABSENT`: is not there)."""

    collection: str
    id: str
    expect: int


Operation = Put | Delete | Check


@dataclass(frozen=True, slots=True)
class Change:
    """One write as the feed tells it; `document` is None when it was removed."""

    collection: str
    id: str
    revision: int
    document: Document | None


class RevisionConflict(MangroveError):
    """A precondition of a batch does not hold; nothing of the batch was written."""

    def __init__(self, collection: str, id: str) -> None:
        super().__init__(f"{collection}/{id} was changed by someone else; read it again and retry")
        self.collection = collection
        self.id = id


class Gap(MangroveError):
    """The feed no longer has the changes asked for; load anew."""


class StaleLease(MangroveError):
    """The writer's term is over: somebody else holds the lease now; nothing was written."""


class StoreUnavailable(MangroveError):
    """The store cannot be reached or written now (for example: disk full).

    Nothing was written; only where the answer of a server was lost may it have been, and may be tried again, for the
    batch's preconditions say whether it was.
    """


@dataclass(frozen=True, slots=True)
class Lease:
    """A controller's right to write. term: raised at each take-over, and at each start of a new holder."""

    name: str
    holder: str
    term: int
    counter: int


class Store(Protocol):
    """What every store does. All methods may be called from any thread; each raises StoreUnavailable when it must."""

    @property
    def id(self) -> str:
        """Made with the store, 24 hexadecimal digits; a new or emptied store has a new one."""

    def load(self, collection: str) -> list[Stored]:
        """All documents of a collection, by id."""

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        """The first `limit` documents of a collection behind the id `after`, by id."""

    def get(self, collection: str, id: str) -> Stored | None:
        """One document, or None."""

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        """Those of `ids` that are there."""

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        """Documents whose top-level `field` (declared in `INDEXES`) equals `value`, by id, from the id behind `after`.

        Raises ValueError when the field is not declared as an index.
        """

    def revision(self) -> int:
        """The newest revision."""

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        """Write all of it or nothing, durably before it returns; the new revision.

        Operations are taken in order, each sees what the earlier ones did. A batch that changes nothing (checks, or
        removing what is not there) leaves the revision as it is. With `lease`, only while that lease's term is still
        the newest (else StaleLease). Raises RevisionConflict, and ValueError or TypeError for an id or a document that
        cannot be kept (limits: see batch.py). Numbers that are not finite become null.
        """

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        """What was written behind revision `after`, in order; a document written twice may appear once, as it is now.

        Never splits a batch: the first is given whole even when it is larger than `limit`. Raises Gap when the store
        no longer knows all of it, or never was at that revision.
        """

    def wait(self, after: int, timeout: float) -> bool:
        """Block until there is a revision above `after` (True) or `timeout` seconds have passed (False)."""

    def lease(self, name: str) -> Lease | None:
        """The lease `name` as it stands now, so that others can watch its counter; None when nobody ever held it.

        Leases are no documents: taking and renewing them moves neither the revision nor the feed.
        """

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        """Take the lease `name` for `holder`, raising its term, to above `above` at the least.

        It is given when nobody ever held it, when `holder` (an id of one installation, kept across its restarts) held
        it last, or when its counter still equals `counter_seen`, which the caller has watched for a whole lease; else
        None.
        """

    def renew(self, lease: Lease) -> Lease | None:
        """Raise the lease's counter; None when it has been taken over."""

    def close(self) -> None:
        """Release files and connections. Whatever is called afterwards, or still waits, raises StoreUnavailable."""


#: Top-level fields by which a collection can be queried. A new entry is added to existing stores at their next opening.
INDEXES: dict[str, tuple[str, ...]] = {
    "applications": ("owner",),
    "services": ("application", "owner"),
    "slots": ("service",),
    "observed": ("child",),
    "nodes": ("cluster",),
    "events": ("subject", "kind"),
    "users": ("name",),
    "organizations": ("name",),
    "tokens": ("hash",),
}
