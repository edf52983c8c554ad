"""The program `mangrove-node`: the engine on a device. Loads nothing that it does not need there."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mangrove import __version__
from mangrove.base.clock import SystemClock
from mangrove.base.errors import MangroveError
from mangrove.base.log import announce, set_up_logging
from mangrove.base.notify import wait_for_signal
from mangrove.client.join import token_in
from node_engine.declared import add_options
from node_engine.joining import join_cluster, membership_in
from node_engine.metrics import serve_metrics
from node_engine.shell import Shell
from node_engine.state import StateFolder

#: Where a node engine keeps everything unless told otherwise.
DATA = "/var/lib/mangrove/node"


def main() -> None:
    """Run the node engine until it is told to end."""
    sys.exit(run_guarded(sys.argv[1:]))


def run_guarded(arguments: Sequence[str]) -> int:
    """The exit status. What a person can mend is told in one sentence, without a traceback."""
    try:
        run(arguments)
    except (MangroveError, OSError) as error:
        print(f"mangrove-node: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    options = argparse.ArgumentParser(prog="mangrove-node", description="Run a Mangrove node engine.")
    options.add_argument("--data-dir", type=Path, default=Path(DATA), help="where it keeps everything (%(default)s)")
    options.add_argument("--cluster", default="", metavar="ADDRESS", help="where to join: host or host:port")
    # Better by the environment than as an argument, which every user of the machine can read.
    options.add_argument(
        "--token", default=os.environ.get("MANGROVE_TOKEN", ""), help="join token (or in MANGROVE_TOKEN)"
    )
    options.add_argument("--token-file", type=Path, help="what it holds is the join token")
    options.add_argument("--name", default=socket.gethostname(), help="what to call it (%(default)s)")
    options.add_argument("--address", default="", help="its own address, for others (found out when left away)")
    options.add_argument("--runtimes", default="", help="which to use, as `docker,process` (those that are there)")
    options.add_argument(
        "--network",
        default="auto",
        choices=("auto", "off"),
        help="whether instances join the network between services when a mangrove-netmanager is there (%(default)s)",
    )
    add_options(options)
    options.add_argument("--metrics-port", type=int, default=0, metavar="PORT", help="show metrics to Prometheus here")
    options.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="where to listen for it (%(default)s)"
    )
    options.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    options.add_argument("--log-file", type=Path, help="write here instead, 10 MB at most")
    return options


def run(arguments: Sequence[str]) -> None:
    """Join if need be, run, and end without touching what runs. Raises MangroveError, OSError."""
    options = parser().parse_args(arguments)
    os.umask(0o077)
    set_up_logging("node", options.log_level, json_lines=options.log_json, file=options.log_file)
    with ExitStack() as ending:
        clock = SystemClock()
        state = StateFolder(options.data_dir)
        ending.callback(state.close)
        known = membership_in(state)
        joined = known.reply if known is not None else None
        if joined is None:
            token = options.token or token_in(options.token_file)
            joined = join_cluster(state, options.cluster, token, options.name)
        shell = Shell(options, state, joined, clock)
        ending.callback(shell.stop)
        shell.start()
        if options.metrics_port:
            ending.callback(serve_metrics(options.metrics_host, options.metrics_port, shell.readings))
        announce(f"mangrove-node {__version__} ({joined.name}) runs: {', '.join(shell.runtimes)}")
        wait_for_signal(shell.post)


if __name__ == "__main__":
    main()
