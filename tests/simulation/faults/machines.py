"""Faults of processes, machines and their clocks."""

from __future__ import annotations

from tests.simulation.disks import Moment
from tests.simulation.faults.theme import WAITS, Chance, Force, Link, Theme, fault
from tests.simulation.process import Death, Process
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.world import SETTINGS

#: The most by which the rates of two clocks may differ (the design's clock rate error), half of it either way.
_DRIFT = SETTINGS.clock_error / 2


class Processes(Theme):
    """SIGKILL at any moment, at a write, and standing still."""

    def heal(self) -> None:
        for process in self.tree.processes:
            process.dies = None

    @fault("killed", often=1.5)
    def killed(self, chance: Chance) -> Force | None:
        process = self.an_end(chance.link)
        if not process.alive:
            return None
        felt = self.around(process)
        process.crash()
        self.after(self.seconds(0.05, 10.0), process.start)
        return felt

    @fault("killed while writing", often=5, waits=True)
    def killed_while_writing(self, chance: Chance) -> Force | None:
        """Just before or after, or between writing and syncing, which for a process alone is all the same."""
        return self._dies(chance, self.rng.choice(("before", "unsynced", "synced")), power=False)

    @fault("power lost while writing", often=5, waits=True)
    def power_lost_while_writing(self, chance: Chance) -> Force | None:
        """The machine goes down before what was written is synced, and mostly it is lost."""
        return self._dies(chance, "unsynced", power=True)

    def _dies(self, chance: Chance, moment: Moment, *, power: bool) -> Force | None:
        process = self.an_end(chance.link)
        if not process.alive or (process.dies and process.dies.until > self.world.clock.now()):
            return None
        kind = "loses power" if power else "is killed"

        def then() -> None:
            self.note(f"{process.name} {kind} at a write: {moment}")
            if isinstance(process, NodeProcess) and power:
                self.tree.watch.excused |= process.runtime.running
            chance.struck(self.around(process))

        process.dies = Death(moment, power, chance.until, chance.now, then)
        return WAITS

    @fault("paused", often=0.8)
    def paused(self, chance: Chance) -> Force | None:
        """A process stands still; what it watches over goes on."""
        return self._pause(self.an_end(chance.link), self.seconds(0.1, 20.0))

    @fault("parent paused for three leases", often=0.6)
    def parent_paused_for_three_leases(self, chance: Chance) -> Force | None:
        """And its children all this time speak to it."""
        return self._pause(chance.link.parent_process, 3 * SETTINGS.lease)

    def _pause(self, process: Process, seconds: float) -> Force | None:
        if not process.alive:
            return None
        self.note(f"{process.name} stands still for {seconds:.1f} s")
        process.pause(seconds)
        return self.around(process, seconds=seconds)


class Machines(Theme):
    """Power, suspend, and clocks."""

    def heal(self) -> None:
        for process in self.tree.processes:
            process.clock.drift(1.0)

    @fault("reboot", often=1.4)
    def reboot(self, chance: Chance) -> Force:
        """A machine goes down with all that runs on it."""
        return self._reboot(chance.link)

    @fault("reboot without network", often=1.5)
    def reboot_without_network(self, chance: Chance) -> Force:
        """It comes back, and for a while cannot speak to its parent."""
        felt = self._reboot(chance.link)
        self._without_network(chance.link)
        return felt

    @fault("power cut of a site", often=1.3)
    def power_cut_of_a_site(self, chance: Chance) -> Force:
        """A cluster, its broker and all its nodes go down at once, and come back, some without the root."""
        cluster = chance.link if isinstance(chance.link, ClusterProcess) else chance.link.cluster
        machines: list[Link] = [cluster, *self.nodes_of(cluster)]
        felt = self.around(*machines)
        for machine in machines:
            self._down(machine)
            self.after(self.seconds(0.5, 4.0), machine.start)
        if self.rng.random() < 0.5:
            self._without_network(cluster)
        return felt

    def _reboot(self, machine: Link) -> Force:
        """Whether its program runs just now, or is dead already."""
        felt = self.around(machine)
        self._down(machine)
        self.after(self.seconds(0.3, 12.0), machine.start)
        return felt

    def _down(self, machine: Link) -> None:
        if isinstance(machine, NodeProcess):
            self.tree.watch.excused |= machine.runtime.running
        machine.lose_power()

    def _without_network(self, machine: Link) -> None:
        id, seconds = machine.identity.id, self.seconds(1.0, 25.0)
        if id not in self.world.cut_off:
            self.note(f"{machine.name} will be cut off for {seconds:.1f} s")
            self.world.cut_off.add(id)
            self.after(seconds, lambda: self.world.cut_off.discard(id))

    @fault("suspended")
    def suspended(self, chance: Chance) -> Force | None:
        """The machine stands still with all that runs on it, and its clock has jumped when it wakes."""
        machine, seconds = self.an_end(chance.link), self.seconds(0.2, 20.0)
        if not machine.alive or machine.asleep_until > self.world.clock.now():
            return None
        self.note(f"the machine of {machine.name} is suspended for {seconds:.1f} s")
        machine.suspend(seconds)
        return self.around(machine, seconds=seconds)

    @fault("wall clock jumps", often=1.3)
    def wall_clock_jumps(self, chance: Chance) -> Force | None:
        process = self.an_end(chance.link)
        process.clock.ahead += self.rng.choice([-1e9, -3600.0, -20.0, 20.0, 3600.0, 1e8])
        self.note(f"the wall clock of {process.name} is {process.clock.ahead:+.0f} s off now")
        return self.around(process)

    @fault("clock drifts", often=0.5)
    def clock_drifts(self, chance: Chance) -> Force | None:
        """A machine's time runs a little faster or slower than true time, as much as the design allows."""
        process = self.an_end(chance.link)
        if process.clock.rate != 1.0:
            return None
        rate = 1.0 + self.rng.choice([-_DRIFT, _DRIFT])
        seconds = self.rng.uniform(5.0, 60.0)
        self.note(f"the clock of {process.name} runs at {rate} for {seconds:.1f} s")
        process.clock.drift(rate)
        self.after(seconds, lambda: process.clock.drift(1.0))
        return self.around(process, seconds=seconds)
