"""The rules of nftables that a plan comes to: where services' addresses lead, what is published, who may reach whom.

Addresses are looked up in tables, no list of rules is walked through, so a packet costs the same with one service and
with thousands. Only the first packet of a connection is judged and translated; the kernel remembers the rest, whatever
changes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mangrove.base.digest import digest_of
from mangrove.network.plan import Egress, Endpoint, LocalInstance, ServiceEntry
from netmanager.balancing import chosen, translation
from netmanager.ruleset import Chain, Collection, Ruleset
from netmanager.situation import FAMILIES, GATEWAY, INSTANCE, TUNNEL, Family, Network, Situation, gateway_of

#: Our table, and the only one that is touched.
TABLE = "inet mangrove"
#: UDP port of the tunnel: neither VXLAN's own (Swarm's) nor Linux's default (Flannel's), which cannot be shared.
TUNNEL_PORT = 8479

_IP: dict[Family, str] = {4: "ip", 6: "ip6"}
_INSTANCES = f'"{INSTANCE}*"'
#: Nobody waits for what is not allowed. A jump there ends at one of the two.
_REFUSAL = Chain(("meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"))
#: What IPv6 needs of ICMP to work at all, and what both need to find the path's MTU, comes with `related`, or is this.
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, echo-request }"


#: Family, element of the map, name of the chain, and the chain.
Leading = tuple[Family, str, str, Chain]


class Memory:
    """What was worked out for services before, and from what: a change of one instance concerns one of thousands."""

    def __init__(self) -> None:
        self.services: dict[str, tuple[ServiceEntry, list[Endpoint | LocalInstance], list[Leading]]] = {}
        self._peers: object = None

    def fits(self, situation: Situation) -> None:
        """Forget what depends on how far nodes are, when that has changed."""
        if self._peers != situation.plan.peers:
            self._peers = situation.plan.peers
            self.services.clear()


def ruleset(situation: Situation, memory: Memory | None = None) -> Ruleset:
    """All of our table. memory: of earlier calls; the answer is the same without."""
    memory = memory or Memory()
    memory.fits(situation)
    chains = {"refuse": _REFUSAL, **_base(situation)}
    collections: dict[str, Collection] = {}
    for more, those in (
        _places(situation),
        _services(situation, memory),
        _ports(situation),
        _guards(situation),
        _egress(situation),
    ):
        collections |= more
        chains |= those
    return Ruleset(collections, chains)


Made = tuple[dict[str, Collection], dict[str, Chain]]


def chain_of(kind: str, id: str) -> str:
    """Name of the chain for a service or an address: ids may be longer than names of chains."""
    return f"{kind}_{digest_of(id)[:16]}"


def _base(situation: Situation) -> dict[str, Chain]:
    """The chains that the kernel calls. Priorities are those that nft calls raw, dstnat, filter and srcnat."""
    return {
        "arriving": Chain(tuple(_arriving()), "type filter hook prerouting priority -300; policy accept;"),
        "translate": Chain(tuple(_translate()), "type nat hook prerouting priority -100; policy accept;"),
        "translate_own": Chain(tuple(_translate()), "type nat hook output priority -100; policy accept;"),
        "to_node": Chain(tuple(_to_node(situation)), "type filter hook input priority 0; policy accept;"),
        "through_node": Chain(tuple(_through_node()), "type filter hook forward priority 0; policy accept;"),
        "from_node": Chain(
            tuple(f"{_IP[family]} daddr @service_ranges{family} goto refuse" for family in FAMILIES),
            "type filter hook output priority 0; policy accept;",
        ),
        "sources": Chain(tuple(_sources(situation)), "type nat hook postrouting priority 100; policy accept;"),
        "leaving": Chain(
            (
                *(f"{_IP[family]} daddr @service_ranges{family} goto refuse" for family in FAMILIES),
                *(f"{_IP[family]} daddr @ranges{family} accept" for family in FAMILIES),
                *(f"{_IP[family]} saddr vmap @egress{family}" for family in FAMILIES),
            )
        ),
        "entering": Chain(
            (
                *(f"{_IP[family]} daddr . meta l4proto . th dport @published{family} accept" for family in FAMILIES),
                *(f"{_IP[family]} saddr @nodes{family} accept" for family in FAMILIES),
                *(f"{_IP[family]} daddr vmap @guards{family}" for family in FAMILIES),
                "goto refuse",
            )
        ),
    }


def _arriving() -> Iterator[str]:
    """Nobody speaks with an address that is not its own: neither an instance, nor from outside for one."""
    for family in FAMILIES:
        ip = _IP[family]
        yield f"iifname {_INSTANCES} iifname . {ip} saddr @owners{family} return"
    yield f"iifname {_INSTANCES} drop"
    for family in FAMILIES:
        ip = _IP[family]
        yield f'iifname != "lo" {ip} saddr @ranges{family} iifname . {ip} saddr != @paths{family} drop'


def _translate() -> Iterator[str]:
    for family in FAMILIES:
        yield f"{_IP[family]} daddr vmap @services{family}"
    yield "ip6 daddr ::1 return"
    yield "fib daddr type local meta l4proto . th dport vmap @ports"


def _to_node(situation: Situation) -> Iterator[str]:
    for family in FAMILIES:
        yield f"udp dport {TUNNEL_PORT} {_IP[family]} saddr @tunnels{family} accept"
    yield f"udp dport {TUNNEL_PORT} drop"
    # What the node asks of others is answered; loopback is its own.
    yield 'iifname "lo" accept'
    yield "ct state established,related accept"
    for family in FAMILIES:
        ip = _IP[family]
        if gateway := situation.gateways.get(family):
            yield f"iifname {_INSTANCES} {ip} daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept"
            # To anybody else who sends packets there, the DNS would tell of all applications.
            yield f"{ip} daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 goto refuse"
        yield f"{ip} saddr @ranges{family} " + ("icmp type echo-request" if family == 4 else _NEIGHBOURS) + " accept"
        yield f"{ip} saddr @ranges{family} goto refuse"
    yield f"iifname {_INSTANCES} drop"


def _through_node() -> Iterator[str]:
    yield f'oifname "{TUNNEL}" tcp flags syn / syn,rst tcp option maxseg size set rt mtu'
    yield f'iifname "{TUNNEL}" tcp flags syn / syn,rst tcp option maxseg size set rt mtu'
    yield "ct state established,related accept"
    yield f"oifname {_INSTANCES} goto entering"
    yield f"iifname {_INSTANCES} goto leaving"
    for family in FAMILIES:
        yield f"{_IP[family]} daddr @ranges{family} drop"


def _sources(situation: Situation) -> Iterator[str]:
    """Whose answer would not come back through here gets an address whose answer does."""
    for family, gateway in situation.gateways.items():
        ip = _IP[family]
        yield f"{ip} saddr . {ip} daddr @itself{family} snat {ip} to {gateway}"
        if family == 4:
            yield f"ip saddr 127.0.0.0/8 ip daddr @ranges4 snat ip to {gateway}"
        yield f'{ip} saddr @own{family} {ip} daddr != @ranges{family} oifname != {{ "lo", "{GATEWAY}" }} masquerade'


def _places(situation: Situation) -> Made:
    """Which addresses are whose."""
    collections: dict[str, Collection] = {}
    for family in FAMILIES:
        address = f"ipv{family}_addr"
        local = [(it.interface, it.address(family)) for it in situation.attached.values() if it.address(family)]
        paths = [path for path in situation.paths if path.network.version == family]
        tunnels = {str(path.outer) for path in situation.paths if path.outer and path.outer.version == family}
        collections |= {
            f"own{family}": _networks(address, situation.grants(family)),
            f"ranges{family}": _networks(address, situation.ranges(family)),
            f"service_ranges{family}": _networks(address, situation.services(family)),
            f"nodes{family}": Collection("set", address, frozenset(str(gateway_of(path.network)) for path in paths)),
            f"tunnels{family}": Collection("set", address, frozenset(tunnels)),
            f"paths{family}": Collection(
                "set",
                f"ifname . {address}",
                frozenset(f"{path.interface} . {path.network}" for path in paths),
                intervals=True,
            ),
            f"owners{family}": Collection(
                "set", f"ifname . {address}", frozenset(f"{interface} . {own}" for interface, own in local)
            ),
            f"itself{family}": Collection(
                "set", f"{address} . {address}", frozenset(f"{own} . {own}" for _, own in local)
            ),
        }
    return collections, {}


def _networks(type: str, networks: Iterable[Network]) -> Collection:
    return Collection("set", type, frozenset(map(str, networks)), intervals=True)


def _services(situation: Situation, memory: Memory) -> Made:
    """Where services' addresses lead."""
    chains: dict[str, Chain] = {}
    leading: dict[Family, set[str]] = {4: set(), 6: set()}
    for id, entry in situation.plan.services.items():
        known = memory.services.get(id)
        endpoints = situation.endpoints.get(id, [])
        if known is None or known[0] != entry or known[1] != endpoints:
            known = entry, endpoints, _service(situation, entry)
            memory.services[id] = known
        for family, element, name, chain in known[2]:
            leading[family].add(element)
            chains[name] = chain
    for id in memory.services.keys() - situation.plan.services.keys():
        del memory.services[id]
    collections = {
        f"services{family}": Collection("map", f"ipv{family}_addr : verdict", frozenset(leading[family]))
        for family in FAMILIES
    }
    return collections, chains


