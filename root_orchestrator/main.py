"""The program `mangrove-root`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mangrove import __version__
from mangrove.base.errors import InvalidInput
from mangrove.base.ids import new_id
from mangrove.base.log import announce
from mangrove.identity.join import Parent as Welcoming
from mangrove.link.messages import PROTOCOL
from mangrove.link.streams import STREAMS_OF_PARENT
from mangrove.network.layout import NODES, SERVICES, SUBNET4, Layout, layout_of
from mangrove.placement.scorers import preferences_in
from mangrove.roles import readings
from mangrove.roles.exposition import Exposition
from mangrove.roles.http_server import serve
from mangrove.roles.loop import Loop
from mangrove.roles.metrics_page import metrics_route
from mangrove.roles.parent import Parent
from mangrove.roles.program import Base, Running, begin_logging, common_arguments, guarded
from mangrove.roles.streams import Streams
from mangrove.roles.web import common_routes
from root_orchestrator.api.app import create_app
from root_orchestrator.api.service_addresses import ServiceAddresses
from root_orchestrator.auth.keys import load_or_create_key
from root_orchestrator.auth.resets import Post
from root_orchestrator.auth.users import ensure_admin, password_in
from root_orchestrator.history.history import History
from root_orchestrator.live import LiveFleet, measured
from root_orchestrator.mail import Errands, mail_server
from root_orchestrator.networking import RootNetwork

#: Figures kept of each instance and cluster: what Oakestra's clients draw as history.
_USAGE_KEPT = 100


def main() -> None:
    """Run the root until it is told to end."""
    sys.exit(guarded("root", run))


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    options = common_arguments("root", port=10000, mqtt_port=10001, data="/var/lib/mangrove/root")
    options.add_argument(
        "--allow-default-admin",
        action="store_true",
        help="let Admin log in with Oakestra's default password Admin: for trying things out only",
    )
    options.add_argument(
        "--admin-password-file", type=Path, help="what it holds is Admin's password from the first start on"
    )
    options.add_argument("--cors", action="append", default=[], metavar="ORIGIN", help="a web page that may call it")
    network = options.add_argument_group("network", "between services; what each level may use of it is its own matter")
    network.add_argument("--network", choices=("on", "off"), default="on", help="whether services get addresses (on)")
    network.add_argument(
        "--network-nodes", default=NODES, metavar="RANGES", help="addresses for instances, IPv4 and IPv6 (%(default)s)"
    )
    network.add_argument(
        "--network-services", default=SERVICES, metavar="RANGES", help="addresses for services (%(default)s)"
    )
    network.add_argument(
        "--network-subnet",
        type=int,
        default=SUBNET4,
        metavar="LENGTH",
        help="of one node's IPv4 network; a cluster gets 16 of them at once (%(default)s)",
    )
    mail = options.add_argument_group("mail", "for users who forgot their password; without it, Admins are told")
    mail.add_argument("--smtp", metavar="URL", help="server: smtps://user@host, or smtp://host:587 with STARTTLS")
    mail.add_argument("--smtp-password-file", type=Path, metavar="FILE", help="holds the password of that user")
    mail.add_argument("--mail-from", default="", metavar="ADDRESS", help="where mails come from")
    mail.add_argument(
        "--reset-link", default="", metavar="URL", help="page where a new password is chosen; the token comes behind it"
    )
    return options


def post_of(options: argparse.Namespace) -> Post | None:
    """How mail is sent, if it is. Raises InvalidInput, OSError."""
    if not options.smtp:
        return None
    if not options.reset_link.startswith(("https://", "http://")):
        raise InvalidInput("--reset-link", "is needed with --smtp: the page of the dashboard, with https://")
    file: Path | None = options.smtp_password_file
    password = file.read_text().strip() if file else ""
    return Post(options.reset_link, mail_server(options.smtp, password, options.mail_from).send)


def layout_in(options: argparse.Namespace) -> Layout | None:
    """How addresses are laid out, if there is a network. Raises InvalidInput."""
    if options.network == "off":
        return None
    try:
        return layout_of(options.network_nodes, options.network_services, options.network_subnet)
    except ValueError as error:
        raise InvalidInput("--network-" + str(error).partition(":")[0], str(error).partition(":")[2].strip()) from None


def run(arguments: Sequence[str]) -> None:
    """Start everything in order, serve, and stop it in reverse. Raises MangroveError, OSError."""
    options = parser().parse_args(arguments)
    begin_logging("root", options)
    post, layout = post_of(options), layout_in(options)
    base = Base(options, "root.db")
    with ExitStack() as ending:
        ending.callback(base.close)
        given = password_in(options.admin_password_file)
        password = ensure_admin(base.store, base.clock, allow_default=options.allow_default_admin, given=given)
        if password is not None and not (given or options.allow_default_admin):
            print(f"First start: user Admin, password {password} (shown only once)", flush=True)
        transport = base.transport(lambda event: deliver(event))
        parent = Parent(
            base.store,
            base.clock,
            transport,
            id=base.id,
            noun="cluster",
            settings=base.settings,
            key_of=base.key_of,
            holder=base.holder,
            new_id=new_id,
            rng=base.rng,
            usage_kept=_USAGE_KEPT,
            preferences=preferences_in(options.placement),
            measured_before=lambda id: history.recent(parent.slot_of(id) or id),
        )
        if layout is not None:
            ServiceAddresses(base.store, layout).complete()
            parent.on_store = RootNetwork(base.store, parent.network, layout).follow
        history = History(base.store, base.clock, lambda: measured(parent))
        running = Running(base, parent, parent, "controller", [history.chore()])
        deliver = running.deliver(parent.handle)
        bulk = base.bulk(parent, lambda event: bulk_loop.post(lambda: bulk.handle(event)), STREAMS_OF_PARENT)
        bulk_loop = Loop(bulk, base.clock, "streams")
        parent.on_broken = lambda child, why: bulk_loop.post(lambda: bulk.broken(child, why))
        welcoming = Welcoming("root", "cluster", (PROTOCOL,), base.broker_urls, options.lease)
        common = common_routes(
            base.store,
            base.clock,
            base.secret,
            welcoming,
            reasons_not_ready=running.reasons_not_ready,
            on_joined=base.refresh_accounts,
            on_left=lambda identity: base.refresh_accounts(),
        )
        errands = Errands()
        ending.callback(errands.stop)
        streams = Streams(base.clock)
        exposition = Exposition("root", (running.readings, lambda: readings.nodes(parent.nodes()), history.readings))
        app = create_app(
            base.store,
            base.clock,
            load_or_create_key(base.data / "secrets"),
            streams=streams,
            fleet=LiveFleet(parent, running.loop, base.clock, bulk, bulk_loop),
            history=history,
            layout=layout,
            allow_default_admin=options.allow_default_admin,
            cors_origins=options.cors,
            more_routes=[*common, metrics_route(exposition, base.metrics_token)],
            on_revoked=lambda identity: base.refresh_accounts(),
            post=post,
            later=errands.post,
            on_answered=exposition.on_answered,
        )
        running.start()
        ending.callback(running.stop)
        bulk_loop.start()
        ending.callback(bulk.close)
        ending.callback(bulk_loop.stop)
        transport.open()
        ending.callback(transport.close)
        server = serve(app, options.host, options.port, streams=streams)
        ending.callback(server.stop)
        announce(f"mangrove-root {__version__} listens on {options.host}:{server.port}")
        running.wait_for_end()


if __name__ == "__main__":
    main()
