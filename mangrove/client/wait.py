"""Waiting for a condition, with an end."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from mangrove.base.errors import MangroveError, Unavailable

_Value = TypeVar("_Value")


class TimedOut(MangroveError):
    """What was waited for did not happen in time."""


def wait_until(
    condition: Callable[[], _Value], timeout: float, *, what: str, interval: float = 0.1, longest: float = 1.0
) -> _Value:
    """Ask `condition` until it gives something true, and return that.

    timeout: seconds in all. what: what is waited for, for the message. The pause between two questions grows from
    `interval` to `longest` seconds. While a parent is unavailable it is asked again. Raises TimedOut.
    """
    deadline = monotonic() + timeout
    last = ""
    while True:
        try:
            value = condition()
            if value:
                return value
            last = ""
        except Unavailable as error:
            last = f" ({error.message})"
        left = deadline - monotonic()
        if left <= 0:
            raise TimedOut(f"waited {timeout:g} s for {what}{last}")
        sleep(min(interval, left))
        interval = min(interval * 1.5, longest)
