from __future__ import annotations

import re

import pytest

from mangrove.base.errors import InvalidInput, NotFound, Unauthorized
from mangrove.identity import tokens
from mangrove.model.documents import TOKENS
from tests.unit.identity.house import House


def test_a_token_is_stored_by_its_hash_only(house: House) -> None:
    issued = house.token(ttl=60, uses=3)
    assert re.fullmatch(r"mgv-[0-9a-f]{24}-[0-9a-f]{32}", issued.text)
    assert issued.expires == house.clock.wall() + 60
    (stored,) = house.store.load(TOKENS)
    assert issued.secret not in str(stored.document)
    token = tokens.token_of(stored)
    assert (token.id, token.uses, token.expires, token.revoked) == (issued.id, 3, issued.expires, False)
    assert issued.secret not in repr(issued)


@pytest.mark.parametrize(
    ("ttl", "uses", "field"),
    [(0, 1, "ttl"), (-1, 1, "ttl"), (float("nan"), 1, "ttl"), (1e12, 1, "ttl"), (60, 0, "uses"), (60, 10**9, "uses")],
)
def test_a_token_has_bounds(house: House, ttl: float, uses: int, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        house.token(ttl=ttl, uses=uses)
    assert caught.value.field == field
    assert not house.store.load(TOKENS)


def test_a_token_may_come_with_blanks_around_it(house: House) -> None:
    issued = house.token()
    held = tokens.verify(house.store, house.clock, f" {issued.text}\n")
    assert held.token.id == issued.id


@pytest.mark.parametrize(
    "text", ["", "x", "mgv-", "mgv--", "mgv-" + "0" * 57, "MGV", "\0", "٣" * 61, "mgv-" + "g" * 24]
)
def test_garbage_is_no_token(house: House, text: str) -> None:
    with pytest.raises(Unauthorized, match="not a join token"):
        tokens.verify(house.store, house.clock, text)


def test_an_unknown_token_and_a_wrong_secret_are_told_alike(house: House) -> None:
    issued = house.token()
    tokens.revoke(house.store, issued.id)  # not told to who does not know the secret
    for text in (f"mgv-{'0' * 24}-{issued.secret}", f"mgv-{issued.id}-{'0' * 32}"):
        with pytest.raises(Unauthorized, match="unknown join token"):
            tokens.verify(house.store, house.clock, text)


def test_an_expired_token_is_refused(house: House) -> None:
    issued = house.token(ttl=60)
    house.clock.advance_to(59.9)
    tokens.verify(house.store, house.clock, issued.text)
    house.clock.advance_to(60)
    with pytest.raises(Unauthorized, match="has expired"):
        tokens.verify(house.store, house.clock, issued.text)


def test_a_revoked_token_is_refused(house: House) -> None:
    issued = house.token()
    tokens.revoke(house.store, issued.id)
    tokens.revoke(house.store, issued.id)
    with pytest.raises(Unauthorized, match="was revoked"):
        tokens.verify(house.store, house.clock, issued.text)
    with pytest.raises(NotFound, match="no join token nobody"):
        tokens.revoke(house.store, "nobody")


def test_housekeeping_removes_what_expired_long_ago(house: House) -> None:
    old, new = house.token(ttl=60), house.token(ttl=3600)
    now = house.clock.wall()
    assert tokens.expired(house.store.load(TOKENS), now + 61) == []  # still told apart from an unknown one
    operations = tokens.expired(house.store.load(TOKENS), now + 61 + tokens.KEPT_EXPIRED)
    house.store.apply(operations)
    assert [stored.id for stored in house.store.load(TOKENS)] == [new.id]
    with pytest.raises(Unauthorized, match="unknown"):
        tokens.verify(house.store, house.clock, old.text)
