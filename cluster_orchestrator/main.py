"""The program `mangrove-cluster`."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from flask import Flask

from cluster_orchestrator import holding, local
from cluster_orchestrator.cluster import Cluster
from cluster_orchestrator.joining import identity_in, join_root
from cluster_orchestrator.relaying import Relaying
from mangrove import __version__
from mangrove.base.errors import InvalidInput, MangroveError
from mangrove.base.ids import new_id
from mangrove.base.log import announce
from mangrove.base.machine import boot_id
from mangrove.client.join import token_in
from mangrove.identity.join import Parent as Welcoming
from mangrove.identity.messages import JoinReply
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import PROTOCOL, Call, Reply
from mangrove.link.streams import STREAMS_OF_CHILD, STREAMS_OF_PARENT
from mangrove.link.transports.interface import Broker
from mangrove.link.transports.mqtt import MqttChildTransport
from mangrove.model.documents import META
from mangrove.model.position import Position, position_of
from mangrove.placement.scorers import preferences_in
from mangrove.roles import adopted_routes, readings
from mangrove.roles.bulk import ChildBulk, Relay
from mangrove.roles.exposition import Exposition
from mangrove.roles.http_server import serve
from mangrove.roles.loop import Loop
from mangrove.roles.metrics_page import metrics_route
from mangrove.roles.parent import Parent
from mangrove.roles.program import Base, Running, begin_logging, common_arguments, guarded
from mangrove.roles.requests import install_requests
from mangrove.roles.routes import register
from mangrove.roles.web import common_routes, install_error_handlers
from mangrove.store.interface import Put, Store


def main() -> None:
    """Run the cluster until it is told to end."""
    sys.exit(guarded("cluster", run))


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    options = common_arguments("cluster", port=10100, mqtt_port=10101, data="/var/lib/mangrove/cluster")
    options.add_argument("--root", default="", metavar="ADDRESS", help="where to join: host or host:port of the root")
    # Better by the environment than as an argument, which every user of the machine can read.
    options.add_argument(
        "--token", default=os.environ.get("MANGROVE_TOKEN", ""), help="join token (or in MANGROVE_TOKEN)"
    )
    options.add_argument("--token-file", type=Path, help="what it holds is the join token")
    options.add_argument("--name", default=socket.gethostname(), help="what to call it (%(default)s)")
    options.add_argument(
        "--network", choices=("on", "off"), default="on", help="whether its nodes may take part in the network (on)"
    )
    options.add_argument("--location", default="", metavar="LAT,LON[,METRES]", help="where it stands")
    return options


def run(arguments: Sequence[str]) -> None:
    """Start everything in order, serve, and stop it in reverse. Raises MangroveError, OSError."""
    options = parser().parse_args(arguments)
    begin_logging("cluster", options)
    position, preferences = location_in(options.location), preferences_in(options.placement)
    base = Base(options, "cluster.db")
    with ExitStack() as ending:
        ending.callback(base.close)
        joined = identity_in(base.data) or join_root(
            base.data, options.root, options.token or token_in(options.token_file), options.name
        )
        up = MqttChildTransport(joined.parent, joined.child, lambda event: deliver_up(event))
        down = base.transport(lambda event: deliver_down(event))
        identity = child_identity(joined, raise_incarnation(base.store))
        cluster = Cluster(
            identity,
            [Broker(access.url, access.username, access.password) for access in joined.brokers],
            base.store,
            up,
            down,
            base.clock,
            id=base.id,
            root_store=joined.store,
            settings=base.settings,
            key_of=base.key_of,
            new_id=new_id,
            rng=base.rng,
            holder=base.holder,
            position=position,
            answer=lambda call: relaying.answer(call) if call.method == "logs" else answer(base, cluster.parent, call),
            preferences=preferences,
            network=options.network == "on",
        )
        running = Running(base, cluster, cluster.parent, "cluster")
        deliver_up, deliver_down = running.deliver(cluster.handle_up), running.deliver(cluster.handle_down)
        relay_loop, relaying = relay_streams(base, cluster, identity, running.loop)
        app = Flask("cluster_orchestrator", static_folder=None)
        exposition = Exposition(
            "cluster",
            (
                running.readings,
                lambda: readings.upwards(cluster.role.link, base.clock),
                lambda: readings.nodes((joined.name, view) for view in cluster.nodes()),
            ),
        )
        install_requests(app, exposition.on_answered)
        install_error_handlers(app)
        common = common_routes(
            base.store,
            base.clock,
            base.secret,
            Welcoming(joined.name, "node", (PROTOCOL,), base.broker_urls, options.lease),
            reasons_not_ready=lambda: [*running.reasons_not_ready(), *filter(None, (cluster.role.trouble,))],
            on_joined=base.refresh_accounts,
            on_left=lambda identity: base.refresh_accounts(),
        )
        own = local.routes(
            base.store, base.clock, cluster_id=joined.child, nodes=cluster.nodes, on_revoked=base.refresh_accounts
        )
        operating = [
            *holding.routes(base.store, base.clock, joined.name, cluster.status),
            *adopted_routes.routes(base.store, local.OPERATOR),
        ]
        operator = local.keep_operator_token(base.data, base.secret)
        register(app, [*common, metrics_route(exposition, base.metrics_token), *own, *operating], local.guard(operator))
        running.start()
        ending.callback(running.stop)
        relay_loop.start()
        ending.callback(relaying.relay.close)
        ending.callback(relay_loop.stop)
        ending.callback(up.close)
        down.open()
        ending.callback(down.close)
        server = serve(app, options.host, options.port, threads=4)
        ending.callback(server.stop)
        announce(f"mangrove-cluster {__version__} ({joined.name}) listens on {options.host}:{server.port}")
        running.wait_for_end()


def relay_streams(base: Base, cluster: Cluster, identity: ChildIdentity, loop: Loop) -> tuple[Loop, Relaying]:
    """The cluster's second connections, up and down, in a loop of their own."""
    transport = MqttChildTransport(
        identity.parent, identity.child, lambda event: bulk_loop.post(lambda: up.handle(event)), bulk=True
    )
    up = ChildBulk(identity, transport, lambda: cluster.role.broker, base.clock, limit=STREAMS_OF_PARENT)
    down = base.bulk(cluster.parent, lambda event: bulk_loop.post(lambda: down.handle(event)), STREAMS_OF_CHILD)
    relay = Relay(up, down)
    bulk_loop = Loop(relay, base.clock, "streams")
    cluster.parent.on_broken = lambda child, why: bulk_loop.post(lambda: down.broken(child, why))
    cluster.role.on_welcome = lambda: bulk_loop.post(lambda: up.broken("the link to the root began anew"))
    return bulk_loop, Relaying(cluster, relay, new_id, to_loop=loop.post, to_bulk=bulk_loop.post)


