"""`mangrove net …`: who has which address, which way packets go. Loaded by the command line only."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import click

from mangrove.base.doors import ask
from mangrove.base.errors import NotFound, Unavailable
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_json, print_table
from mangrove.network.door import PATIENCE, SOCKET, Answer, Show
from netmanager import main as program
from netmanager.echo import echo

_FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=program.FOLDER,
    show_default=True,
    help="What the netmanager shares with the node engine.",
)


@click.group()
def net() -> None:
    """Look at the network between services, from this node and as a whole, and run the netmanager."""


@net.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the netmanager in the foreground (the same as mangrove-netmanager)."""
    raise SystemExit(program.run_guarded(arguments))


@net.command()
@_FOLDER
@output_option
def show(folder: Path, output: Format) -> None:
    """Show who has which address here, which path leads to each node, and what went through."""
    view = _view(folder)
    if output == "json":
        print_json(view)
        return
    if view["trouble"]:
        click.echo(view["trouble"], err=True)
    if "node" not in view:
        return
    click.echo(f"node {view['node']}: {', '.join(view['grants']) or 'no addresses yet'} (plan {view['version']})")
    for it in view["instances"]:
        ports = f", ports {', '.join(it['ports'])}" if it["ports"] else ""
        names = " ".join(filter(None, (it["ipv4"], it["ipv6"])))
        figures = f"received {it['received']} B, sent {it['sent']} B"
        click.echo(f"  instance {it['attempt']} of {it['service']}: {names} on {it['interface']}{ports}; {figures}")
    for it in view["services"]:
        ends = ", ".join(it["endpoints"]) or "no instance to go to"
        click.echo(f"  {it['name']} {it['address']} ({it['policy']}): {ends}; {it['connections']} connections")
    for it in view["peers"]:
        for path in it["paths"]:
            click.echo(f"  to {it['node']}: {path['network']} {path['kind']} via {path['via']} on {path['interface']}")
        if it["trouble"]:
            click.echo(f"  to {it['node']}: {it['trouble']}")


@net.command("list")
@output_option
@root_options
def list_grants(root: RootOptions, output: Format) -> None:
    """List who has which addresses in the whole tree, as the root knows it."""
    client = root.connect()
    if output == "json":
        print_json({**client.network(), "grants": client.grants(), "nodes": list(client.documents("nodes"))})
        return
    from mangrove.cli.tables import addresses_table

    whole = client.network()
    if not whole["on"]:
        click.echo("the root was started with --network off", err=True)
        return
    click.echo(f"instances {', '.join(whole['nodes'])}; services {', '.join(whole['services'])}")
    click.echo(f"{whole['blocks_free']} of {whole['blocks']} blocks for clusters are free", err=True)
    print_table(addresses_table(client.grants(), client.nodes()))


@net.command()
@click.argument("target")
@click.option("--count", type=click.IntRange(1, 1000), default=3, show_default=True, help="So many times.")
@_FOLDER
def ping(target: str, count: int, folder: Path) -> None:
    """Ask an instance at TARGET, an address or a name, for echoes. A service's address has none: its instances do."""
    address = _address(_view(folder), target)
    heard = 0
    for number in range(1, count + 1):
        took = echo(address, number)
        heard += took is not None
        click.echo(f"{address}: " + ("no answer" if took is None else f"{took:.2f} ms"))
    if not heard:
        raise SystemExit(1)


@net.command()
@click.argument("target")
@_FOLDER
def trace(target: str, folder: Path) -> None:
    """Say which way packets to TARGET, an address or a name, go from this node."""
    view = _view(folder)
    address = _address(view, target)
    click.echo("\n".join(way(view, address)))


def way(view: dict[str, Any], address: str) -> list[str]:
    """The steps of a packet to an address, one line each."""
    services = [it for it in view["services"] if it["address"] == address]
    if services:
        ends = services[0]["endpoints"]
        lines = [f"{address} is the address of {services[0]['name']} ({services[0]['policy']})"]
        if not ends:
            return [*lines, "  no instance to go to: it is turned down here"]
        return [*lines, *(f"  {line}" for end in ends for line in way(view, end))]
    for it in view["instances"]:
        if address in (it["ipv4"], it["ipv6"]):
            return [f"{address} is instance {it['attempt']} on this node, behind {it['interface']}"]
    for peer in view["peers"]:
        for network in peer["networks"]:
            if ipaddress.ip_address(address) in ipaddress.ip_network(network):
                found = [path for path in peer["paths"] if path["network"] == network]
                if not found:
                    return [f"{address} is on {peer['node']}: {peer['trouble']}"]
                path = found[0]
                how = "through VXLAN" if path["kind"] == "vxlan" else "directly"
                return [f"{address} is on {peer['node']}, reached {how} on {path['interface']} via {path['via']}"]
    return [f"{address} is nobody's that this node knows: it is turned down, or leaves by the node's own routes"]


def _view(folder: Path) -> dict[str, Any]:
    answer = ask(folder / SOCKET, Show(counters=True), Answer, patience=PATIENCE, who="the netmanager")
    if answer.error:
        raise Unavailable(answer.error)
    found: dict[str, Any] = answer.view
    return found


def _address(view: dict[str, Any], target: str) -> str:
    """An address, or the first that this node's DNS gives for a name. Raises NotFound, Unavailable."""
    try:
        return str(ipaddress.ip_address(target))
    except ValueError:
        pass
    from dnslib import DNSError, DNSRecord  # who only asks the root does without it

    for gateway in view.get("gateways", ()):
        for kind in ("A", "AAAA"):
            try:
                reply = DNSRecord.parse(
                    DNSRecord.question(target, kind).send(gateway, 53, timeout=PATIENCE, ipv6=":" in gateway)
                )
            except (OSError, DNSError, socket.gaierror, ValueError) as error:
                raise Unavailable(f"the DNS of this node does not answer at {gateway}: {error}") from None
            for record in reply.rr:
                if record.rtype in (1, 28):
                    return str(record.rdata)
        break
    raise NotFound(f"{target}: this node's DNS knows no such name")
