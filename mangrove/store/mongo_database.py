"""The database of a MongoStore: reached with bounds on everything, made whole or not at all, checked before it is used.

store       the head: the store's id, its newest revision, schema, leases, the last batches; and who writes, by session
documents   _id `collection/id`, revision, body (JSON as text), keys (`collection` and `collection.field=value`)
removed     _id `collection/id`, revision: what was removed, and when, for the change feed
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import random
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import (
    ConnectionFailure,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from mangrove.base.errors import InvalidInput
from mangrove.store.interface import StoreUnavailable

log = logging.getLogger(__name__)

Row = dict[str, Any]
_T = TypeVar("_T")

#: Seconds for one operation with all its tries, also to find a server that takes writes. Longer than any batch or
#: collection takes; while a primary is replaced (10 s and more) whoever asks is better told than kept waiting.
TIMEOUT = 5.0
#: Seconds to look for a server when it is known that there was none a moment ago: who asks also has others to answer.
IMPATIENCE = 0.5
#: Milliseconds between two looks at each server, so that one which is back is found within a second.
_HEARTBEAT = 1000
#: Seconds between two tries, at first and at most: a batch takes a few milliseconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25

#: Seconds for which others may be in a write's way before their transactions are ended. Far longer than a batch takes,
#: which is done again then and loses nothing; but what a killed program was writing holds the head until the server
#: gives it up, 60 s by default.
HELD = 1.0
#: Programs of which it is remembered by which session they write: all that may be about, and their last few starts.
_WRITERS = 32

#: A write is acknowledged when it is on the disks of most members; what was not is never read.
_DURABLE = WriteConcern("majority", j=True)

HEAD = "store"
WRITERS = "writers"

_AUTHENTICATION_FAILED, _NOT_AUTHORIZED, _WRITE_CONFLICT = 18, 13, 112


class Database:
    """The three collections, and transactions over them.

    name: for people, without credentials. known_as: the store's id; reached: a revision that it had: it may never be
    another store, or an older copy, under a program that runs.
    """

    def __init__(self, uri: str) -> None:
        """uri: `mongodb://` or `mongodb+srv://`, with the database's name.

        Raises InvalidInput when it cannot be used (it is never shown, for it may hold a password), StoreUnavailable
        when no server answers that can do transactions.
        """
        self.name, database = _parsed(uri)
        self.known_as, self.reached = "", 0
        try:
            self.client: MongoClient[Row] = MongoClient(
                uri,
                appname="mangrove",
                connectTimeoutMS=round(1000 * TIMEOUT),
                heartbeatFrequencyMS=_HEARTBEAT,
                timeoutMS=round(1000 * TIMEOUT),
            )
        except (PyMongoError, BSONError, ValueError, TypeError) as error:
            raise InvalidInput("--store", f"{self.name} cannot be used: {type(error).__name__}") from None
        try:
            opened = self.client.get_database(
                database,
                read_preference=ReadPreference.PRIMARY,
                write_concern=_DURABLE,
                read_concern=ReadConcern("majority"),
            )
            self._database = opened
            self.store: Collection[Row] = opened["store"]
            self.documents: Collection[Row] = opened["documents"]
            self.removed: Collection[Row] = opened["removed"]
            with _explained(self.name):
                self._check_server()
            self._writer = self.client.start_session()
        except BaseException:
            self.client.close()
            raise
        self._writing = threading.Lock()

    def head(self, session: ClientSession | None = None) -> Row:
        """The store's head. Raises StoreUnavailable when it is gone, or is not what it was."""
        reached = self.reached
        found = self.store.find_one({"_id": HEAD}, session=session)
        if found is None or self.known_as not in ("", found["id"]):
            raise StoreUnavailable(
                f"{self.name} was emptied while it was in use: restore a backup, then start this program again"
            )
        if found["revision"] < reached:  # for a moment also when a server has just become the primary
            raise StoreUnavailable(
                f"{self.name} is at revision {found['revision']} and was at {reached}: if this lasts, an older "
                "copy was restored while it was in use; start this program again"
            )
        self.known_as = found["id"]
        self.heard(found["revision"])
        return found

    def heard(self, revision: int) -> None:
        """The store had this revision."""
        self.reached = max(self.reached, revision)

    def register(self) -> None:
        """Let others know by which session this program writes, before it does."""
        with self.operation():
            self.store.update_one(
                {"_id": WRITERS},
                {"$push": {"sessions": {"$each": [self._writer.session_id["id"]], "$slice": -_WRITERS}}},
                upsert=True,
            )

    def read(self, work: Callable[[ClientSession], _T]) -> _T:
        """What `work` reads, all of one moment. Raises StoreUnavailable after `TIMEOUT`."""
        with self.operation(), self.client.start_session() as session:
            return self._transaction(session, work)

    def write(self, work: Callable[[ClientSession], _T]) -> _T:
        """What `work` gives, its reads of one moment and its writes all or none.

        It is done again while only others or the network were in its way; so a write may have been done by an earlier
        try that was not answered, and `work` has to notice. The threads of this program write one after the other; else
        they would only make each other try again. Raises StoreUnavailable after `TIMEOUT`.
        """
        if not self._writing.acquire(timeout=TIMEOUT):
            raise StoreUnavailable(f"{self.name} is slow, and others still wait to write; nothing was written")
        try:
            with self.operation():
                return self._transaction(self._writer, work)
        finally:
            self._writing.release()

    def _transaction(self, session: ClientSession, work: Callable[[ClientSession], _T]) -> _T:
        ending_others = time.monotonic() + HELD
        for pause in _pauses():
            session.start_transaction(ReadConcern("snapshot"), _DURABLE, ReadPreference.PRIMARY)
            try:
                result = work(session)
                session.commit_transaction()
                return result
            except PyMongoError as error:
                if not _may_pass(error):
                    raise
                last = error
            finally:
                _abort(session)
            if time.monotonic() > ending_others and _is_conflict(last):
                self._end_others()
                ending_others = time.monotonic() + HELD
            time.sleep(pause)
        raise last

    def _end_others(self) -> None:
        """End what other programs have begun to write. Who lives tries again, and who was killed is in nobody's way."""
        found = self.store.find_one({"_id": WRITERS}) or {}
        own = self._writer.session_id["id"]
        others = [{"id": id} for id in found.get("sessions", ()) if id != own]
        if others:
            log.warning("%s: a write of another program is not finished for %g s, and is ended", self.name, HELD)
            with suppress(OperationFailure):  # of another user of the database; the server gives it up in its own time
                self.client.admin.command("killSessions", others)

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Around all that asks the server: within `TIMEOUT`, and what goes wrong is a StoreUnavailable."""
        with _explained(self.name), pymongo.timeout(TIMEOUT):
            if not self.client.topology_description.has_writable_server():
                with pymongo.timeout(IMPATIENCE):
                    self.client.admin.command("ping")
            yield

    def close(self) -> None:
        self.client.close()

    def _check_server(self) -> None:
        hello = self.client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StoreUnavailable(
                f"{self.name} is a standalone server, which has no transactions: start it with --replSet rs0 and run "
                "rs.initiate() once; a replica set of one member serves"
            )

    def first_used(self) -> str:
        """The name of a collection that holds something, empty when none does."""
        names = (name for name in self._database.list_collection_names() if not name.startswith("system."))
        return next((name for name in names if self._database[name].find_one() is not None), "")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the driver says into StoreUnavailable, in one sentence."""
    try:
        yield
    except InvalidOperation as error:
        if "after close" in str(error):
            raise StoreUnavailable("the store is closed") from error
        raise
    except OperationFailure as error:
        if error.code in (_AUTHENTICATION_FAILED, _NOT_AUTHORIZED):
            raise StoreUnavailable(
                f"{name} does not let this user in ({_short(error)}): check user, password, "
                "authSource and the role readWrite on the database"
            ) from error
        raise StoreUnavailable(f"{name}: {_short(error)}") from error
    except PyMongoError as error:
        raise StoreUnavailable(f"{name} does not answer ({_short(error)}); it may work again later") from error