def raise_incarnation(store: Store, by: int = 1) -> int:
    """Count this start, durably, before anything is said to the root. by: more than 1 when it is not known how many
    starts the store has missed."""
    stored = store.get(META, "incarnation")
    incarnation = by + (0 if stored is None else int(stored.document["count"]))
    store.apply([Put(META, "incarnation", {"count": incarnation})])
    return incarnation


def child_identity(joined: JoinReply, incarnation: int) -> ChildIdentity:
    """Who this cluster is to the root."""
    return ChildIdentity(
        joined.parent,
        joined.child,
        bytes.fromhex(joined.link_key),
        joined.name,
        __version__,
        incarnation,
        boot_id(),
    )


def answer(base: Base, parent: Parent, call: Call) -> Reply:
    """What the root may ask of a cluster."""
    try:
        if call.method == "node_token":
            wanted = msgspec.convert(call.params, local.TokenRequest)
            return Reply(call.id, local.issue_node_token(base.store, base.clock, wanted))
        if call.method == "remove_node":
            node = str(call.params.get("node", ""))
            return Reply(call.id, local.remove_node(base.store, node, base.refresh_accounts))
        if call.method == "cordon_node":
            node, cordoned = str(call.params.get("node", "")), call.params.get("cordoned") is True
            drain = call.params.get("drain") is True
            return Reply(call.id, local.cordon_node(base.store, node, cordoned, drain))
        if call.method == "rebalance":
            moves = parent.rebalance(dry_run=call.params.get("dry_run") is not False)
            return Reply(call.id, {"moves": msgspec.to_builtins(moves)})
        return Reply(call.id, error=f"unknown method {call.method[:40]}")
    except (MangroveError, msgspec.ValidationError) as error:
        return Reply(call.id, error=str(error))


def location_in(text: str) -> Position | None:
    """What `--location` says. Raises InvalidInput."""
    try:
        return position_of(text) if text else None
    except ValueError as error:
        raise InvalidInput("--location", f"{text[:80]!r} {error}") from None


if __name__ == "__main__":
    main()