def _service(situation: Situation, entry: ServiceEntry) -> list[Leading]:
    """For each address of a service that leads somewhere: the element of the map, and the chain."""
    found: list[Leading] = []
    for where in entry.addresses:
        family: Family = 6 if ":" in where.address else 4
        best = chosen(where, situation.targets(entry.service, family))
        if best:
            name = chain_of("service", where.address)
            statement = translation(_IP[family], best, affinity=entry.affinity > 0)
            found.append((family, f"{where.address} : goto {name}", name, Chain((f"counter {statement}",))))
    return found


def _ports(situation: Situation) -> Made:
    """What is published on this node."""
    chains: dict[str, Chain] = {}
    leading: set[str] = set()
    published: dict[Family, set[str]] = {4: set(), 6: set()}
    for local in sorted(situation.running.values(), key=lambda it: (it.service, it.number)):
        if local.state == "stopping":
            continue
        for port in local.ports:
            name = f"port_{port.protocol}_{port.host}"
            if name in chains:
                continue
            rules = []
            for family in FAMILIES:
                if address := situation.attached[local.attempt].address(family):
                    to = f"{address}:{port.container}" if family == 4 else f"[{address}]:{port.container}"
                    rules.append(
                        f"meta nfproto ipv{family} {port.protocol} dport {port.host} counter dnat {_IP[family]} to {to}"
                    )
                    published[family].add(f"{address} . {port.protocol} . {port.container}")
            chains[name] = Chain(tuple(rules))
            leading.add(f"{port.protocol} . {port.host} : goto {name}")
    collections = {"ports": Collection("map", "inet_proto . inet_service : verdict", frozenset(leading))}
    for family in FAMILIES:
        type = f"ipv{family}_addr . inet_proto . inet_service"
        collections[f"published{family}"] = Collection("set", type, frozenset(published[family]))
    return collections, chains


