"""Faults of what runs on nodes, and of the runtime that runs it."""

from __future__ import annotations

from functools import partial

from node_engine.operations import Operation
from node_engine.runtimes.interface import Instance, RuntimeFault
from tests.simulation.faults.theme import WAITS, Chance, Force, Theme, fault
from tests.simulation.processes import NodeProcess, Trip


class Containers(Theme):
    """Containers that die, hang and lie, and runtimes that fail or are away."""

    def heal(self) -> None:
        for node in self.tree.nodes:
            node.runtime.problem = ""
            node.hangs.clear()
            node.lies.clear()
            node.trips.clear()
            node.poke()

    @fault("container dies", often=5)
    def dies(self, chance: Chance) -> Force | None:
        node = self.a_busy_node(chance.link)
        if node is None:
            return None
        attempt = self.rng.choice(sorted(node.runtime.running))
        self.note(f"{attempt[:6]} on {node.name} crashes")
        self.tree.watch.excused.add(attempt)
        node.runtime.crash(attempt, self.rng.choice([1, 137]))
        return self.told_above(node)

    @fault("container hangs on stop", often=0.6)
    def hangs_on_stop(self, chance: Chance) -> Force | None:
        node = self.a_busy_node(chance.link)
        if node is None:
            return None
        attempt, seconds = self.rng.choice(sorted(node.runtime.running)), self.seconds(2.0, 40.0)
        self.note(f"{attempt[:6]} on {node.name} will not stop for {seconds:.1f} s")
        node.hangs.add(attempt)
        self.after(seconds, lambda: node.hangs.discard(attempt))
        return self.told_above(node, seconds)

    @fault("runtime lies", often=0.8)
    def lies(self, chance: Chance) -> Force | None:
        """It says of one that runs that it has ended, or is not there; or of one that ended that it runs."""
        node = self.a_busy_node(chance.link)
        if node is None or node.runtime.problem:
            return None
        there = [instance for instance in node.runtime.list() if instance.state in ("running", "exited")]
        truth = self.rng.choice(sorted(there, key=lambda one: one.attempt)) if there else None
        if truth is None or truth.attempt in node.lies:
            return None
        lie: Instance | None = None
        if truth.state == "exited":
            lie = Instance(truth.attempt, "running", started=truth.started)
        elif self.rng.random() < 0.5:
            lie = Instance(truth.attempt, "exited", exit_code=1, reason="it lies", started=truth.started)
        seconds = self.seconds(1.0, 10.0)
        said = lie.state if lie is not None else "not there"
        self.note(f"{truth.attempt[:6]} on {node.name} is said to be {said} for {seconds:.1f} s")
        self.tree.watch.lied(truth.attempt)
        node.lies[truth.attempt] = lie
        node.poke()

        def end() -> None:
            node.lies.pop(truth.attempt, None)
            node.poke()

        self.after(seconds, end)
        return self.told_above(node, seconds)

    @fault("step of a runtime fails", often=9, waits=True)
    def step_fails(self, chance: Chance) -> Force | None:
        """At the link's node, or at all that are behind it."""
        problem = RuntimeFault("it failed as planned", permanent=self.rng.random() < 0.4)
        for node in [chance.link] if isinstance(chance.link, NodeProcess) else self.nodes_of(chance.link):
            node.trips.append(Trip(problem, chance.now, partial(self._failed, chance, node)))
        return WAITS

    def _failed(self, chance: Chance, node: NodeProcess, operation: Operation) -> None:
        self.note(f"{operation.kind} of {operation.attempt[:6]} on {node.name} fails")
        self.tree.watch.ailed(node)
        chance.struck(self.told_above(node))

    @fault("runtime away", often=0.9)
    def away(self, chance: Chance) -> Force | None:
        node = self.a_node(chance.link)
        if node.runtime.problem:
            return None
        node.runtime.problem = "the runtime is away"
        seconds = self.seconds(0.3, 12.0)
        self.note(f"the runtime of {node.name} is away for {seconds:.1f} s")

        def back() -> None:
            node.runtime.problem = ""

        self.after(seconds, back)
        return self.told_above(node, seconds)