def _parsed(uri: str) -> tuple[str, str]:
    """The URI without what is secret, and the database's name. What the driver says of it may quote a password."""
    try:
        found = parse_uri(uri, connect_timeout=TIMEOUT)
        database = found["database"]
    except Exception:
        raise InvalidInput(
            "--store",
            "this is no MongoDB address that can be used; write mongodb://USER:PASSWORD@HOST:PORT/DATABASE, with "
            "special characters of user and password percent-encoded",
        ) from None
    if not database:
        raise InvalidInput("--store", "this names no database; write mongodb://HOST:PORT/DATABASE")
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in found["nodelist"])
    return f"mongodb://{hosts}/{database}", database


def _pauses() -> Iterator[float]:
    """Seconds to wait after each try, until `TIMEOUT` is over. By chance, so that two do not meet again and again."""
    end, longest = time.monotonic() + TIMEOUT, _FIRST_PAUSE
    while True:
        yield longest * random()
        if time.monotonic() > end:
            return
        longest = min(2 * longest, _LONGEST_PAUSE)


def _abort(session: ClientSession) -> None:
    if session.in_transaction:
        with suppress(PyMongoError):
            session.abort_transaction()


def _is_conflict(error: PyMongoError) -> bool:
    return isinstance(error, OperationFailure) and error.code == _WRITE_CONFLICT


def _may_pass(error: PyMongoError) -> bool:
    """Whether the same may work at once: somebody else wrote, a connection broke, a primary went."""
    if isinstance(error, ServerSelectionTimeoutError) or error.timeout:
        return False
    if isinstance(error, ConnectionFailure):
        return True
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")
    return any(error.has_error_label(label) for label in labels)


def _short(error: PyMongoError) -> str:
    """The beginning of what the driver says; the rest is the state of its connections."""
    text = str(error).partition(", full error")[0].partition(", Timeout:")[0].partition(" (configured")[0]
    return text.splitlines()[0][:200] if text else type(error).__name__
