from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, local
from typing import Any

import msgspec
import pytest

from mangrove.base.errors import Conflict, InvalidInput, MangroveError, NotFound, Refused, Unauthorized, Unavailable
from mangrove.base.ids import is_id
from mangrove.identity import tokens
from mangrove.identity.join import identity_of, join, leave, revoke_child
from mangrove.identity.messages import JoinReply, JoinRequest, LeaveRequest, leave_proof
from mangrove.model.documents import CHILD_NAMES, IDENTITIES, TOKENS, Identity
from mangrove.store.interface import Lease, Operation, RevisionConflict, Stored
from mangrove.store.memory import MemoryStore
from tests.unit.identity.house import House, asking


def identities(house: House) -> list[Identity]:
    return [identity_of(stored) for stored in house.store.load(IDENTITIES)]


def uses_left(house: House) -> int:
    return sum(tokens.token_of(stored).uses for stored in house.store.load(TOKENS))


def farewell(reply: JoinReply) -> LeaveRequest:
    return LeaveRequest(reply.child, reply.generation, leave_proof(bytes.fromhex(reply.link_key), reply.child))


def test_a_child_gets_all_it_needs(house: House) -> None:
    reply = house.join(asking(house.token()))
    assert is_id(reply.child)
    assert (reply.name, reply.parent_name, reply.lease, reply.protocol) == ("reef", "mainland", 20.0, 1)
    assert (reply.parent, reply.store) == (house.secret.parent_id(), house.store.id)
    assert bytes.fromhex(reply.link_key) == house.secret.link_key(reply.child, 1)
    assert [broker.url for broker in reply.brokers] == ["mqtt://192.0.2.1:1883", "mqtt://192.0.2.2:1883"]
    for broker in reply.brokers:
        assert broker.username == reply.child
        assert broker.password == house.secret.broker_password(reply.child, 1)
    assert identities(house) == [Identity(id=reply.child, name="reef", joined=house.clock.wall())]
    assert house.accounts == [reply.child]
    assert uses_left(house) == 0


def test_the_store_learns_no_key(house: House) -> None:
    request = asking(house.token())
    reply = house.join(request)
    kept = str([house.store.load(name) for name in (IDENTITIES, TOKENS)])
    for unspeakable in (request.token[-32:], request.key, reply.link_key, reply.brokers[0].password):
        assert unspeakable not in kept


def test_a_used_up_token_is_refused(house: House) -> None:
    token = house.token()
    house.join(asking(token, "first"))
    with pytest.raises(Unauthorized, match="used up"):
        house.join(asking(token, "second"))
    assert [identity.name for identity in identities(house)] == ["first"]


def test_a_join_whose_answer_was_lost_can_be_repeated(house: House) -> None:
    request = asking(house.token())
    assert house.join(request) == house.join(request) == house.join(request)
    assert len(identities(house)) == 1
    assert uses_left(house) == 0
    assert len(house.accounts) == 3  # the account is made again, in case that was what failed


def test_without_a_key_each_join_is_a_new_one(house: House) -> None:
    token = house.token(uses=2)
    first = house.join(asking(token, "first", key=""))
    second = house.join(asking(token, "second", key=""))
    assert first.child != second.child
    assert uses_left(house) == 0


def test_repeating_needs_the_same_token_and_name(house: House) -> None:
    request = asking(house.token())
    reply = house.join(request)
    with pytest.raises(Conflict, match="answered already, as 'reef'"):
        house.join(msgspec.structs.replace(request, name="shoal"))
    other = msgspec.structs.replace(request, token=house.token().text, name="shoal")
    assert house.join(other).child != reply.child


def test_repeating_ends_with_the_token_and_with_the_child(house: House) -> None:
    request, other = asking(house.token(ttl=60)), asking(house.token(ttl=90), "shoal")
    house.join(request)
    revoke_child(house.store, house.join(other).child)
    house.clock.advance_to(60)
    with pytest.raises(Unauthorized, match="expired"):
        house.join(request)
    with pytest.raises(Refused, match="shoal was revoked"):
        house.join(other)


