"""The netmanager: keeps the kernel as the plan says.

Everything it needs to go on after a crash is in the plan's file and in the kernel itself, where each instance's
interface says whose it is. One lock: requests and looks are worked through one after another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from mangrove.base.digest import digest_of
from mangrove.base.errors import InvalidInput, MangroveError, Unavailable
from mangrove.network.door import PLAN, RESOLV, Answer, Attach, Changed, Release, Request, Show
from mangrove.network.plan import NodePlan
from netmanager import conntrack, namespaces, nft
from netmanager.checking import checked_attach, read_plan
from netmanager.kernel import Kernel
from netmanager.links import Links, links
from netmanager.rules import TABLE, Memory, ruleset
from netmanager.ruleset import Seen, changes, seen_of
from netmanager.situation import Attached, Situation, paths_of
from netmanager.view import view

log = logging.getLogger(__name__)


class Manager:
    """folder: shared with the node engine. encapsulate: use the tunnel even between nodes on one link, whose network
    may let nothing through that has other addresses than the machines' own (as clouds do)."""

    def __init__(
        self,
        folder: Path,
        kernel: Kernel,
        *,
        encapsulate: bool = False,
        on_change: Callable[[Situation], None] = lambda situation: None,
    ) -> None:
        """on_change: called with each situation that is put into effect."""
        self._on_change = on_change
        self._folder = folder
        self._kernel = kernel
        self._encapsulate = encapsulate
        self._lock = threading.Lock()
        self._plan: NodePlan | None = None
        self._situation: Situation | None = None
        self._seen: Seen | None = None
        self._links: Links | None = None
        self._memory = Memory()
        self._blocked = ""  # by which firewall
        self._strays: set[str] = set()
        #: Why the newest plan was not taken, or could not be put into effect; empty when it was.
        self.trouble = ""

    @property
    def situation(self) -> Situation | None:
        """The one in effect; None before the first plan. May be read from any thread."""
        return self._situation

    def answer(self, request: Request) -> Answer:
        """Do what was asked. What goes wrong is in the answer."""
        with self._lock:
            try:
                match request:
                    case Changed():
                        return self._changed()
                    case Attach():
                        return self._attach(request)
                    case Release():
                        return self._release(request.attempt)
                    case Show():
                        return self._show(request)
            except MangroveError as error:
                log.warning("%s: %s", type(request).__name__.lower(), error.message)
                return Answer(error=error.message)

    def look(self) -> None:
        """Compare the kernel with the plan, and mend what differs: at the start, and now and then. Raises nothing."""
        with self._lock:
            self._seen = self._links = None
            self._changed()
            self._release_strays()
            self._open_firewall()

    def _open_firewall(self) -> None:
        try:
            blocked = nft.firewall()
        except MangroveError as error:
            blocked = error.message
        if blocked and blocked != self._blocked:
            log.error("%s", blocked)
        self._blocked = blocked

    def _release_strays(self) -> None:
        """Take back what an engine could not, since we were away. Twice unknown, for one that is just being made."""
        known = self._plan.instances if self._plan is not None else {}
        strays = {attempt for attempt in self._kernel.attached() if attempt not in known}
        for attempt in strays & self._strays:
            log.info("%s is not on this node any more: its interface is removed", attempt)
            self._release(attempt)
        self._strays = strays

    def _changed(self) -> Answer:
        try:
            self._plan = read_plan(self._folder / PLAN, self._plan) or self._plan
            self._apply()
            trouble = self._blocked
        except InvalidInput as error:
            trouble = f"the plan is not taken, the one before stays: {error.message}"
        except OSError as error:
            trouble = f"the plan cannot be read, the one before stays: {error.strerror or error}"
        except MangroveError as error:
            trouble = error.message
        if trouble and trouble != self.trouble:
            log.error("%s", trouble)
        self.trouble = trouble
        return Answer(error=trouble)

    def _apply(self) -> None:
        """Put the plan into effect. Raises Unavailable."""
        if self._plan is None:
            return
        before = self._situation
        uplinks, attached = self._kernel.look()
        paths, troubles = paths_of(self._plan, uplinks, encapsulate=self._encapsulate)
        now = Situation(self._plan, attached, paths, troubles)
        for node, trouble in troubles.items():
            if before is None or before.troubles.get(node) != trouble:
                log.warning("%s", trouble)
        wanted = ruleset(now, self._memory)
        if self._seen is None:
            self._seen = nft.seen(TABLE)
        transaction = changes(TABLE, self._seen, wanted)
        wires = links(now, uplinks)
        if wires != self._links:
            self._links = None
            self._kernel.apply(wires)
            self._links = wires
        if transaction:
            self._seen = None  # unknown, should it fail
            nft.run(transaction)
        self._seen = seen_of(wanted)
        self._situation = now
        self._on_change(now)
        self._tell_resolvers(now)
        if before is not None:
            gone = _addresses(before) - _addresses(now)
            if gone:
                conntrack.forget(frozenset(gone), udp_only=True)

    def _tell_resolvers(self, now: Situation) -> None:
        """Write down where names are answered. In place: it is mounted into instances as it is."""
        text = "".join(f"nameserver {gateway}\n" for gateway in now.gateways.values())
        path = self._folder / RESOLV
        try:
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                path.chmod(0o644)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror or error}") from error

    def _attach(self, request: Attach) -> Answer:
        if self._plan is None:
            raise Unavailable("the network has no plan yet: the cluster has not given this node addresses")
        request = checked_attach(request, self._plan)
        instance = Attached(request.attempt, request.service, request.number, request.ipv4, request.ipv6)
        situation = Situation(self._plan)
        for other in self._kernel.attached().values():
            if other.attempt != request.attempt and {other.ipv4, other.ipv6} & {request.ipv4, request.ipv6} - {""}:
                raise InvalidInput("ipv4", f"{request.ipv4} or {request.ipv6} is {other.attempt}'s")
        namespace = f"/proc/{request.pid}/ns/net" if request.pid else namespaces.make(self._namespace(request.attempt))
        mtu = links(situation, self._kernel.look()[0]).mtu
        self._links = None
        self._kernel.attach(instance, namespace, situation.gateways, mtu)
        self._apply()
        return Answer(namespace=namespace)

    def _show(self, request: Show) -> Answer:
        if not request.counters or self._situation is None:
            return Answer(view=view(self._situation, self.trouble, {}))
        counters = self._kernel.interface_counters()
        return Answer(view=view(self._situation, self.trouble, counters, nft.counters(TABLE)))

    def _release(self, attempt: str) -> Answer:
        known = self._kernel.attached().get(attempt)
        self._kernel.release(attempt)
        self._links = None  # the kernel removed its routes
        namespaces.remove(self._namespace(attempt))
        self._apply()
        if known is not None:
            # Its address may be another's soon.
            conntrack.forget(frozenset({known.ipv4, known.ipv6} - {""}), udp_only=False)
        return Answer()

    def _namespace(self, attempt: str) -> str:
        """Name of the network namespace that is made for an instance which brings none. Of this netmanager alone: there
        is one list of names for all network namespaces of a machine."""
        return f"mangrove-{attempt}-{digest_of(str(self._folder))[:8]}"

    def clear(self) -> None:
        """Remove all that is ours from the kernel. Raises Unavailable."""
        with self._lock:
            attached = self._kernel.attached()
            nft.remove(TABLE)
            self._kernel.remove_all()
            for attempt in attached:
                namespaces.remove(self._namespace(attempt))
            self._seen = self._situation = self._links = None


def _addresses(situation: Situation) -> set[str]:
    """Of all endpoints that may be given connections."""
    return {
        address
        for endpoints in situation.endpoints.values()
        for it in endpoints
        if it.state != "stopping"
        for address in (it.ipv4, it.ipv6)
        if address
    }
