"""Network namespaces: acting inside one, and making one that lasts for an instance without a container."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mangrove.base.errors import Unavailable

_Result = TypeVar("_Result")

#: Of setns(2) and unshare(2): the network alone.
_CLONE_NEWNET = 0x40000000
#: Where iproute2 keeps names of network namespaces, so that `ip netns` shows ours too.
FOLDER = Path("/run/netns")


def inside(namespace: str, act: Callable[[], _Result]) -> _Result:
    """What `act` returns, called in a thread of its own that has the network of `namespace` (a path).

    Raises Unavailable when it is gone or may not be entered, and whatever `act` raises.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with open(namespace) as opened:
                _call("setns", opened.fileno(), _CLONE_NEWNET)
            results.append(act())
        except OSError as error:
            errors.append(Unavailable(f"the network namespace {namespace} cannot be used: {error.strerror or error}"))
        except BaseException as error:
            errors.append(error)

    # The thread ends afterwards, so no other work is ever done in a foreign network.
    thread = threading.Thread(target=enter, name="netns", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def make(name: str) -> str:
    """Make a namespace that stays while nobody is in it, unless it is there; returns its path. Raises Unavailable."""
    path = FOLDER / name
    if not path.exists():
        _iproute("add", name)
    return str(path)


def remove(name: str) -> None:
    """Not there is success. Raises Unavailable."""
    if (FOLDER / name).exists():
        with contextlib.suppress(FileNotFoundError):
            _iproute("delete", name)


def _iproute(*arguments: str) -> None:
    done = subprocess.run(["ip", "netns", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Unavailable(f"ip netns {' '.join(arguments)}: {done.stderr.strip()}")


def _call(function: str, *arguments: int) -> None:
    """A function of the C library that Python has from 3.12 on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