def test_what_fails_after_the_batch_is_mended_by_repeating(house: House) -> None:
    request = asking(house.token())

    def broken(identity: Identity) -> None:
        raise Unavailable(f"no account for {identity.id}: the broker is away")

    with pytest.raises(Unavailable):
        join(house.store, house.clock, house.secret, house.parent, request, broken)
    child = house.join(request).child
    assert house.accounts == [child]


def refusals() -> list[Any]:
    return [
        pytest.param({"kind": "node"}, Refused, "mainland is a root, which a cluster may join: a node", id="kind"),
        pytest.param({"protocols": (2,)}, Refused, "protocol 1, the cluster speaks 2: update .* the parent", id="new"),
        pytest.param({"name": ""}, InvalidInput, "name: must be 1 to 63", id="no name"),
        pytest.param({"name": "a" * 64}, InvalidInput, "name: must be 1 to 63", id="long name"),
        pytest.param({"name": "a b"}, InvalidInput, "name: must be", id="blank in name"),
        pytest.param({"name": "a\n"}, InvalidInput, "name: must be", id="line break in name"),
        pytest.param({"name": "réf"}, InvalidInput, "name: must be", id="accent in name"),
        pytest.param({"name": "a/#"}, InvalidInput, "name: must be", id="topic in name"),
        pytest.param({"key": "short"}, InvalidInput, "key: must be 16 to 128", id="short key"),
        pytest.param({"key": "k" * 129}, InvalidInput, "key: must be 16 to 128", id="long key"),
        pytest.param({"software": "v" * 101}, InvalidInput, "software: must be at most 100", id="long version"),
        pytest.param({"software": "1\n2"}, InvalidInput, "software: must be at most 100 printable", id="line break"),
        pytest.param({"token": "garbage"}, Unauthorized, "not a join token", id="garbage"),
    ]


@pytest.mark.parametrize(("changed", "error", "message"), refusals())
def test_a_refused_join_says_why_and_changes_nothing(
    house: House, changed: dict[str, Any], error: type[MangroveError], message: str
) -> None:
    token = house.token()
    before = house.store.revision()
    with pytest.raises(error, match=message):
        house.join(asking(**{"token": token, **changed}))
    assert house.store.revision() == before
    assert house.accounts == []


def test_an_older_child_is_told_to_update_itself() -> None:
    house = House(parent=replace(House().parent, protocols=(2, 3)))
    with pytest.raises(Refused, match="speaks protocol 2, 3, the cluster speaks 1: update Mangrove on the cluster"):
        house.join(asking(house.token()))
    assert house.join(asking(house.token(), protocols=(1, 2))).protocol == 2


def test_two_live_children_never_have_the_same_name(house: House) -> None:
    token = house.token(uses=3)
    first = house.join(asking(token))
    with pytest.raises(Conflict, match=rf"a cluster named 'reef' has joined already \(id {first.child}\).*--name"):
        house.join(asking(token))
    assert uses_left(house) == 2
    revoke_child(house.store, first.child)
    second = house.join(asking(token))
    assert second.child != first.child
    revoke_child(house.store, first.child)  # once more; the name is somebody else's now
    with pytest.raises(Conflict, match=second.child):
        house.join(asking(token))


