"""Documents that were asked for lately, as they stand in the store: who asks again need not wait for a database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from mangrove.store.batch import Key, Writes
from mangrove.store.interface import Stored

#: Documents kept: the users, organizations and services that are worked with at one time.
_KEPT = 1000
#: Bytes of a document that is kept, so that all together stay some megabytes; most have less than one KiB.
_LARGEST = 8 * 1024


class Asked:
    """Of one process that alone writes the store, and tells of each commit. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commits = 0
        self._known: OrderedDict[Key, Stored] = OrderedDict()

    def get(self, key: Key, read: Callable[[], Stored | None]) -> Stored | None:
        """What is known of a document, or what `read` finds, which is remembered unless it may be old already."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
            commits = self._commits
        found = read()
        if found is not None and len(found.encoded) <= _LARGEST:
            with self._lock:
                if commits == self._commits:
                    self._known[key] = found
                    if len(self._known) > _KEPT:
                        self._known.popitem(last=False)
        return found

    def known(self, key: Key) -> Stored | None:
        """What is known of a document."""
        with self._lock:
            return self._known.get(key)

    def committed(self, writes: Writes, revision: int) -> None:
        """These stand in the store now, under this revision; call before whoever wrote them is told so."""
        with self._lock:
            self._commits += 1
            for key in writes.keys() & self._known.keys():
                document = writes[key]
                if document is None or len(document) > _LARGEST:
                    del self._known[key]
                else:
                    self._known[key] = Stored(*key, revision, document)
