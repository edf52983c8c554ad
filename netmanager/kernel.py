"""What the kernel has of links, addresses, routes and neighbours, and how it is changed: netlink, by pyroute2.

Only what is ours is read and touched: interfaces by the begin of their names, routes by their protocol number.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mangrove.base.errors import Unavailable
from netmanager.links import PROTOCOL, TUNNEL_ID, Links, Neighbour, Route
from netmanager.namespaces import inside
from netmanager.rules import TUNNEL_PORT
from netmanager.situation import FAMILIES, GATEWAY, INSTANCE, PREFIX, TUNNEL, Attached, Family, Uplink

log = logging.getLogger(__name__)

#: Hardware address of the node's end of every instance's pair, so that the other end can be told it once and for all.
_NODE_END = "0a:4d:00:00:00:01"
#: What an instance's own end is called there.
_INSIDE = "eth0"
_UNREACHABLE, _UNICAST, _MAIN = 7, 1, 254
_PERMANENT = 0x80
_NODAD = 0x02
_SELF = 0x02
#: The metric that the kernel gives to a route of IPv6 that has none.
_USUAL_METRIC_6 = 1024


class Kernel:
    """The network namespace that this process runs in."""

    def __init__(self) -> None:
        try:
            self._netlink = IPRoute()
        except OSError as error:
            raise Unavailable(f"the kernel's network cannot be talked to: {error.strerror or error}") from error

    def close(self) -> None:
        self._netlink.close()

    # What there is

    def look(self) -> tuple[dict[str, Uplink], dict[str, Attached]]:
        """Interfaces of the node itself that are up and have addresses, and instances that have an interface, as the
        interfaces themselves say."""
        links = {link["index"]: link for link in self._netlink.get_links()}
        return self._uplinks(links), _attached(links.values())

    def attached(self) -> dict[str, Attached]:
        """The latter alone."""
        return _attached(self._netlink.get_links())

    def _uplinks(self, links: Mapping[int, Any]) -> dict[str, Uplink]:
        found: dict[str, list[Any]] = {}
        for address in self._netlink.get_addr(scope=0):
            link = links.get(address["index"])
            if link is None or link["state"] != "up" or link.get("ifname").startswith((PREFIX, "lo")):
                continue
            text = f"{address.get('IFA_ADDRESS')}/{address['prefixlen']}"
            found.setdefault(link.get("ifname"), []).append(ipaddress.ip_interface(text))
        mtus = {link.get("ifname"): link.get("mtu") for link in links.values()}
        return {name: Uplink(name, mtus[name], tuple(addresses)) for name, addresses in found.items()}

    def interface_counters(self) -> dict[str, tuple[int, int]]:
        """Bytes that each of our interfaces received and sent, as the node sees it."""
        found = {}
        for name, link in self._ours().items():
            if stats := link.get("stats64"):
                found[name] = stats["rx_bytes"], stats["tx_bytes"]
        return found

    def routes(self) -> set[Route]:
        found = set()
        names = {link["index"]: link.get("ifname") for link in self._netlink.get_links()}
        for family, everything in ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0")):
            for route in self._netlink.get_routes(family=family, proto=PROTOCOL, table=_MAIN):
                if route["proto"] != PROTOCOL or route["type"] not in (_UNICAST, _UNREACHABLE):
                    continue
                destination = route.get("dst")
                network = f"{destination}/{route['dst_len']}" if destination else everything
                metric = route.get("priority") or 0
                if family == socket.AF_INET6 and metric == _USUAL_METRIC_6:
                    metric = 0
                interface = "" if route["type"] == _UNREACHABLE else names.get(route.get("oif"), "?")
                found.add(Route(network, interface, route.get("gateway") or "", route.get("prefsrc") or "", metric))
        return found

    # What there shall be

    def apply(self, links: Links) -> None:
        """Make it so, touching nothing that is so already. Raises Unavailable."""
        try:
            self._gateway(links)
            self._tunnel(links)
            self._forward(links)
            before = self.routes()
            for route in sorted(before - links.routes):
                self._route("del", route)
            for route in sorted(links.routes - before, key=lambda it: (it.interface != GATEWAY, it)):
                self._route("replace", route)
        except NetlinkError as error:
            raise Unavailable(f"the kernel refuses a change of its network: {error}") from error

    def _gateway(self, links: Links) -> None:
        # Dummy interfaces are not in every kernel; a bridge without ports is the same.
        index = self._made(GATEWAY, kind="bridge")
        self._addresses(index, links.addresses)

    def _addresses(self, index: int, wanted: frozenset[str]) -> None:
        before = {
            f"{address.get('IFA_ADDRESS')}/{address['prefixlen']}": address
            for address in self._netlink.get_addr(index=index)
            if not (address.get("IFA_ADDRESS") or "").startswith("fe80")
        }
        for text in wanted - before.keys():
            address, _, length = text.partition("/")
            flags = {"flags": _NODAD} if ":" in address else {}
            self._netlink.addr("add", index=index, address=address, prefixlen=int(length), **flags)
        for text in before.keys() - wanted:
            address, _, length = text.partition("/")
            self._netlink.addr("del", index=index, address=address, prefixlen=int(length))

    def _tunnel(self, links: Links) -> None:
        there = self._index(TUNNEL)
        if not links.tunnel:
            if there is not None:
                self._netlink.link("del", index=there)
            return
        index = self._made(
            TUNNEL,
            kind="vxlan",
            vxlan_id=TUNNEL_ID,
            vxlan_port=TUNNEL_PORT,
            vxlan_learning=0,
            mtu=links.tunnel,
            address=links.hardware,
        )
        self._netlink.link("set", index=index, mtu=links.tunnel)
        before = self._neighbours(index)
        for neighbour in before - links.neighbours:
            self._neighbour("del", index, neighbour)
        for neighbour in links.neighbours - before:
            self._neighbour("add", index, neighbour)

    def _neighbours(self, index: int) -> set[Neighbour]:
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for entry in self._netlink.get_neighbours(family=family, ifindex=index):
                if entry["ifindex"] == index and entry["state"] & _PERMANENT and entry.get("lladdr"):
                    found.add(Neighbour("arp", TUNNEL, entry.get("dst"), entry.get("lladdr")))
        for entry in self._netlink.fdb("dump", ifindex=index):
            if entry["ifindex"] == index and entry.get("dst"):
                found.add(Neighbour("fdb", TUNNEL, entry.get("dst"), entry.get("lladdr")))
        return found

    def _neighbour(self, verb: str, index: int, entry: Neighbour) -> None:
        if entry.kind == "fdb":
            verb = "append" if verb == "add" else verb
            self._netlink.fdb(verb, ifindex=index, lladdr=entry.hardware, dst=entry.address)
        else:
            family = socket.AF_INET6 if ":" in entry.address else socket.AF_INET
            verb = "replace" if verb == "add" else verb
            self._netlink.neigh(
                verb, family=family, ifindex=index, dst=entry.address, lladdr=entry.hardware, state=_PERMANENT
            )

    def _route(self, verb: str, route: Route) -> None:
        wanted: dict[str, Any] = {"dst": route.network, "proto": PROTOCOL, "table": _MAIN}
        if route.metric:
            wanted["priority"] = route.metric
        if not route.interface:
            wanted["type"] = _UNREACHABLE
        else:
            index = self._index(route.interface)
            if index is None:
                return  # it went away with its instance, and its routes with it
            wanted["oif"] = index
            if route.via:
                wanted |= {"gateway": route.via, "flags": 4}  # onlink: the next hop is where we say
            if route.source:
                wanted["prefsrc"] = route.source
        try:
            self._netlink.route(verb, **wanted)
        except NetlinkError as error:
            if verb != "del":
                raise Unavailable(f"route {route}: {error}") from error
            log.debug("%s is gone already: %s", route, error)

    def _forward(self, links: Links) -> None:
        for interface in links.forwarding:
            _write(f"ipv4/conf/{interface}/forwarding", "1")
        if any(":" in address for address in links.addresses):
            for interface in links.forwarding:
                # Who forwards does not listen to routers any more unless told to.
                if _read(f"ipv6/conf/{interface}/accept_ra") == "1":
                    _write(f"ipv6/conf/{interface}/accept_ra", "2")
            _write("ipv6/conf/all/forwarding", "1")

    # Instances

    def attach(self, instance: Attached, namespace: str, gateways: Mapping[Family, str], mtu: int) -> None:
        """Give an instance its interface, unless it has it. namespace: path of its network namespace. gateways: by
        family. Raises Unavailable."""
        try:
            if self.attached().get(instance.attempt) == instance and inside(namespace, _has_interface):
                return
            self.release(instance.attempt)
            with open(namespace) as opened:
                self._netlink.link(
                    "add",
                    ifname=instance.interface,
                    kind="veth",
                    mtu=mtu,
                    address=_NODE_END,
                    peer={"ifname": _INSIDE, "net_ns_fd": opened.fileno(), "mtu": mtu},
                )
            index = self._index(instance.interface)
            words = (
                instance.attempt,
                instance.service,
                str(instance.number),
                instance.ipv4 or "-",
                instance.ipv6 or "-",
            )
            hardware = inside(namespace, lambda: _furnish(instance, gateways))
            for address in (instance.ipv4, instance.ipv6):
                if address:
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    self._netlink.neigh(
                        "replace", family=family, ifindex=index, dst=address, lladdr=hardware, state=_PERMANENT
                    )
            name = instance.interface
            # Answers to what the node sends to itself at 127.0.0.1, where a published port leads, come in here.
            _write(f"ipv4/conf/{name}/route_localnet", "1")
            _write(f"ipv4/conf/{name}/send_redirects", "0")
            # Last, since by it the interface counts as finished.
            self._netlink.link("set", index=index, ifalias=" ".join(words), state="up")
        except FileNotFoundError as error:
            raise Unavailable(f"{namespace} is gone: has the instance ended?") from error
        except (NetlinkError, OSError) as error:
            with contextlib.suppress(NetlinkError, OSError):
                self.release(instance.attempt)
            raise Unavailable(f"the interface of {instance.attempt} could not be made: {error}") from error

    def release(self, attempt: str) -> None:
        """Not there is success."""
        index = self._index(Attached(attempt, "", 0).interface)
        if index is not None:
            with contextlib.suppress(NetlinkError):
                self._netlink.link("del", index=index)

    # Small things

    def _ours(self) -> dict[str, Any]:
        return {link.get("ifname"): link for link in self._netlink.get_links() if link.get("ifname").startswith(PREFIX)}

    def _index(self, interface: str) -> int | None:
        found = self._netlink.link_lookup(ifname=interface)
        return int(found[0]) if found else None

    def _made(self, interface: str, **how: Any) -> int:
        index = self._index(interface)
        if index is None:
            self._netlink.link("add", ifname=interface, **how)
            index = self._index(interface)
            if index is None:
                raise Unavailable(f"the interface {interface} was made and is gone: does something remove it?")
        self._netlink.link("set", index=index, state="up")
        return index

    def remove_all(self) -> None:
        """Leave nothing of ours. The rules are not the kernel's links: see `nft`."""
        for route in self.routes():
            self._route("del", route)
        for link in self._ours().values():
            with contextlib.suppress(NetlinkError):
                self._netlink.link("del", index=link["index"])


