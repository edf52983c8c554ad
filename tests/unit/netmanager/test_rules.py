"""What a plan comes to, without a kernel: choices among endpoints, the way from one table to another, junk."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mangrove.base.errors import InvalidInput
from mangrove.model.specification import Port
from mangrove.network.door import Attach
from mangrove.network.plan import (
    Egress,
    Endpoint,
    Grant,
    LocalInstance,
    NodePlan,
    Peer,
    Ranges,
    ServiceAddress,
    ServiceEntry,
)
from netmanager.balancing import Target, chosen, translation
from netmanager.checking import checked, checked_attach, read_plan
from netmanager.links import Route, hardware_of, links
from netmanager.rules import TABLE, ruleset
from netmanager.ruleset import Chain, Collection, Ruleset, Seen, changes, read, seen_of
from netmanager.situation import Attached, Situation, Uplink, paths_of

WEB = ServiceEntry("web", "web", "d", "app", "shop", "d", "shop", (ServiceAddress("10.30.0.1"),))
PLAN = NodePlan(
    "north",
    ranges=Ranges(("10.18.0.0/16", "fdff:18::/32"), ("10.30.0.0/16", "fdff:30::/32")),
    grants=(Grant("10.18.1.0/24", "fdff:18:1::/64"),),
    peers={"south": Peer("south", networks=("10.18.2.0/24", "fdff:18:2::/64"), underlay=("10.9.0.2",))},
    services={"web": WEB},
    endpoints={"far": Endpoint("far", "web", 1, "south", "10.18.2.5", "fdff:18:2::5")},
    instances={"near": LocalInstance("near", "web", 0, "10.18.1.5", "fdff:18:1::5", ports=(Port(8080, 80),))},
)
NEAR = Attached("near", "web", 0, "10.18.1.5", "fdff:18:1::5")
UPLINKS = {"eth0": Uplink("eth0", 1500, (ipaddress.ip_interface("10.9.0.1/24"),))}


def situation(plan: NodePlan = PLAN, *, encapsulate: bool = False) -> Situation:
    paths, troubles = paths_of(plan, UPLINKS, encapsulate=encapsulate)
    return Situation(plan, {"near": NEAR}, paths, troubles)


def target(number: int, state: str = "ready", load: float = 0.0, distance: float = 0.0) -> Target:
    return msgspec.convert(
        {
            "number": number,
            "attempt": f"a{number}",
            "address": f"10.18.2.{number}",
            "state": state,
            "load": load,
            "distance": distance,
        },
        Target,
    )


def numbers(policy: str, *targets: Target, number: int | None = None) -> list[int]:
    where = msgspec.convert({"address": "10.30.0.1", "policy": policy, "number": number}, ServiceAddress)
    return [it.number for it in chosen(where, targets)]


def test_new_connections_go_to_what_is_ready_and_else_to_what_is_doubtful() -> None:
    ready, doubtful, stopping = target(1), target(2, "doubtful"), target(3, "stopping")
    assert numbers("round_robin", stopping, doubtful, ready) == [1]
    assert numbers("round_robin", stopping, doubtful) == [2]
    assert numbers("round_robin", stopping) == []


def test_policies() -> None:
    assert numbers("instance", target(1), target(2), number=2) == [2]
    assert numbers("instance", target(1), number=2) == []
    assert numbers("closest", target(1, distance=5), target(2, distance=0.2), target(3, distance=1.1)) == [2, 3]
    assert numbers("least_loaded", target(1, load=80), target(2, load=5), target(3, load=12)) == [2, 3]


def test_a_client_stays_when_others_endpoints_change() -> None:
    def owners(*numbers: int) -> dict[str, str]:
        text = translation("ip", [target(number) for number in numbers], affinity=True)
        return dict(re.findall(r"(\d+) : ([\d.]+)", text))

    four, three = owners(1, 2, 3, 4), owners(1, 2, 3)
    assert all(three[bucket] == owner for bucket, owner in four.items() if owner != "10.18.2.4")
    assert min(Counter(four.values()).values()) > 256 / 4 / 2


def test_the_way_from_one_table_to_another_says_only_what_changed() -> None:
    before = ruleset(situation())
    assert changes(TABLE, seen_of(before), before) == ""
    gone = msgspec.structs.replace(PLAN, endpoints={})
    said = changes(TABLE, seen_of(before), ruleset(situation(gone))).splitlines()
    assert [line.split()[0] for line in said] == ["delete", "delete", "flush", "add"]
    assert all("10.18.2.5" in line or "fdff:18:2::5" in line or "service_" in line for line in said)


def test_another_hook_or_type_makes_the_table_anew_in_one_transaction() -> None:
    chain = Chain(("accept",), "type filter hook input priority 0; policy accept;")
    before = Ruleset({"s": Collection("set", "ipv4_addr")}, {"c": chain})
    for after in (
        Ruleset({"s": Collection("set", "ipv6_addr")}, {"c": chain}),
        Ruleset({"s": Collection("set", "ipv4_addr")}, {"c": Chain(("accept",), chain.hook.replace("0", "1"))}),
    ):
        assert "delete table inet mangrove\n" in changes(TABLE, seen_of(before), after)
    assert changes(TABLE, Seen(), before).startswith("table inet mangrove\ndelete table")


def test_what_cannot_be_read_is_an_error_not_a_guess() -> None:
    with pytest.raises(ValueError, match="not known"):
        read({"nftables": [{"rule": {"chain": "nobody"}}]})


def test_a_path_is_direct_on_a_shared_link_and_else_a_tunnel() -> None:
    direct = {(path.kind, str(path.via)) for path in situation().paths}
    # IPv6 needs a next hop of its own family, which this peer has not told.
    assert direct == {("direct", "10.9.0.2"), ("vxlan", "fdff:18:2::1")}
    assert {path.kind for path in situation(encapsulate=True).paths} == {"vxlan"}
    found = links(situation(encapsulate=True), UPLINKS)
    assert (found.mtu, found.tunnel) == (1500, 1450)
    assert Route("10.18.2.0/24", "mgvx", "10.18.2.1", "10.18.1.1") in found.routes
    assert hardware_of("south") in str(found.neighbours)


def test_another_site_is_not_reached_in_the_clear() -> None:
    away = msgspec.structs.replace(PLAN.peers["south"], remote=True)
    found = situation(msgspec.structs.replace(PLAN, peers={"south": away}))
    assert "no encrypted path" in found.troubles["south"]
    assert not found.paths
    assert "10.18.2.5" not in str(ruleset(found).chains)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ranges": Ranges(("10.18.0.0/99",))}, "ranges.nodes"),
        ({"ranges": Ranges(("10.18.0.0/16", "10.18.4.0/24"))}, "ranges.nodes"),
        ({"grants": (Grant("10.18.1.1/24"),)}, "grants"),
        ({"grants": (Grant("fdff::/64"),)}, "grants"),
        ({"peers": {"south": Peer("north")}}, "peers.south"),
        ({"peers": {"south": Peer("south", underlay=("8.8.8.8; reboot",))}}, "peers.south.underlay"),
        ({"services": {"a b": msgspec.structs.replace(WEB, service="a b")}}, "services.a b"),
        ({"services": {"web": msgspec.structs.replace(WEB, egress=(Egress("any"),))}}, "services.web.egress"),
        ({"endpoints": {"far": Endpoint("far", "web", 1, "south", "::1")}}, "endpoints.far.ipv4"),
        ({"instances": {"near": LocalInstance("near", "web", 0, ports=(Port(0, 80),))}}, "instances.near.ports"),
    ],
)
def test_junk_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked(msgspec.structs.replace(PLAN, **changes))
    assert refused.value.field.startswith(field)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda it: f'{{"node": {it!r}}}'.encode()))
def test_a_file_of_anything_is_a_plan_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "plan.json"
    path.write_bytes(content)
    with contextlib.suppress(InvalidInput):
        assert isinstance(read_plan(path), NodePlan)


@given(st.text(max_size=30))
def test_no_address_brings_words_of_its_own_into_the_table(text: str) -> None:
    """Whatever is let through is an address, as Python writes it."""
    plan = msgspec.structs.replace(PLAN, endpoints={"far": Endpoint("far", "web", 1, "south", text)})
    try:
        checked(plan)
    except InvalidInput:
        return
    assert text == "" or str(ipaddress.IPv4Address(text)) == text


def test_an_interface_is_given_only_with_an_address_of_this_node() -> None:
    assert checked_attach(Attach("a", "web", 0, "10.18.1.9"), PLAN).ipv4 == "10.18.1.9"
    for bad in (Attach("a", "web", 0, "10.18.2.9"), Attach("a", "web", 0), Attach("../a", "web", 0, "10.18.1.9")):
        with pytest.raises(InvalidInput):
            checked_attach(bad, PLAN)
