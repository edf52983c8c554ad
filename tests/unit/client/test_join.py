"""A child joins and leaves a parent over HTTP, through the real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
from flask import Flask

from mangrove.base.errors import Conflict, InvalidInput, Refused, Unauthorized, Unavailable
from mangrove.client.http import UnexpectedAnswer
from mangrove.client.join import join, leave
from mangrove.roles.http_server import Server, serve
from mangrove.roles.web import install_error_handlers
from tests.unit.identity.house import House, asking
from tests.unit.roles.test_web import Site


@dataclass
class Parent:
    house: House
    server: Server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"


@pytest.fixture
def parent() -> Iterator[Parent]:
    site = Site()
    server = serve(site.app, "127.0.0.1", 0, threads=2)
    yield Parent(site.house, server)
    server.stop()


def test_a_child_joins_and_leaves(parent: Parent) -> None:
    request = asking(parent.house.token())
    reply = join(parent.address, request, default_port=1)
    assert reply == parent.house.join(request)
    assert join("127.0.0.1", request, default_port=parent.server.port) == reply
    parent.house.accounts[:] = [reply.child]
    leave(parent.address, reply, default_port=1)
    leave(parent.address, reply, default_port=1)
    assert parent.house.accounts == []
    forged = msgspec.structs.replace(reply, link_key="00" * 32)
    with pytest.raises(Unauthorized, match="not its key"):
        leave(parent.address, forged, default_port=1)


def test_each_refusal_has_its_error(parent: Parent) -> None:
    token = parent.house.token(uses=2)
    join(parent.address, asking(token), default_port=1)
    for request, error, message in (
        (asking("garbage"), Unauthorized, "not a join token"),
        (asking(token, kind="node"), Refused, "mainland is a root"),
        (asking(token, protocols=(2,)), Refused, "this parent speaks protocol 1"),
        (asking(token, "no name"), InvalidInput, "name: must be 1 to 63"),
        (asking(token), Conflict, "--name"),
    ):
        with pytest.raises(error, match=message):
            join(parent.address, request, default_port=1)


def test_a_parent_whose_store_is_away_is_tried_again_later(parent: Parent) -> None:
    request = asking(parent.house.token())
    parent.house.store.close()
    with pytest.raises(Unavailable):
        join(parent.address, request, default_port=1)


def test_what_cannot_be_joined_says_so() -> None:
    with pytest.raises(InvalidInput, match="address: must be"):
        join("http://somewhere/path", asking("x"), default_port=1)
    app = Flask("something else of ours")
    install_error_handlers(app)
    server = serve(app, "127.0.0.1", 0, threads=1)
    try:
        with pytest.raises(UnexpectedAnswer, match="nothing that one can join"):
            join(f"127.0.0.1:{server.port}", asking("x"), default_port=1)
    finally:
        server.stop()
