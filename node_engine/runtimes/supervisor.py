"""The supervisor: a tiny shell beside each process instance that outlives the engine and keeps the exit code.

Only its parent can learn how a process ended, and the engine may be away then. So the parent is not the engine.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: In the instance's folder: where the instance runs, what it prints, and its exit code once it has ended.
WORK, OUTPUT, EXIT = "work", "output.log", "exit"

#: What it calls itself, so that it can be told from the instance.
NAME = "mangrove-supervisor"

#: Arguments: the instance's folder, the doors of control groups to enter, `--`, the command. It begins only when told
#: that its process id is on disk, and ends when the engine dies before that, so nothing ever runs that nobody knows
#: of. The traps keep it alive through signals meant for the instance, which gets them with their usual effect. It
#: stays outside the control groups: what ends or limits the instance must not hit the one who is to tell of it. When
#: memory runs out the instance counts like any program, however well the engine is guarded.
_SCRIPT = f"""
trap : HUP INT QUIT TERM USR1 USR2
cd -- "$1" && shift || exit
read -r mangrove_go || exit
(
    while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done
    shift
    {{ echo 0 >/proc/self/oom_score_adj; }} 2>/dev/null
    cd {WORK} || exit 125
    exec "$@"
) </dev/null 2>&1
echo $? >{EXIT}
"""
_SHELL = "/bin/sh"
#: What Python or whoever started the engine may have set to be ignored, which an instance would inherit.
_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


def launch(
    folder: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    doors: Sequence[Path],
    written_down: Callable[[int], None],
) -> int:
    """Start `command` in `folder`/work in a session of its own; returns the supervisor's process id.

    doors: `cgroup.procs` files to enter first. written_down: called with the process id while the command is held
    back; when it raises, nothing has run. Raises OSError.
    """
    read_end, write_end = os.pipe()
    try:
        try:
            pid = os.posix_spawn(
                _SHELL,
                ["sh", "-c", _SCRIPT, NAME, str(folder), *map(str, doors), "--", *command],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read_end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(folder / OUTPUT), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )
        finally:
            os.close(read_end)
        try:
            written_down(pid)
            os.write(write_end, b"\n")
        except BaseException:
            os.close(write_end)
            write_end = -1
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
    finally:
        if write_end >= 0:
            os.close(write_end)
    return pid


def reap(pid: int) -> None:
    """Let the kernel forget an ended supervisor; one started by an earlier engine is init's to reap."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def read_exit_code(folder: Path) -> int | None:
    """What the supervisor left; None when it left nothing (it was killed, or the machine went down)."""
    try:
        return int((folder / EXIT).read_text())
    except (OSError, ValueError):
        return None
