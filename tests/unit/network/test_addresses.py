"""Nobody is given what another has, and all that was given back can be given again."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.network.addresses import Grants, Hosts, Pool, networks_in
from mangrove.network.layout import NODES, SERVICES, layout_of
from mangrove.network.plan import Grant

SMALL4, SMALL6 = networks_in("10.18.0.0/28"), networks_in("fdff::/60")


def small_grants() -> Grants:
    """Four grants of four addresses, and as many of IPv6."""
    return Grants(SMALL4, SMALL6, 30, 62)


def overlap(one: Grant, other: Grant) -> bool:
    pairs = ((one.ipv4, other.ipv4), (one.ipv6, other.ipv6))
    return any(a and b and ipaddress.ip_network(a).overlaps(ipaddress.ip_network(b)) for a, b in pairs)


def test_a_range_is_read_as_networks() -> None:
    assert [str(each) for each in networks_in("10.18.0.0-10.29.255.255, fdff::/48")] == [
        "10.18.0.0/15",
        "10.20.0.0/14",
        "10.24.0.0/14",
        "10.28.0.0/15",
        "fdff::/48",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.9-10.0.0.1", "does not end behind its begin"),
        ("10.0.0.1-fd00::1", "does not end behind its begin"),
        ("x", "does not appear to be"),
        ("10.0.0.0/8,10.1.0.0/16", "10.1.0.0/16 is in it twice"),
    ],
)
def test_what_is_no_range_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        networks_in(text)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"services": "10.19.0.0/16"}, "services: 10.19.0.0/16 overlaps 10.18.0.0/15"),
        ({"nodes": "10.18.0.0/24"}, "nodes: none of the IPv4 networks has room for one cluster"),
        ({"nodes": "fdff::/62"}, "nodes: none of the IPv6 networks has room for one cluster"),
        ({"subnet4": 30}, "subnet: a network of length 30"),
        ({"nodes": "junk"}, "nodes: "),
        ({"services": "10.30.0.0/33"}, "services: "),
    ],
)
def test_a_layout_that_cannot_be_is_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        layout_of(**{"nodes": NODES, "services": SERVICES, **options})  # type: ignore[arg-type]


def test_the_usual_layout_is_oakestras() -> None:
    layout = layout_of()
    pool = Pool(layout.nodes_of(4), layout.block4)
    assert pool.size == 768
    assert str(pool.take()) == "10.18.0.0/22"
    assert [str(each) for each in layout.services_of(4)] == ["10.30.0.0/16"]


def test_what_was_given_back_is_given_again_last() -> None:
    grants = small_grants()
    first = grants.give("a")
    assert first == Grant("10.18.0.0/30", "fdff::/62")
    grants.take_back(first)
    given = [grants.give("b") for _ in range(4)]
    assert given[-1] == first
    assert grants.give("b") is None
    assert grants.free == 0


def test_a_grant_of_a_former_layout_stays_and_is_not_given_twice() -> None:
    grants = small_grants()
    grants.restore("a", Grant("10.18.0.4/31"))  # smaller than a piece is now
    grants.restore("b", Grant("10.0.0.0/8", "fd00::/8"))  # larger than all that there is of IPv4
    assert grants.give("c") is None
    grants.take_back(Grant("10.0.0.0/8", "fd00::/8"))
    assert [grants.give("c") for _ in range(3)] == [
        Grant("10.18.0.0/30", "fdff:0:0:0::/62".replace(":0:0:0::", "::")),
        Grant("10.18.0.8/30", "fdff:0:0:4::/62"),
        Grant("10.18.0.12/30", "fdff:0:0:8::/62"),
    ]


@pytest.mark.parametrize(
    "held",
    [Grant("10.0.0.0/8"), Grant("10.18.0.0/29"), Grant("10.99.0.0/30"), Grant("10.18.0.0/30", "fd00::/8"), Grant()],
)
def test_nobody_keeps_what_is_not_ours_to_give(held: Grant) -> None:
    grants = small_grants()
    assert not grants.adopt("a", held)
    assert grants.owners == {}


def test_the_first_to_say_so_keeps_what_two_have() -> None:
    grants = small_grants()
    assert grants.adopt("a", Grant("10.18.0.0/30", "fdff::/62"))
    assert not grants.adopt("b", Grant("10.18.0.0/30", "fdff::/62"))
    assert not grants.adopt("b", Grant("10.18.0.0/30", "fdff:0:0:4::/62"))
    assert grants.adopt("a", Grant("10.18.0.0/30", "fdff::/62"))


#: What may happen: give one to an owner, take one back, a parent that starts anew, a child that says what it has.
steps = st.lists(
    st.tuples(st.sampled_from(["give", "give", "take", "start", "adopt"]), st.sampled_from("abc"), st.integers(0, 7)),
    max_size=40,
)


@settings(max_examples=200)
@given(steps)
def test_no_two_owners_ever_have_the_same_and_all_comes_back(taken: list[tuple[str, str, int]]) -> None:
    grants = small_grants()
    model: dict[Grant, str] = {}
    for what, owner, number in taken:
        if what == "give":
            given = grants.give(owner)
            assert (given is None) == (len(model) >= 4 and all(g.ipv4 for g in model)) or given is None
            if given is not None:
                assert given not in model
                model[given] = owner
        elif what == "take" and model:
            grant = sorted(model, key=str)[number % len(model)]
            del model[grant]
            grants.take_back(grant)
        elif what == "start":
            grants = small_grants()
            for grant, whose in model.items():
                grants.restore(whose, grant)
        elif what == "adopt":
            held = Grant(f"10.18.0.{number * 2}/{30 if number % 2 == 0 else 31}", f"fdff:0:0:{number * 2:x}::/{63}")
            free = not any(overlap(held, other) for other in model)
            adopted = grants.adopt(owner, held)
            if adopted and held not in model:
                assert free
                model[held] = owner
        assert grants.owners == model
        for one in model:
            assert not any(overlap(one, other) for other in model if other is not one)
    for grant in list(model):
        grants.take_back(grant)
    assert grants.free == 4
    assert len({grants.give("x") for _ in range(4)}) == 4


def test_instances_get_addresses_of_both_families_behind_each_other() -> None:
    hosts = Hosts()
    grant = Grant("10.18.0.64/29", "fdff:0:0:1::/64")
    first = hosts.choose([grant], set())
    assert first == ("10.18.0.66", "fdff:0:0:1::2")  # the first two are the network's and the node's
    assert hosts.choose([grant], set()) == ("10.18.0.67", "fdff:0:0:1::3")
    taken = {f"10.18.0.{number}" for number in range(64, 71)} - {"10.18.0.68"}
    assert hosts.choose([grant], taken) == ("10.18.0.68", "fdff:0:0:1::4")
    assert hosts.choose([grant], taken | {"10.18.0.68"}) is None
    assert hosts.choose([grant, Grant("10.18.1.0/29")], taken | {"10.18.0.68"}) == ("10.18.1.2", "")
    assert hosts.choose([], set()) is None
    assert hosts.choose([Grant("10.18.0.0/31")], set()) is None


def test_the_usual_network_of_a_node_has_room_for_61_instances() -> None:
    hosts, taken = Hosts(), set[str]()
    while (chosen := hosts.choose([Grant("10.18.0.0/26", "fdff::/64")], taken)) is not None:
        assert not taken & set(chosen)
        taken |= set(chosen)
    assert len(taken) == 2 * 61
