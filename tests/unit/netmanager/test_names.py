"""The node's DNS without a network of its own: who gets which answer, and what is forwarded as it came."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec
import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from mangrove.network.plan import ServiceAddress
from netmanager import dns
from netmanager.dns import Dns
from netmanager.names import Names
from netmanager.situation import Attached, Situation
from tests.unit.netmanager.test_rules import NEAR, PLAN, WEB

OTHERS = msgspec.structs.replace(WEB, service="others", group="others", addresses=(ServiceAddress("10.30.0.7"),))
SPY = msgspec.structs.replace(OTHERS, service="spy", name="spy", application_name="other")
HERE = {
    "near": NEAR,
    "theirs": Attached("theirs", "others", 0, "10.18.1.6"),
    "lost": Attached("lost", "no longer known", 0, "10.18.1.7"),
}
SITUATION = Situation(msgspec.structs.replace(PLAN, services={"web": WEB, "others": OTHERS, "spy": SPY}), HERE, (), {})


def test_two_owners_may_have_applications_of_one_name() -> None:
    names = Names(SITUATION)
    assert names.lookup("web.shop.", 4, "10.18.1.5") == ["10.30.0.1"]
    assert names.lookup("web.shop.", 4, "10.18.1.6") == ["10.30.0.7"]
    # The node itself could mean either; who belongs to no service that is known reaches none.
    assert names.lookup("web.shop.", 4, "10.18.1.1") is None
    assert names.lookup("spy.other.", 4, "10.18.1.1") == ["10.30.0.7"]
    assert names.lookup("web.shop.", 4, "10.18.1.7") is None


def test_instances_by_number() -> None:
    names = Names(SITUATION)
    assert names.lookup("0.web.shop.mangrove.internal.", 4, "10.18.1.5") == ["10.18.1.5"]
    assert names.lookup("1.web.shop", 6, "10.18.1.5") == ["fdff:18:2::5"]
    assert names.lookup("9.web.shop", 4, "10.18.1.5") == []
    for name in ("x.web.shop", "²." + "web.shop", "shop", "a.b.c.d", "", "99999999999.web.shop"):
        assert names.lookup(name, 4, "10.18.1.5") is None, name


def asked(server: Dns, name: str, kind: str = "A", forwarded: bytes | None = None) -> DNSRecord:
    answer = server.answer(DNSRecord.question(name, kind).pack(), "10.18.1.5", lambda question: forwarded)
    assert answer is not None
    return DNSRecord.parse(answer)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Dns:
    made = Dns(Path("/nonexistent"))
    monkeypatch.setattr(made, "_open", lambda address: None)
    made.follow(SITUATION)
    return made


def test_what_is_not_ours_is_forwarded_and_ours_never(server: Dns) -> None:
    elsewhere = DNSRecord.question("example.org").reply()
    elsewhere.add_answer(RR("example.org", QTYPE.A, rdata=A("192.0.2.1"), ttl=60))
    assert str(asked(server, "example.org", forwarded=elsewhere.pack()).a.rdata) == "192.0.2.1"
    assert asked(server, "example.org").header.rcode == RCODE.SERVFAIL
    assert asked(server, "gone.shop.mangrove.internal", forwarded=elsewhere.pack()).header.rcode == RCODE.NXDOMAIN
    assert asked(server, "web.shop", "AAAA", forwarded=elsewhere.pack()).rr == []


@given(st.binary(max_size=100))
def test_whatever_is_sent_is_answered_or_left(junk: bytes) -> None:
    made = Dns(Path("/nonexistent"))
    answer = made.answer(junk, "10.18.1.5", lambda question: None)
    assert answer is None or DNSRecord.parse(answer).header.rcode


def test_a_question_goes_to_the_nodes_resolvers_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("# none\nsearch x\nnameserver 127.0.0.9\nnameserver\nnameserver 127.0.0.1\n")
    made = Dns(resolv)
    assert made.resolvers() == ["127.0.0.9", "127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.bind(("127.0.0.1", 0))
        monkeypatch.setattr(dns, "_PORT", upstream.getsockname()[1])

        def reply() -> None:
            question, who = upstream.recvfrom(1000)
            upstream.sendto(DNSRecord.parse(question).reply().pack(), who)

        thread = threading.Thread(target=reply)
        thread.start()
        question = DNSRecord.question("example.org").pack()
        answer = made._ask_by_datagram(question)
        thread.join()
    assert answer is not None
    assert answer[:2] == question[:2]
