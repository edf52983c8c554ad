"""A child with a key of its own that speaks of what belongs to others: nothing of it may count (invariant 9)."""

from __future__ import annotations

import msgspec

from mangrove.link.envelope import Header, seal, topic_of
from mangrove.link.messages import PROTOCOL, REPORT, STATUS, Report
from mangrove.link.sync import Source
from mangrove.model.attempt import Status, Usage
from mangrove.model.phases import Phase
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.wire import Heard

#: What a forged status says, and how much CPU what is forged uses: nothing else in a tree says so.
REASON, CPU = "forged", -12345.0


def forge(child: ClusterProcess | NodeProcess, foreign: list[str], victim: ClusterProcess | NodeProcess) -> None:
    """Let a child tell its parent of attempts that others have.

    It does so under its own name, with its own statuses beside the forged ones so that only those are false; and under
    the name of a victim, sealed with its own key, on a broker that is set up badly and lets that through.
    """
    link, parent = child.child_link, child.parent_process
    own = {id: msgspec.json.decode(raw, type=Status) for id, raw in link._channels[STATUS]._entries.items()}
    forged = Source(STATUS)
    forged.change({**own, **{id: Status(id, Phase.FAILED, REASON) for id in foreign}}, ())
    usage = {id: Usage(cpu=CPU) for id in foreign}
    reports = [Report(link._assignment.mark, link._digests(), (step,), usage) for step in forged.steps_from("")]
    for report in reports:
        link._send(REPORT, report)
    session, topic = victim.child_link.settled_session, topic_of(parent.topic, victim.identity.id, "up", REPORT)
    for number, report in enumerate(reports):
        payload = seal(child.world.key(child.identity), topic, Header(PROTOCOL, session, 1_000_000 + number), report)
        parent.broker.inject(Heard(victim.identity.id, "up", REPORT, payload))
    child.guarded(lambda: None, child.life)
