"""The program `mangrove-netmanager`: the one part of a node that changes its network."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mangrove import __version__
from mangrove.base.errors import MangroveError
from mangrove.base.files import private_folder
from mangrove.base.log import announce, set_up_logging
from mangrove.base.notify import wait_for_signal
from mangrove.network.door import SOCKET
from netmanager.dns import Dns
from netmanager.kernel import Kernel
from netmanager.manager import Manager
from netmanager.server import Server

#: Where it meets the node engine unless told otherwise: in the engine's folder.
FOLDER = "/var/lib/mangrove/node/network"
#: Seconds between two looks whether the kernel still is as the plan says: others may have flushed what is ours.
_LOOK = 60.0


def main() -> None:
    """Run the netmanager until it is told to end."""
    sys.exit(run_guarded(sys.argv[1:]))


def run_guarded(arguments: Sequence[str]) -> int:
    """The exit status. What a person can mend is told in one sentence, without a traceback."""
    try:
        run(arguments)
    except (MangroveError, OSError) as error:
        print(f"mangrove-netmanager: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    options = argparse.ArgumentParser(prog="mangrove-netmanager", description="Run a node's netmanager.")
    options.add_argument("--folder", type=Path, default=Path(FOLDER), help="shared with the node engine (%(default)s)")
    options.add_argument(
        "--encapsulate", action="store_true", help="use VXLAN even between nodes on one link (as clouds need it)"
    )
    options.add_argument("--clear", action="store_true", help="remove all that is ours from the kernel, and end")
    options.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options.add_argument("--log-json", action="store_true", help="log one JSON object a line")
    options.add_argument("--log-file", type=Path, help="write here instead, 10 MB at most")
    return options


def run(arguments: Sequence[str]) -> None:
    """Put the plan into effect and follow it. What is in effect outlives the program. Raises MangroveError, OSError."""
    options = parser().parse_args(arguments)
    os.umask(0o077)
    set_up_logging("netmanager", options.log_level, json_lines=options.log_json, file=options.log_file)
    with ExitStack() as ending:
        kernel = Kernel()
        ending.callback(kernel.close)
        names = Dns()
        ending.callback(names.close)
        folder = private_folder(options.folder)
        manager = Manager(folder, kernel, encapsulate=options.encapsulate, on_change=names.follow)
        if options.clear:
            manager.clear()
            return
        manager.look()
        server = Server(folder / SOCKET, manager.answer)
        ending.callback(server.close)
        done = threading.Event()
        ending.callback(done.set)
        threading.Thread(target=_look_now_and_then, args=(manager, done), name="looks", daemon=True).start()
        announce(f"mangrove-netmanager {__version__} runs")
        wait_for_signal(lambda act: act())


def _look_now_and_then(manager: Manager, done: threading.Event) -> None:
    while not done.wait(_LOOK):
        manager.look()


if __name__ == "__main__":
    main()
