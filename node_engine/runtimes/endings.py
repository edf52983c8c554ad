"""How an instance ended, in words."""

from __future__ import annotations

#: Shells and Docker report a process that a signal ended as 128 plus the signal's number (POSIX: "greater than 128").
SIGNALLED = 128
#: The largest signal number on Linux.
_LAST_SIGNAL = 64


def reason_of_exit(exit_code: int | None, *, out_of_memory: bool = False, memory: int = 0) -> str:
    """One line on why it ended, empty after exit code 0.

    exit_code: None when nobody knows it. out_of_memory: whether the kernel ended (a part of) it for lack of memory;
    memory: its limit in MiB, 0 for none.
    """
    if exit_code == 0:
        return ""
    if out_of_memory:
        return f"out of memory (limit {memory} MiB)" if memory else "out of memory"
    if exit_code is None:
        return "ended, and nothing is left that knows its exit code"
    if SIGNALLED < exit_code <= SIGNALLED + _LAST_SIGNAL:
        return f"killed by signal {exit_code - SIGNALLED}"
    return f"exit code {exit_code}"
