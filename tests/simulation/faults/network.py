"""Faults of the network between children, brokers and parents."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.faults.theme import Chance, Force, Link, Theme, fault
from tests.simulation.process import ParentProcess
from tests.simulation.wire import Wire
from tests.simulation.world import CALM, SETTINGS, Weather

#: Seconds without a word after which a broker gives up a connection: one and a half keep-alives of MQTT, of 10 s.
_GIVEN_UP = 15.0


Stop = Callable[[Wire], None]


class Network(Theme):
    """Partitions, broken connections and weather."""

    def heal(self) -> None:
        self.world.weather = CALM
        for where in (self.world.frozen, self.world.cut_off, self.world.mute, self.world.deaf):
            where.clear()
        for parent in self.tree.parents:
            parent.broker.join_parent()

    @fault("cut off", often=1.2)
    def cut_off(self, chance: Chance) -> Force | None:
        """The connection breaks, the broker notices, and none can be made."""
        return self.isolate(self.world.cut_off, chance.link, "is cut off")

    @fault("partition")
    def partition(self, chance: Chance) -> Force | None:
        """Nothing comes through in either direction, and nobody notices."""
        return self.isolate(self.world.frozen, chance.link, "hears and is heard no more")

    @fault("partition upwards")
    def partition_upwards(self, chance: Chance) -> Force | None:
        """What the child says is lost, and it hears all."""
        return self.isolate(self.world.mute, chance.link, "is heard no more, and hears")

    @fault("partition downwards")
    def partition_downwards(self, chance: Chance) -> Force | None:
        """What the child is told is lost, and it is heard."""
        return self.isolate(self.world.deaf, chance.link, "hears no more, and is heard")

    @fault("away past its lease", often=1.3)
    def away_past_its_lease(self, chance: Chance) -> Force | None:
        """The child is cut off until what it runs has been replaced, and then comes back with it."""
        seconds = SETTINGS.lease * self.seconds(1.2, 4.0)
        return self.isolate(self.world.cut_off, chance.link, "is cut off past its lease", seconds)

    @fault("connection breaks", often=1.5)
    def connection_breaks(self, chance: Chance) -> Force | None:
        """And can be made again at once."""
        self.note(f"the connection of {chance.link.name} breaks")
        chance.link.parent_process.broker.cut(chance.link.identity.id)
        return Force((chance.link.identity.id,))

    @fault("parent cut from its broker", often=1.4)
    def parent_cut_from_its_broker(self, chance: Chance) -> Force | None:
        """All children stay connected, and speak to nobody."""
        parent = chance.link.parent_process
        if not parent.broker.leads_to_parent:
            return None
        seconds = self.seconds(0.1, 20.0)
        self.note(f"{parent.name} is cut from its broker for {seconds:.1f} s")
        parent.broker.cut_parent()
        self.after(seconds, parent.broker.join_parent)
        return self.below(parent, seconds)

    @fault("bad weather", often=0.7)
    def bad_weather(self, chance: Chance) -> Force | None:
        """All links lose, repeat and delay."""
        if self.world.weather is not CALM:
            return None
        weather = self.world.weather = Weather(
            lost=self.rng.choice([0.02, 0.2, 0.4]),
            repeated=self.rng.choice([0.0, 0.3]),
            late=self.rng.choice([0.0, 0.5]),
            longest=self.rng.choice([0.2, 3.0]),
        )
        self.note(f"bad weather: {weather}")
        seconds = self.seconds(0.3, 6.0)

        def clear() -> None:
            self.world.weather = CALM

        self.after(seconds, clear)
        return self.around(*self.tree.parents, seconds=seconds)

    def isolate(self, where: set[str], child: Link, what: str, seconds: float = 0.0) -> Force | None:
        """Put a child among those to whom this happens, for a while."""
        id = child.identity.id
        if id in where:
            return None
        where.add(id)
        seconds = seconds or self.seconds(0.1, 25.0)
        self.note(f"{child.name} {what} for {seconds:.1f} s")
        broker = child.parent_process.broker
        if where is self.world.cut_off:
            broker.cut(id)
        elif where is not self.world.deaf and seconds > _GIVEN_UP:
            self.after(_GIVEN_UP, lambda: broker.cut(id) if id in where else None)
        self.after(seconds, lambda: where.discard(id))
        return Force((id,), seconds)


class Brokers(Theme):
    """Ways in which a broker ends and comes back."""

    def heal(self) -> None:
        for parent in self.tree.parents:
            if not parent.broker.up:
                parent.broker.start()

    @fault("broker killed", often=1.3)
    def killed(self, chance: Chance) -> Force | None:
        """It forgets everybody, and what was on its way is lost."""
        return self._away(chance.link.parent_process, "is killed", lambda broker: broker.stop())

    @fault("broker killed, with its memory", often=1.2)
    def with_memory(self, chance: Chance) -> Force | None:
        """What was on its way is delivered after it is back, to whoever is connected then."""
        parent = chance.link.parent_process
        return self._away(parent, "is killed, and remembers", lambda broker: broker.stop(remembers=True))

    @fault("broker stopped cleanly", often=1.4)
    def stopped_cleanly(self, chance: Chance) -> Force | None:
        """The parent is told that the connections of all its children broke."""
        return self._away(chance.link.parent_process, "is stopped", lambda broker: broker.stop_cleanly())

    def _away(self, parent: ParentProcess, what: str, stop: Stop) -> Force | None:
        if not parent.broker.up or parent.broker.stopping:
            return None
        seconds = self.seconds(0.1, 6.0)
        self.note(f"the broker of {parent.name} {what}, for {seconds:.1f} s")
        felt = self.below(parent, seconds)
        stop(parent.broker)
        self.after(seconds, lambda: None if parent.broker.up or parent.buried else parent.broker.start())
        return felt
