"""What a process instance is made of: its argument vector, its whole environment, and ports that must be free."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from mangrove.model.specification import Port
from node_engine.runtimes.environment import environment_of
from node_engine.runtimes.interface import RuntimeFault, Workload

#: Where instances look for programs: Debian's default for root, without the engine's own environment.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command_of(workload: Workload, work: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The argument vector and the environment of an instance whose own folder is `work`.

    Raises RuntimeFault when they are wrong, or name what this node does not have.
    """
    specification = workload.specification
    environment = {"PATH": _PATH, "HOME": str(work), "LANG": os.environ.get("LANG", "C.UTF-8")}
    environment |= environment_of(workload)
    for key in environment:
        if not (key.isascii() and key.isidentifier()):
            # The shell that supervises passes on no others.
            problem = "names for processes are made of letters, digits and underscores"
            raise RuntimeFault(f"environment: {key!r}: {problem}", permanent=True)
    # Empty too: without a GPU of its own an instance shall see none.
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(workload.gpus)
    for number, volume in enumerate(specification.volumes):
        if not os.path.exists(volume.source):
            raise RuntimeFault(f"volume {volume.source} does not exist on this node")
        environment[f"MANGROVE_VOLUME_{number}"] = volume.source
    command = specification.command or ((specification.image,) if specification.image else ())
    if not command:
        raise RuntimeFault("nothing to run: image and command are both empty", permanent=True)
    if any("\0" in part for part in command):
        raise RuntimeFault("command: has a NUL character, which ends an argument", permanent=True)
    for program in filter(None, (specification.image, command[0])):
        found = os.path.join(work, program) if "/" in program else program
        if not shutil.which(found, path=environment["PATH"]):
            raise RuntimeFault(f"executable {program} not found on this node")
    return command, environment


def check_free(ports: Iterable[Port]) -> None:
    """Raise RuntimeFault when something on this node already has one of the ports."""
    for port in ports:
        kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as probe:
            if port.protocol == "tcp":
                # Connections of an earlier instance that only wait for their end are in nobody's way.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port.host))
            except OSError as error:
                # Others, such as a port that needs privileges, are between the process and the kernel.
                if error.errno == errno.EADDRINUSE:
                    raise RuntimeFault(f"port {port.host} on this node is in use") from None
