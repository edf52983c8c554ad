"""Requests that are done once however often they come: `Idempotency-Key` on every POST of somebody signed in.

What the request writes, and that it was done with its answer, are one batch: there is no moment at which a crash could
leave one without the other. Of requests a hash is kept, and answers are kept encrypted, both by the key, which only who
asked has: they may hold secrets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import zlib
from collections.abc import Callable

import msgspec
from cryptography.fernet import Fernet
from flask import Response, request

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, InvalidInput, Unavailable
from mangrove.model.documents import CLAIMS, CLAIMS_KEPT, Claim
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.store.interface import ABSENT, Put, RevisionConflict, Stored
from root_orchestrator.api.gathering import GatheringStore
from root_orchestrator.auth.guard import caller
from root_orchestrator.writer import TRIES, Turns

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"

#: Of an answer that was given before.
REPLAYED = "Idempotency-Replayed"

#: Characters of a key: an UUID has 36; what others use is rarely longer than twice that.
LONGEST = 255

#: Characters of a kept answer, packed and encrypted: thousands of ids, and small beside what the stores take at once
#: (a document of MongoDB has at most 16 MiB). What is longer is not kept, for there may be thousands of answers a day.
LARGEST = 64 * 1024

#: Instead of an answer that was longer.
_NOT_KEPT = ""


def takes_key(route: Route) -> bool:
    """Whether the route looks at the header: those without a token have nobody to whom a key could belong, and what
    only reads may be asked again anyway."""
    return route.method == "POST" and not route.reads and route.access.token == "access"  # noqa: S105 - a kind of token


class Once:
    """Runs each request that has a key once. May be used from any thread, and beside other copies on the same store."""

    def __init__(self, store: GatheringStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns = Turns()

    def __call__(self, route: Route, run: Callable[[], Response]) -> Response:
        """What `run` answers, or answered to the same request before.

        Raises InvalidInput for a key that is none, or was used for another request; Conflict when it was done before
        and its answer was too large to be kept; else what `run` raises: then nothing was done, and the key is as new.
        """
        key = request.headers.get(HEADER)
        if key is None or not takes_key(route):
            return run()
        if not 1 <= len(key) <= LONGEST or not (key.isascii() and key.isprintable()):
            raise InvalidInput(HEADER, f"must be 1 to {LONGEST} printable ASCII characters, but is {shown(key)}")
        asker = caller()
        secret = "\0".join((asker.id, asker.organization, key)).encode()
        id = hashlib.sha256(b"claim\0" + secret).hexdigest()
        fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"answer\0" + secret).digest()))
        # Keyed: a body may hold a password, which a plain hash would let whoever reads the store try out.
        asked = hmac.new(
            b"asked\0" + secret,
            b"\0".join((request.method.encode(), request.full_path.encode(), request.get_data())),
            hashlib.sha256,
        ).hexdigest()
        # Threads take turns here already: what they gather is written only when their turns further in are over.
        with self._turns.at(request.path):
            for _ in range(TRIES):
                known = self._store.store.get(CLAIMS, id)
                claim = known.read(Claim) if known is not None else None
                if claim is not None and 0 <= self._clock.wall() - claim.time < CLAIMS_KEPT:
                    return _again(claim, asked, fernet)
                answer = self._run(run, known, id, asked, fernet)
                if answer is not None:
                    return answer
        raise Unavailable("others keep changing the same thing; nothing was changed, try again")

    def _run(
        self, run: Callable[[], Response], known: Stored | None, id: str, asked: str, fernet: Fernet
    ) -> Response | None:
        """What `run` answers, with all it does written; None when somebody else's write was in the way."""
        with self._store.gather() as gathered:
            answer = run()
        operations = gathered.operations
        if answer.status_code < 400:
            kept = fernet.encrypt(zlib.compress(answer.get_data())).decode()
            if len(kept) > LARGEST:
                kept = _NOT_KEPT
            claim = Claim(id, asked, self._clock.wall(), answer.status_code, answer.content_type or "", kept)
            revision = known.revision if known is not None else ABSENT
            operations = [*operations, Put(CLAIMS, id, msgspec.to_builtins(claim), revision)]
        try:
            self._store.store.apply(operations)
        except RevisionConflict:
            return None
        return answer


def _again(claim: Claim, asked: str, fernet: Fernet) -> Response:
    if claim.asked != asked:
        raise InvalidInput(HEADER, "was used for another request within the last day; take a new one for each request")
    if claim.answer == _NOT_KEPT:
        raise Conflict("this request was done before; its answer was too large to be kept: look at what is there")
    body = zlib.decompress(fernet.decrypt(claim.answer.encode()))
    return Response(body, claim.status, {REPLAYED: "true"}, content_type=claim.content_type)
