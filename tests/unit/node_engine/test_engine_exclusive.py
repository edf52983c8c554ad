"""The engine and what must never run twice: it runs as long as those above are known to have heard of this node."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import msgspec
import pytest

from mangrove.model.phases import Phase
from mangrove.model.specification import Disconnect
from mangrove.reconcile.child import Above
from node_engine.fuse import MemoryFuse
from tests.unit.node_engine.engine_world import World
from tests.unit.node_engine.test_engine import WEB, deploy

DATABASE = msgspec.structs.replace(WEB, disconnect=Disconnect(stop_on_child_after=30.0))


@pytest.fixture
def world() -> World:
    """At moment 100, connected."""
    world = World()
    world.above = Above(100.0, settled=True)
    return world


def hear(world: World, *, settled: bool = True) -> None:
    """Those above hear of this node, and it learns of that."""
    world.above = Above(world.clock.now(), settled)
    world.settle()


def test_it_runs_until_its_time_is_over_and_again_when_it_is_still_wanted(world: World) -> None:
    web, database = deploy(world, WEB, DATABASE)
    assert world.fuse.deadlines == {database: 130.0}, "the fuse knows it before it runs"
    world.run(10.0)
    hear(world)
    assert world.fuse.deadlines == {database: 140.0}
    world.run(29.9)
    assert world.running() == {web, database}
    world.above = Above(110.0, settled=False)
    world.run(0.2)
    assert world.running() == {web}
    assert world.phase(database) is Phase.BACKING_OFF
    hear(world, settled=False)
    world.run(5.0)
    assert world.running() == {web}, "who hears it again may have given it to another"
    hear(world)
    assert world.running() == {web, database}
    assert world.engine.statuses()[database].restarts == 1
    assert world.violations == []


def test_the_engine_wakes_for_it(world: World) -> None:
    deploy(world, DATABASE)
    world.above = Above(101.3, settled=True)
    world.run(31.0)
    assert world.engine.next_wake(world.clock.now()) == pytest.approx(131.3)


def test_an_engine_that_was_killed_takes_up_the_time_that_was_left(world: World) -> None:
    (database,) = deploy(world, DATABASE)
    world.above = Above()
    world.crash()
    world.assign()
    world.run(29.9)
    assert world.running() == {database}
    world.run(0.2)
    assert world.running() == set()


def test_after_a_reboot_it_is_not_started_before_there_is_word(world: World) -> None:
    (database,) = deploy(world, DATABASE)
    world.runtimes["docker"].end(database, None)
    world.state.boot = "boot-2"
    world.fuse.deadlines = {}
    world.above = Above()
    world.crash()
    world.assign()
    world.run(300.0)
    assert world.running() == set()
    assert "waits for word from above" in world.reason(database)
    hear(world)
    assert world.running() == {database}


def test_what_leaves_keeps_its_time_to_end(world: World) -> None:
    (database,) = deploy(world, DATABASE)
    del world.desired[database]
    world.assign()
    (stop,) = (operation for operation in world.tick() if operation.kind == "stop")
    world.clock.advance_to(129.0)
    world.above = Above(129.0, settled=True)
    world.tick()
    assert world.fuse.deadlines == {database: 159.0}
    world.finish(stop, world.carry_out(stop))
    world.settle()
    assert world.fuse.deadlines == {}


def test_time_that_the_fuse_does_not_know_of_does_not_count(world: World) -> None:
    class Stuck(MemoryFuse):
        def set(self, deadlines: Mapping[str, float]) -> None:
            if self.deadlines:
                raise OSError(errno.ENOSPC, "no space left")
            super().set(deadlines)

    world.fuse = Stuck()
    world.crash()
    (database,) = deploy(world, DATABASE)
    world.run(10.0)
    hear(world)
    world.run(19.9)
    assert world.running() == {database}
    world.run(0.2)
    assert world.running() == set()


def test_what_nobody_knows_any_more_stays_with_the_fuse(world: World) -> None:
    """An engine whose records are lost does not know that it is exclusive; while nobody says so, it is left alone."""
    (database,) = deploy(world, DATABASE)
    world.state.save_records([])
    world.above = Above()
    world.crash()
    world.run(60.0)
    assert world.fuse.deadlines == {database: 130.0}
