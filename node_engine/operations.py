"""What the engine's core asks its shell to do with a runtime, and how many of each at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from node_engine.runtimes.interface import Instance, RuntimeFault, Workload

Kind = Literal["prepare", "attach", "start", "stop", "kill", "remove", "list"]

#: Those that end something; they need neither a workload nor a record on disk.
ENDING: Final[frozenset[Kind]] = frozenset({"stop", "kill", "remove"})

#: How many operations of each kind one runtime is asked for at once. Apart, so that slow pulls never hold up a stop.
#: Pulls share the uplink and starts the few cores of a device; stops mostly wait for the instance's own ending, and
#: what must be killed waits for nothing.
WIDTH: Final[Mapping[Kind, int]] = {
    "prepare": 3,
    "attach": 2,
    "start": 4,
    "stop": 8,
    "kill": 32,
    "remove": 4,
    "list": 1,
}

#: Seconds that an instance has to end by itself before it is made to; as long as Docker's own default, which is what
#: images are written for.
STOP_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to ask a runtime for. number: rises with each. workload: for prepare, attach and start.

    request: id of the user's request that it follows from, for the logs.
    """

    kind: Kind
    runtime: str
    number: int
    attempt: str = ""
    workload: Workload | None = None
    request: str = ""


#: How an operation ended: `start` gives an Instance, `list` all of them, the others None.
Result = Instance | Sequence[Instance] | RuntimeFault | None