def _attached(links: Iterable[Any]) -> dict[str, Attached]:
    found = {}
    for link in links:
        words = (link.get("ifalias") or "").split(" ")
        if link.get("ifname").startswith(INSTANCE) and len(words) == 5 and words[2].isdecimal():
            attempt, service, number, ipv4, ipv6 = words
            found[attempt] = Attached(attempt, service, int(number), ipv4.strip("-"), ipv6.strip("-"))
    return found


def _has_interface() -> bool:
    with IPRoute() as there:
        return bool(there.link_lookup(ifname=_INSIDE))


def _furnish(instance: Attached, gateways: Mapping[Family, str]) -> str:
    """Address and routes of the instance's own end; returns its hardware address. Runs inside its namespace."""
    # Containers often begin with IPv6 switched off.
    _write("ipv6/conf/all/disable_ipv6", "0")
    _write(f"ipv6/conf/{_INSIDE}/disable_ipv6", "0")
    _write(f"ipv6/conf/{_INSIDE}/accept_ra", "0")
    with IPRoute() as there:
        for name in ("lo", _INSIDE):
            there.link("set", index=there.link_lookup(ifname=name)[0], state="up")
        index = there.link_lookup(ifname=_INSIDE)[0]
        for family in FAMILIES:
            address, gateway = instance.address(family), gateways.get(family)
            if not address or not gateway:
                continue
            kind, length = (socket.AF_INET, 32) if family == 4 else (socket.AF_INET6, 128)
            flags = {} if family == 4 else {"flags": _NODAD}
            there.addr("add", index=index, address=address, prefixlen=length, **flags)
            there.neigh("replace", family=kind, ifindex=index, dst=gateway, lladdr=_NODE_END, state=_PERMANENT)
            there.route("add", dst=f"{gateway}/{length}", oif=index, scope=253 if family == 4 else 0)
            everything = "0.0.0.0/0" if family == 4 else "::/0"
            there.route("add", dst=everything, gateway=gateway, oif=index)
        return str(there.get_links(index)[0].get("address"))


def _write(name: str, value: str) -> None:
    """A setting of the network namespace that the thread is in. What is not there needs no setting."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path = Path("/proc/sys/net") / name
        if path.read_text().strip() != value:
            path.write_text(value)


def _read(name: str) -> str:
    try:
        return (Path("/proc/sys/net") / name).read_text().strip()
    except OSError:
        return ""
