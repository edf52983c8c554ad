"""The interface of a runtime.

Calls block and run in worker threads; each is idempotent, so that any may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mangrove.base.errors import MangroveError
from mangrove.model.attempt import Usage
from mangrove.model.specification import Specification
from node_engine.runtimes.printed import Line, Reading, Wish

#: Labels on everything a runtime makes. An engine adopts, and removes as orphans, only what carries its own first two.
LABEL_INSTALLATION = "mangrove.installation"
LABEL_NODE = "mangrove.node"
LABEL_ATTEMPT = "mangrove.attempt"


@dataclass(frozen=True, slots=True)
class Workload:
    """An attempt as a runtime sees it. environment: what the engine adds to the specification's (`KEY=value` each).

    gpus: device ids (`GPU-…` or indices as text) given to this instance. ipv4, ipv6: its addresses in the network
    between services; empty where it has none.
    """

    attempt: str
    service: str
    number: int
    epoch: int
    specification: Specification
    environment: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """What a runtime knows of something it made.

    state: `prepared` (made, never started), `running`, `exited`. exit_code: None unless exited and known.
    started: wall-clock seconds of the newest start, 0 if never. reason: one line for a person when it ended badly,
    such as "out of memory (limit 64 MiB)" or "exit code 3".
    """

    attempt: str
    state: Literal["prepared", "running", "exited"]
    exit_code: int | None = None
    started: float = 0.0
    reason: str = ""


class RuntimeFault(MangroveError):
    """A step failed. The message is for the user, such as "image nginx:1 not found".

    permanent: whether trying the same again on this node cannot help.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


#: Called with one line about progress, such as "pulling nginx: 12 of 40 MiB".
Progress = Callable[[str], None]


class Runtime(Protocol):
    """Runs instances of one kind."""

    @property
    def name(self) -> str:
        """As in a specification's `runtime`."""

    def available(self) -> str:
        """Empty when it can be used now, else one line that says why not and what to do."""

    @property
    def engine(self) -> str:
        """Name and version of the program behind it, such as "Podman 4.3.1"; empty when there is none, or not known."""

    @property
    def addons(self) -> Sequence[str]:
        """What it offers beside running, for the constraint `addons`: as it was when `available` was asked last."""

    def prepare(self, workload: Workload, progress: Progress) -> None:
        """Get the image and make the sandbox. Raises RuntimeFault."""

    def attach(self, workload: Workload) -> None:
        """Join the network; nothing to do until there is a netmanager."""

    def start(self, workload: Workload) -> Instance:
        """Start it, or start it again after it exited; running already is success. Raises RuntimeFault."""

    def stop(self, attempt: str, grace: float) -> None:
        """Ask it to end, and after `grace` seconds make it. Returns when it has ended; not there is success."""

    def remove(self, attempt: str) -> None:
        """Remove all traces of it. Not there is success."""

    def list(self) -> Sequence[Instance]:
        """Everything of this node (by the labels), running or not. Raises RuntimeFault when the runtime is away."""

    def usage(self, attempts: Sequence[str]) -> dict[str, Usage]:
        """What running instances use now; those that cannot be measured are left out."""

    def logs(self, attempt: str, wish: Wish, reading: Reading) -> Iterator[Sequence[Line]]:
        """What it printed, in batches of some kilobytes; nothing when it is not there. It may wait for more, in the
        reader's thread, and ends when `reading` does. An instance never waits for a reader. Raises RuntimeFault."""

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` from another thread whenever something may have changed, so that it is time to `list`.

        To be called once; ends with `close`. It is a hint that comes early, and one may be missed.
        """

    def close(self) -> None:
        """Release connections and end the watch; instances go on."""
