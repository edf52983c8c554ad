"""Processes that die with the one that started them, and ports for them."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

from mangrove.base.errors import Unavailable

#: Ports below those that Linux gives to outgoing connections (from 32768): one of those could take the port of a
#: broker that is being restarted, and a client that calls on it meanwhile could even connect to itself.
_PORTS = range(20_000, 32_000)

#: Run by a Python of its own, because code between fork and exec is not safe in a program with threads. It asks the
#: kernel for SIGKILL when its parent dies, ignores SIGHUP until the program itself handles it, allows the program
#: as many open files as the system permits (bounded, because some allocate for all they may open), and becomes it.
_BECOME = """
import ctypes, os, resource, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the program that started this is gone")
signal.signal(signal.SIGHUP, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
allowed = 65536 if most == resource.RLIM_INFINITY else min(most, 65536)
resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
os.execv(sys.argv[2], sys.argv[2:])
"""


def start_bound_to_this_thread(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start `command` (an absolute path first) in `folder`; what it writes comes through `stdout`.

    The kernel kills it when the calling *thread* ends, not only the process: call this from a thread that lives on.
    It gets a session of its own, so that Ctrl-C in a terminal reaches only the program that manages it.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def free_port(host: str) -> int:
    """A TCP port of `host` that nothing listens on now. Raises Unavailable when there is none."""
    for port in random.sample(_PORTS, 100):
        try:
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
                return port
        except OSError:
            continue
    raise Unavailable(
        f"no free port found on {host!r} between {_PORTS.start} and {_PORTS.stop}: name one, or another host"
    )
