"""The engine's side of the network between services: it tells the netmanager what shall be, and asks it for interfaces.

Without a netmanager a node takes no part, and everything runs as if there were no such network.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mangrove.base.doors import ask
from mangrove.base.errors import Unavailable
from mangrove.base.files import private_folder, write_atomically
from mangrove.model.child import NO_NETWORK, Networking
from mangrove.network.door import PATIENCE, PLAN, RESOLV, SOCKET, Answer, Attach, Changed, Release, Request, Show
from mangrove.network.plan import NodePlan
from node_engine.runtimes.interface import RuntimeFault, Workload

log = logging.getLogger(__name__)

#: Seconds between two looks for a netmanager that is not there: one that was just started is soon found.
_LOOK = 5.0
_WHO = "the netmanager"
#: Nodes out of reach that are told of: enough to look into it.
_TOLD = 3
#: CAP_SYS_ADMIN, which it takes to enter a network namespace.
_ADMIN = 21


class Network:
    """folder: shared with the netmanager. underlay: this node's own address. on_change: called from another thread when
    what `networking` tells has changed."""

    def __init__(self, folder: Path, underlay: str, on_change: Callable[[], object]) -> None:
        self._folder = private_folder(folder)
        self._underlay, self._on_change = underlay, on_change
        # Who took part before does so still: instances have addresses that others know.
        self._there = (folder / PLAN).exists()
        self._trouble = ""
        self._plan: NodePlan | None = None
        self._news = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)

    def start(self) -> None:
        """Begin to look for the netmanager, and to tell it what was published."""
        self._thread.start()

    def close(self) -> None:
        self._ending = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    @property
    def resolv(self) -> Path:
        """What instances shall have as their /etc/resolv.conf."""
        return self._folder / RESOLV

    def networking(self) -> Networking:
        """What the cluster is told. May be called from any thread."""
        if not self._there:
            return NO_NETWORK
        return Networking(1, underlay=tuple(filter(None, (self._underlay,))), trouble=self._trouble)

    def publish(self, plan: NodePlan) -> None:
        """What shall be from now on. Returns at once; only the newest counts."""
        self._plan = plan
        self._news.set()

    def attach(self, workload: Workload, pid: int = 0) -> str:
        """Give an instance its interface; returns the path of its network namespace. pid: as in `Attach`.

        Raises RuntimeFault.
        """
        request = Attach(workload.attempt, workload.service, workload.number, workload.ipv4, workload.ipv6, pid)
        answer = self._ask(request)
        if answer.error:
            raise RuntimeFault(f"no network for this instance: {answer.error}")
        return answer.namespace

    def release(self, attempt: str) -> None:
        """Take an instance's interface back. What cannot be done now, the netmanager does by itself later."""
        if self._there:
            try:
                answer = self._ask(Release(attempt))
            except RuntimeFault as fault:
                answer = Answer(fault.message)
            if answer.error:
                log.warning("the network of %s is not taken back yet: %s", attempt, answer.error)

    def _ask(self, request: Request) -> Answer:
        try:
            return self._question(request)
        except Unavailable as error:
            raise RuntimeFault(f"no network for this instance: {error.message} (mangrove-netmanager)") from None

    def _work(self) -> None:
        told: NodePlan | None = None
        while not self._ending:
            self._news.clear()
            plan = self._plan
            try:
                if plan is not None and plan is not told and self._there:
                    write_atomically(self._folder / PLAN, msgspec.json.encode(plan))
                    self._question(Changed())
                    told = plan
                view = self._question(Show()).view or {}
                self._know(there=True, trouble=_trouble_in(view) if told is not None else "")
            except (Unavailable, OSError) as error:
                told = None
                self._know(there=self._there, trouble=str(error) if self._there else "")
            self._news.wait(_LOOK)

    def _question(self, request: Request) -> Answer:
        return ask(self._folder / SOCKET, request, Answer, patience=PATIENCE, who=_WHO)

    def _know(self, *, there: bool, trouble: str) -> None:
        if (there, trouble) != (self._there, self._trouble):
            if there and not self._there:
                log.info("there is a netmanager: this node takes part in the network between services")
            if trouble:
                log.warning("network between services: %s", trouble)
            self._there, self._trouble = there, trouble
            self._news.set()
            self._on_change()


def _trouble_in(view: Mapping[str, Any]) -> str:
    """What keeps this node from taking part in whole, in one line."""
    peers = [peer["trouble"] for peer in view.get("peers", ()) if peer["trouble"]]
    return str(view.get("trouble") or "") or "; ".join(peers[:_TOLD])


def entering(namespace: str, resolv: Path) -> tuple[str, ...]:
    """What a command begins with that shall run in a network namespace, with our resolv.conf. Raises RuntimeFault."""
    tools = [shutil.which(name) for name in ("nsenter", "unshare", "sh")]
    if None in tools:
        raise RuntimeFault("nsenter and unshare are not on this node: install util-linux")
    nsenter, unshare, shell = map(str, tools)
    # The mount is seen by this instance alone.
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return nsenter, f"--net={namespace}", unshare, "--mount", shell, "-c", script, str(resolv)


def may_enter() -> bool:
    """Whether this process may enter network namespaces."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _ADMIN & 1)
    return False