def _guards(situation: Situation) -> Made:
    """Who may reach the instances of this node: those of the same group, and those that declare it."""
    services = situation.plan.services
    here = {it.service for it in situation.attached.values() if it.service in services}
    groups = {services[id].group for id in here}
    collections: dict[str, Collection] = {}
    chains: dict[str, Chain] = {}
    for family in FAMILIES:
        own: dict[str, set[str]] = {}
        for attached in situation.attached.values():
            if attached.address(family):
                own.setdefault(attached.service, set()).add(attached.address(family))
        members: dict[str, set[str]] = {_members(group): set() for group in groups}
        members |= {_callers(id): set() for id in here}
        for id, entry in services.items():
            into = [members[_members(entry.group)]] if entry.group in groups else []
            into += [members[_callers(reached)] for reached in entry.reaches if reached in here]
            for each in into:
                each |= own.get(id, set())
                each.update(it.ipv4 if family == 4 else it.ipv6 for it in situation.endpoints.get(id, ()))
                each.discard("")
        for name, found in members.items():
            collections[f"{name}{family}"] = Collection("set", f"ipv{family}_addr", frozenset(found))
        guarded = {
            f"{it.address(family)} : goto {chain_of('guard', it.service)}"
            for it in situation.attached.values()
            if it.address(family) and it.service in here
        }
        collections[f"guards{family}"] = Collection("map", f"ipv{family}_addr : verdict", frozenset(guarded))
    for id in here:
        chains[chain_of("guard", id)] = Chain(tuple(_guard(services[id])))
    return collections, chains


def _guard(entry: ServiceEntry) -> Iterator[str]:
    for family in FAMILIES:
        yield f"{_IP[family]} saddr @{_members(entry.group)}{family} accept"
        yield f"{_IP[family]} saddr @{_callers(entry.service)}{family} accept"
    yield "goto refuse"


def _members(group: str) -> str:
    return chain_of("members", group) + "_"


def _callers(service: str) -> str:
    return chain_of("callers", service) + "_"


def _egress(situation: Situation) -> Made:
    """Services whose instances may connect outside only where a list allows it."""
    chains: dict[str, Chain] = {}
    collections: dict[str, Collection] = {}
    for family in FAMILIES:
        confined: set[str] = set()
        for attached in situation.attached.values():
            entry = situation.plan.services.get(attached.service)
            if attached.address(family) and entry is not None and entry.egress is not None:
                name = chain_of("egress", attached.service)
                chains[name] = Chain((*(_allow(each) for each in entry.egress), "goto refuse"))
                confined.add(f"{attached.address(family)} : goto {name}")
        collections[f"egress{family}"] = Collection("map", f"ipv{family}_addr : verdict", frozenset(confined))
    return collections, chains


def _allow(egress: Egress) -> str:
    ip = "ip6" if ":" in egress.network else "ip"
    rule = f"{ip} daddr {egress.network}"
    if egress.protocol and egress.port:
        return f"{rule} {egress.protocol} dport {egress.port} accept"
    if egress.port:
        return f"{rule} meta l4proto {{ tcp, udp }} th dport {egress.port} accept"
    return f"{rule} meta l4proto {egress.protocol} accept" if egress.protocol else f"{rule} accept"