class Meeting(MemoryStore):
    """Once it has a barrier, threads come to their first write together, when each of them has read the same."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier: Barrier | None = None
        self.met = local()

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        if self.barrier is not None and not hasattr(self.met, "already"):
            self.met.already = True
            self.barrier.wait(30)
        return super().apply(operations, lease=lease)


def at_once(house: House, requests: Sequence[JoinRequest]) -> list[JoinReply | MangroveError]:
    """What each request got, all made at the same moment."""
    assert isinstance(house.store, Meeting)
    house.store.barrier = Barrier(len(requests))

    def act(request: JoinRequest) -> JoinReply | MangroveError:
        try:
            return house.join(request)
        except MangroveError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(act, requests))


def test_as_many_join_at_once_as_the_token_has_uses() -> None:
    house = House(store=Meeting())
    token = house.token(uses=5)
    results = at_once(house, [asking(token, f"reef{number}") for number in range(20)])
    joined = [result.child for result in results if isinstance(result, JoinReply)]
    assert len(set(joined)) == len(joined) == 5
    assert {str(result) for result in results if isinstance(result, MangroveError)} == {
        "this join token is used up: make a new one at the parent"
    }
    assert sorted(identity.id for identity in identities(house)) == sorted(joined)
    assert uses_left(house) == 0


def test_a_name_is_given_once_also_at_once_and_with_different_tokens() -> None:
    house = House(store=Meeting())
    results = at_once(house, [asking(house.token()) for _ in range(8)])
    assert len([result for result in results if isinstance(result, JoinReply)]) == 1
    assert {type(result) for result in results} == {JoinReply, Conflict}
    assert uses_left(house) == 7


def test_the_same_join_repeated_at_once_is_one_join() -> None:
    house = House(store=Meeting())
    results = at_once(house, [asking(house.token(uses=5))] * 8)
    assert {result.child if isinstance(result, JoinReply) else str(result) for result in results} == {
        identities(house)[0].id
    }
    assert uses_left(house) == 4


def test_the_same_join_answered_meanwhile_is_no_other_child_of_that_name() -> None:
    class Meanwhile(MemoryStore):
        first = True

        def get(self, collection: str, id: str) -> Stored | None:
            if collection == CHILD_NAMES and self.first:
                self.first = False
                house.join(request)
            return super().get(collection, id)

    house = House(store=Meanwhile())
    request = asking(house.token())
    assert house.join(request).child == identities(house)[0].id


def test_it_is_not_tried_for_ever() -> None:
    class Busy(MemoryStore):
        def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
            first = operations[0]
            if first.collection == TOKENS and len(operations) > 1:
                raise RevisionConflict(first.collection, first.id)
            return super().apply(operations, lease=lease)

    house = House(store=Busy())
    with pytest.raises(Unavailable, match="too many joins"):
        house.join(asking(house.token()))


def test_a_child_can_leave_and_join_again_under_its_name(house: House) -> None:
    token = house.token(uses=2)
    reply = house.join(asking(token))
    assert leave(house.store, house.secret, farewell(reply)).revoked
    assert leave(house.store, house.secret, farewell(reply)).revoked
    assert house.join(asking(token)).child != reply.child


def test_only_the_child_itself_can_leave(house: House) -> None:
    token = house.token(uses=2)
    reply, other = house.join(asking(token)), house.join(asking(token, "shoal"))
    forged = [
        LeaveRequest(reply.child, 1, farewell(other).proof),
        LeaveRequest(reply.child, 1, ""),
        LeaveRequest(reply.child, 1, "é"),
        LeaveRequest(reply.child, 2, leave_proof(house.secret.link_key(reply.child, 2), reply.child)),
        LeaveRequest("0" * 24, 1, leave_proof(house.secret.link_key("0" * 24, 1), "0" * 24)),
    ]
    for request in forged:
        with pytest.raises(Unauthorized, match="unknown child"):
            leave(house.store, house.secret, request)
    assert not any(identity.revoked for identity in identities(house))


def test_revoking_names_who_is_not_there(house: House) -> None:
    with pytest.raises(NotFound, match="no child nobody"):
        revoke_child(house.store, "nobody")


def test_no_secret_in_reprs_or_logs(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    request = asking(house.token())
    reply = house.join(request)
    shown = caplog.text + repr([request, reply, reply.brokers, house.secret, farewell(reply)])
    assert reply.child in shown
    hidden = (request.token[-32:], request.key, reply.link_key, reply.brokers[0].password, farewell(reply).proof)
    assert not [secret for secret in hidden if secret in shown]


@pytest.mark.parametrize(
    "body",
    [
        b'{"token":"t","name":"n","kind":"ship","protocols":[1]}',
        b'{"token":"t","name":"n","kind":"node","protocols":[]}',
        b'{"token":"t","name":"n","kind":"node","protocols":[0]}',
        b'{"token":"t","name":"n","kind":"node","protocols":[%s]}' % (b"1" * 5000),
        b'{"token":"t","name":"n","kind":"node","protocols":[%s1]}' % (b"1," * 16),
        b'{"token":"t","name":"\\ud800","kind":"node","protocols":[1]}',
    ],
    ids=["kind", "no protocol", "protocol 0", "huge number", "many protocols", "half a character"],
)
def test_what_does_not_fit_is_no_request(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=JoinRequest)
