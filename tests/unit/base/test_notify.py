"""How a program waits for its end."""

from __future__ import annotations

import subprocess
import sys

#: Of each step into waiting, one program that gets the signal in that very step; what it came to, by how it ended.
SIGNALLED = """
import os, signal, sys
from mangrove.base.notify import wait_for_signal

os.environ["WATCHDOG_USEC"] = "300000"
os.environ.pop("WATCHDOG_PID", None)
LAST = 7

def waits(signalled):
    ready, step = False, 0
    def hook(frame, event, argument):
        nonlocal ready, step
        if not ready:
            ready = event == "return" and frame.f_code.co_name == "notify"
            return
        step += 1
        if step == signalled:
            os.kill(os.getpid(), signal.SIGTERM)
    signal.alarm(PATIENCE)
    sys.setprofile(hook)
    wait_for_signal(lambda sign: os._exit(LAST))
    os._exit(0)

step = 0
while True:
    step += 1
    child = os.fork()
    if not child:
        waits(step)
    how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if how == LAST:
        break
    if how:
        sys.exit(f"signalled at step {step}, it ended by {how}")
print(step)
"""


def test_a_signal_that_comes_at_any_step_into_waiting_ends_it() -> None:
    program = SIGNALLED.replace("PATIENCE", "30")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5, "it was signalled indeed"
