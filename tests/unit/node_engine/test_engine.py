"""The engine's core, one behaviour at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mangrove.model.attempt import Attempt
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Port, Specification
from node_engine import lookout
from node_engine.engine import SAVE_RETRY
from node_engine.operations import WIDTH, Kind, Operation
from node_engine.reports import PROGRESS_GAP
from node_engine.runtimes.interface import RuntimeFault
from tests.unit.node_engine.engine_world import Thing, World

WEB = Specification(name="shop.prod.web.prod", runtime="docker", image="nginx")
JOB = Specification(name="shop.prod.sums.prod", runtime="process", one_shot=True)


@pytest.fixture
def world() -> World:
    return World()


def deploy(world: World, *specifications: Specification) -> list[str]:
    """Assign one attempt of each, and let it come up."""
    ids = [world.want(specification, number) for number, specification in enumerate(specifications)]
    world.assign()
    world.settle()
    return ids


def advance(world: World, last: Kind) -> list[Operation]:
    """Carry everything out up to the first operation of the kind `last`; what is then given out next."""
    for _ in range(100):
        world.tick()
        operation = world.under_way[0]
        world.finish(operation, world.carry_out(operation))
        if operation.kind == last:
            return world.tick()
    raise AssertionError(f"there was no {last}")


def test_what_is_assigned_runs(world: World) -> None:
    web, job = deploy(world, WEB, JOB)
    assert world.running() == {web, job}
    assert world.engine.running_workloads() == {"docker": [web], "process": [job]}
    status = world.told[web]
    assert (status.phase, status.reason, status.restarts) == (Phase.RUNNING, "", 0)
    assert (status.node, status.node_name, status.address) == ("node-id", "node-1", "192.0.2.1")
    assert status.since == world.clock.wall()
    world.check_rest()
    assert world.violations == []


def test_an_instance_learns_who_it_is(world: World) -> None:
    _, web = deploy(world, JOB, WEB)
    workload = world.runtimes["docker"].workloads[web]
    assert workload.environment == (
        "HOSTNAME=instance-1",
        f"MANGROVE_ATTEMPT={web}",
        "MANGROVE_EPOCH=1",
        "MANGROVE_SERVICE=shop.prod.web.prod",
        "MANGROVE_INSTANCE=1",
        "MANGROVE_NODE=node-id",
    )
    assert (workload.service, workload.number, workload.specification) == ("shop.prod.web.prod", 1, WEB)


def test_without_an_assignment_it_only_looks(world: World) -> None:
    world.runtimes["docker"].things["stranger"] = Thing(one_shot=False, state="running")
    world.run(60)
    assert world.holds() == {"stranger"}
    assert world.engine.statuses() == {}
    world.assign()
    world.settle()
    assert world.holds() == set()


def test_what_is_withdrawn_is_stopped_and_removed(world: World) -> None:
    web, job = deploy(world, WEB, JOB)
    del world.desired[web]
    world.assign()
    world.tick()
    assert world.told[web].phase is Phase.STOPPING
    world.settle()
    assert world.holds() == {job}
    assert set(world.told) == {job}
    assert [record.attempt.id for record in world.state.load_records()] == [job]


def test_what_is_withdrawn_before_anything_was_made_just_goes(world: World) -> None:
    world.runtimes["docker"].fault = RuntimeFault("docker is not there")
    deploy(world, WEB)
    world.desired.clear()
    world.assign()
    world.settle()
    assert world.engine.statuses() == {}
    assert world.told == {}
    assert world.state.load_records() == []


def test_an_exit_is_noticed_at_the_next_look_or_when_poked(world: World) -> None:
    web, job = deploy(world, WEB, JOB)
    world.runtimes["docker"].end(web, 3)
    world.runtimes["process"].end(job, 0)
    world.clock.advance_to(world.clock.now() + 1)
    world.engine.poke("process", world.clock.now())
    world.settle()
    assert (world.phase(web), world.phase(job)) == (Phase.RUNNING, Phase.COMPLETED)
    world.run(lookout.PERIOD)
    assert world.told[web].restarts == 1
    assert world.running() == {web}
    world.run(600)
    assert world.runtimes["process"].starts[job] == 1


@pytest.mark.parametrize("look_comes_first", [True, False])
def test_an_end_right_after_the_start_is_noticed_at_once(world: World, look_comes_first: bool) -> None:
    """It is told of while the start has not come back yet, and never again."""
    world.assign()
    world.settle()
    web = world.want(WEB)
    world.assign()
    while not any(operation.kind == "start" for operation in world.under_way):
        world.tick()
        for operation in [one for one in world.under_way if one.kind != "start"]:
            world.finish(operation, world.carry_out(operation))
    [start] = world.under_way
    began = world.clock.now()
    runs = world.carry_out(start)
    world.runtimes["docker"].end(web, 3)
    world.clock.advance_to(began + lookout.GAP)
    world.engine.poke("docker", world.clock.now())
    [look] = world.tick()
    ends = [(start, runs), (look, world.carry_out(look))]
    for operation, result in reversed(ends) if look_comes_first else ends:
        world.finish(operation, result)
    assert world.phase(web) is Phase.RUNNING
    world.run(2 * lookout.GAP)
    assert world.reason(web).startswith("exit code 3; failure 1")


def test_pokes_do_not_make_it_look_all_the_time(world: World) -> None:
    world.assign()
    looks = 0
    for _ in range(1_000):
        world.clock.advance_to(world.clock.now() + 0.001)
        world.engine.poke("docker", world.clock.now())
        world.engine.poke("unknown", world.clock.now())
        looks += sum(operation.runtime == "docker" for operation in world.tick())
        for operation in list(world.under_way):
            world.finish(operation, world.carry_out(operation))
    assert looks <= 1 / lookout.GAP + 1


def test_a_restart_of_the_engine_touches_nothing_that_runs(world: World) -> None:
    web, job = deploy(world, WEB, JOB)
    since = world.told[web].since
    for boot in ("boot-1", "boot-2"):  # even if it were another boot: what is seen to run, runs
        world.state.boot = boot
        world.clock.advance_to(world.clock.now() + 50)
        world.crash()
        world.hear()
        assert world.told[web].phase is Phase.RUNNING, "its last word, before anything was seen"
        world.run(20)
        world.assign()
        world.run(20)
        assert world.running() == {web, job}
        assert world.runtimes["docker"].starts == {web: 1}
        assert (world.told[web].since, world.told[web].restarts) == (since, 0)


def test_after_a_reboot_everything_starts_again_but_not_what_completed(world: World) -> None:
    web, job, done = deploy(world, WEB, JOB, JOB)
    world.runtimes["process"].end(done, 0)
    world.run(lookout.PERIOD)
    for runtime, id in (("docker", web), ("process", job)):
        world.runtimes[runtime].end(id, None)
    del world.runtimes["process"].things[done]
    world.state.boot = "boot-2"
    world.crash()
    world.assign()
    world.settle()
    assert world.running() == {web, job}
    assert world.told[web].restarts == 1
    assert world.phase(done) is Phase.COMPLETED
    assert world.runtimes["process"].starts[done] == 1


@pytest.mark.parametrize("looks_first", [True, False])
def test_what_runs_is_adopted_even_if_the_records_are_lost(world: World, looks_first: bool) -> None:
    web, job, done = deploy(world, WEB, JOB, JOB)
    world.runtimes["process"].end(done, 0)
    world.run(lookout.PERIOD)
    world.state.save_records([])
    world.crash()
    if looks_first:
        world.run(20)
    world.assign()
    world.run(20)
    assert world.running() == {web, job}
    assert (world.phase(web), world.phase(job), world.phase(done)) == (Phase.RUNNING, Phase.RUNNING, Phase.COMPLETED)
    assert world.runtimes["docker"].starts + world.runtimes["process"].starts == {web: 1, job: 1, done: 1}


def test_the_parent_may_adopt_what_runs(world: World) -> None:
    (web,) = deploy(world, WEB)
    before = world.desired[web]
    world.desired[web] = Attempt(web, before.service, before.number, 9, before.specification)
    world.assign()
    world.run(20)
    assert world.runtimes["docker"].starts[web] == 1
    assert world.state.load_records()[0].attempt.epoch == 9
    world.runtimes["docker"].end(web, 1)
    del world.runtimes["docker"].things[web]
    world.run(20)
    assert "MANGROVE_EPOCH=9" in world.runtimes["docker"].workloads[web].environment


def test_an_orphan_leaves_even_when_stopping_fails_at_first(world: World) -> None:
    world.assign()
    world.settle()
    world.runtimes["docker"].things["stranger"] = Thing(one_shot=False, state="running")
    stop = RuntimeFault("docker is stuck")
    world.run(lookout.PERIOD - 0.001)
    world.clock.advance_to(world.clock.now() + 0.001)
    for operation in world.tick():
        world.finish(operation, world.carry_out(operation))
    world.tick()
    assert world.told["stranger"].phase is Phase.STOPPING
    world.finish(next(one for one in world.under_way if one.kind == "stop"), stop)
    assert world.reason("stranger") == "cannot stop it yet: docker is stuck"
    world.run(20)
    assert world.holds() == set()
    assert world.told == {}


def test_an_orphan_that_is_wanted_meanwhile_is_made_anew(world: World) -> None:
    web = world.want(WEB)
    attempt = world.desired.pop(web)
    world.runtimes["docker"].things[web] = Thing(one_shot=False, state="running")
    world.assign()
    for operation in world.tick():
        world.finish(operation, world.carry_out(operation))
    world.tick()
    assert world.phase(web) is Phase.STOPPING
    world.desired[web] = attempt
    world.assign()
    world.told.clear()
    world.violations.clear()
    world.run(20)
    assert world.phase(web) is Phase.RUNNING
    assert world.runtimes["docker"].workloads[web].specification == WEB


def test_a_runtime_that_is_away_proves_nothing(world: World) -> None:
    web, job = deploy(world, WEB, JOB)
    world.runtimes["docker"].fault = RuntimeFault("cannot connect to /var/run/docker.sock")
    world.run(lookout.PERIOD)
    other = world.want(WEB)
    world.assign()
    world.run(120)
    assert world.told[web].phase is Phase.RUNNING
    assert world.told[web].reason == "runtime 'docker' does not answer: cannot connect to /var/run/docker.sock"
    assert world.told[other].phase is Phase.ASSIGNED
    assert "does not answer" in world.told[other].reason
    assert world.told[job].reason == ""
    del world.desired[web]
    world.assign()
    assert world.tick() == [], "there is nobody to ask for the stop"
    assert (world.told[web].phase, world.running()) == (Phase.STOPPING, {web, job})
    world.runtimes["docker"].fault = None
    world.run(lookout.PERIOD)
    assert world.told[other].reason == ""
    assert world.running() == {job, other}
    assert world.told[job].restarts == 0


def test_a_runtime_that_says_nothing_counts_as_away(world: World) -> None:
    (web,) = deploy(world, WEB)
    world.clock.advance_to(world.clock.now() + lookout.PERIOD)
    hanging = next(operation for operation in world.tick() if operation.runtime == "docker")
    world.under_way.clear()
    world.run(lookout.PATIENCE)
    world.tick()
    assert world.told[web].reason == "runtime 'docker' does not answer: no answer for 30 s"
    world.under_way.append(hanging)
    world.finish(hanging, world.carry_out(hanging))
    assert (world.told[web].phase, world.told[web].reason) == (Phase.RUNNING, "")


def test_a_look_taken_before_something_was_done_does_not_undo_it(world: World) -> None:
    web = world.want(WEB)
    world.assign()
    world.settle()
    world.clock.advance_to(world.clock.now() + lookout.PERIOD)
    world.desired.clear()
    world.assign()
    given = world.tick()
    old = world.carry_out(next(one for one in given if one.kind == "list" and one.runtime == "docker"))
    stop = next(one for one in given if one.kind == "stop")
    world.finish(stop, world.carry_out(stop))
    (remove,) = (one for one in world.tick() if one.kind == "remove")
    world.finish(remove, world.carry_out(remove))
    world.finish(next(one for one in given if one.kind == "list" and one.runtime == "docker"), old)
    assert world.engine.statuses() == {}, "the look still showed it running, but it is gone"
    assert web not in world.holds()


def test_answers_to_another_engine_and_repeated_answers_are_ignored(world: World) -> None:
    (web,) = deploy(world, WEB)
    world.clock.advance_to(world.clock.now() + lookout.PERIOD)
    for look in world.tick():
        world.engine.finished(replace(look), [], world.clock.now())
        world.finish(look, world.carry_out(look))
        world.engine.finished(look, [], world.clock.now())
    assert world.phase(web) is Phase.RUNNING
    other = world.want(JOB)
    world.assign()
    (prepare,) = world.tick()
    for operation in (replace(prepare), prepare):
        world.engine.finished(operation, RuntimeFault("no route"), world.clock.now())
        faults = world.reason(other).count("no route")
        assert faults == (operation is prepare)
    world.engine.finished(prepare, RuntimeFault("again"), world.clock.now())
    assert world.reason(other).startswith("no route; failure 1")


def test_a_look_concludes_nothing_about_what_is_under_way(world: World) -> None:
    web = world.want(WEB)
    world.assign()
    world.settle()
    world.runtimes["docker"].end(web, 1)
    world.run(lookout.PERIOD)
    world.clock.advance_to(world.clock.now() + 20)
    start = next(one for one in advance(world, "attach") if one.kind == "start")
    world.clock.advance_to(world.clock.now() + lookout.PERIOD)
    looks = world.tick()
    started = world.carry_out(start)
    for look in looks:
        world.finish(look, world.carry_out(look))
    assert world.phase(web) is Phase.STARTING
    world.finish(start, started)
    assert world.phase(web) is Phase.RUNNING


def test_a_runtime_that_the_node_does_not_have(world: World) -> None:
    (id,) = deploy(world, Specification(name="x", runtime="unikernel"))
    assert world.told[id].phase is Phase.REFUSED
    assert world.told[id].reason == "this node has no runtime 'unikernel': it has docker, process"
    world.run(60)
    assert world.phase(id) is Phase.REFUSED
    world.crash()
    world.assign()
    world.run(60)
    assert world.told[id].phase is Phase.REFUSED
    world.desired.clear()
    world.assign()
    world.settle()
    assert world.told == {}


def test_a_runtime_that_the_node_no_longer_has() -> None:
    world = World()
    (web,) = deploy(world, WEB)
    world.runtimes = {"process": world.runtimes["process"]}
    world.crash()
    world.assign()
    world.run(60)
    assert world.told[web].phase is Phase.RUNNING
    assert "no runtime 'docker' any more" in world.told[web].reason


def test_an_attempt_whose_specification_is_missing_is_refused(world: World) -> None:
    web = world.want(WEB)
    world.specifications.clear()
    world.assign()
    world.settle()
    assert world.told[web].phase is Phase.REFUSED
    assert WEB.digest in world.told[web].reason


def port(number: int, runtime: str = "docker") -> Specification:
    return Specification(name=f"on-{number}-{runtime}", runtime=runtime, ports=(Port(number, 80),))


def test_a_host_port_is_given_once(world: World) -> None:
    first, second, third = deploy(world, port(8080), port(8080, "process"), port(8081))
    assert world.told[second].phase is Phase.REFUSED
    assert world.told[second].reason == (
        "host port 8080/tcp is taken by on-8080-docker instance 0: choose another host port, or stop that one"
    )
    assert world.running() == {first, third}


def test_a_host_port_that_becomes_free_is_waited_for(world: World) -> None:
    (first,) = deploy(world, port(8080))
    del world.desired[first]
    second = world.want(port(8080, "process"))
    world.assign()
    given = world.tick()
    assert [operation.kind for operation in given] == ["stop"]
    assert world.told[second].phase is Phase.ASSIGNED
    assert (
        world.told[second].reason == "host port 8080/tcp is taken by on-8080-docker instance 0, which is being stopped"
    )
    world.settle()
    assert world.running() == {second}
    assert world.told[second].reason == ""


def test_the_port_of_what_has_ended_is_free(world: World) -> None:
    job = Specification(name="j", runtime="process", one_shot=True, ports=(Port(9000, 9000),))
    (done,) = deploy(world, job)
    world.runtimes["process"].end(done, 0)
    world.run(lookout.PERIOD)
    (second,) = deploy(world, job)
    assert world.phase(second) is Phase.RUNNING


def pick_two(asked: Resources, taken: frozenset[str]) -> tuple[str, ...]:
    """A node with two GPUs."""
    return tuple(gpu for gpu in ("GPU-a", "GPU-b") if gpu not in taken)[: asked.gpus]


def gpus(count: int) -> Specification:
    return Specification(name=f"{count}-gpus", runtime="docker", resources=Resources(gpus=count))


def test_gpus_are_given_once_and_stay_given() -> None:
    world = World(pick_gpus=pick_two)
    first, second, third = deploy(world, gpus(1), gpus(1), gpus(1))
    assert [world.runtimes["docker"].workloads[id].gpus for id in (first, second)] == [("GPU-a",), ("GPU-b",)]
    assert world.told[third].phase is Phase.REFUSED
    assert world.told[third].reason == "needs 1 GPU: 0 that fit are free on this node"
    world.crash()
    del world.desired[first]
    fourth = world.want(gpus(2))
    fifth = world.want(gpus(1))
    world.assign()
    world.run(20)
    assert world.told[fourth].phase is Phase.REFUSED
    assert world.runtimes["docker"].workloads[fifth].gpus == ("GPU-a",)
    world.check_rest()
    assert world.violations == []


def test_gpus_that_become_free_are_waited_for() -> None:
    world = World(pick_gpus=pick_two)
    (first,) = deploy(world, gpus(2))
    del world.desired[first]
    second = world.want(gpus(2))
    world.assign()
    world.tick()
    assert world.told[second].reason == "waits for GPUs of an instance that is being stopped"
    world.settle()
    assert world.running() == {second}


def test_room_that_becomes_free_is_waited_for_but_nothing_is_refused_for_want_of_it() -> None:
    big = Specification(name="big", runtime="docker", resources=Resources(memory=600))
    world = World(allocatable=Resources(memory=1_000))
    first, second = deploy(world, big, big)
    assert world.running() == {first, second}, "the parent counts: the node does not know better"
    del world.desired[first]
    third = world.want(big)
    world.assign()
    world.tick()
    assert world.told[third].reason == "waits for the room of an instance that is being stopped"
    world.settle()
    assert world.running() == {second, third}


def test_progress_is_told_but_not_every_line(world: World) -> None:
    web = world.want(WEB)
    world.assign()
    for operation in world.tick():
        world.finish(operation, world.carry_out(operation))
    (prepare,) = world.tick()
    now = world.clock.now()
    world.engine.progress(web, "pulling nginx: 1 of 40 MiB", now)
    world.engine.progress(web, "pulling nginx: 2 of 40 MiB", now + 0.1)
    world.hear()
    assert (world.told[web].phase, world.told[web].reason) == (Phase.PULLING, "pulling nginx: 1 of 40 MiB")
    world.engine.progress(web, "pulling nginx: 9 of 40 MiB", now + PROGRESS_GAP)
    world.hear()
    assert world.told[web].reason == "pulling nginx: 9 of 40 MiB"
    world.finish(prepare, None)
    assert world.told[web].reason == ""
    world.engine.progress(web, "too late", now + 60)
    world.engine.progress("unknown", "nobody", now + 60)
    assert world.engine.take_changes() == ({}, set())


def test_slow_pulls_hold_up_nothing_else(world: World) -> None:
    (web,) = deploy(world, WEB)
    for _ in range(10):
        world.want(WEB)
    world.assign()
    pulls = world.tick()
    assert [operation.kind for operation in pulls] == ["prepare"] * WIDTH["prepare"]
    del world.desired[web]
    (job,) = (world.want(JOB),)
    world.assign()
    assert {(one.kind, one.attempt) for one in world.tick()} == {("stop", web), ("prepare", job)}


def test_a_full_disk_stops_nothing_and_starts_nothing_new(world: World) -> None:
    (web,) = deploy(world, WEB)
    world.state.full = True
    other = world.want(WEB)
    world.assign()
    world.run(60)
    assert world.running() == {web}
    assert world.engine.trouble == "the node cannot write its state: No space left on device"
    assert world.told[other].reason == world.engine.trouble
    world.runtimes["docker"].end(web, 1)
    world.run(20)
    assert world.running() == {web}, "what crashes is started again: it is on disk that it belongs here"
    world.state.full = False
    world.run(SAVE_RETRY)
    assert world.running() == {web, other}
    assert (world.engine.trouble, world.told[other].reason) == ("", "")
    del world.desired[web]
    world.state.full = True
    world.assign()
    world.run(20)
    assert world.running() == {other}, "what is withdrawn stops"
    world.state.full = False
    world.run(SAVE_RETRY)
    world.check_rest()
    assert world.violations == []


def test_a_full_disk_is_not_written_at_all_the_time(world: World) -> None:
    world.state.full = True
    world.want(WEB)
    world.assign()
    world.settle()
    now = world.clock.now()
    assert now < world.engine.next_wake(now) <= now + SAVE_RETRY


def test_a_permanent_fault_fails_at_once(world: World) -> None:
    web = world.want(WEB)
    world.assign()
    for operation in world.tick():
        world.finish(operation, world.carry_out(operation))
    (prepare,) = world.tick()
    world.finish(prepare, RuntimeFault("image nginx not found: check its name", permanent=True))
    world.run(1)
    assert (world.told[web].phase, world.told[web].reason) == (
        Phase.FAILED,
        "image nginx not found: check its name",
    )


def test_an_end_is_told_when_it_is_on_disk(world: World) -> None:
    """A parent gives away what an ended attempt held; an engine that forgot the end would begin it again."""
    web = world.want(WEB)
    world.assign()
    for operation in world.tick():
        world.finish(operation, world.carry_out(operation))
    (prepare,) = world.tick()
    world.state.full = True
    world.finish(prepare, RuntimeFault("image nginx not found: check its name", permanent=True))
    world.run(1)
    assert world.told[web].phase is Phase.PULLING
    world.state.full = False
    world.run(SAVE_RETRY)
    assert world.told[web].phase is Phase.FAILED


def test_a_new_address_is_told(world: World) -> None:
    (web,) = deploy(world, WEB)
    world.engine.move("198.51.100.7")
    world.engine.move("198.51.100.7")
    world.hear()
    assert world.told[web].address == "198.51.100.7"
    world.engine.move("198.51.100.8")
    world.engine.move("198.51.100.7")
    assert world.engine.take_changes() == ({}, set()), "it is what was told already"


def test_at_rest_it_sleeps_until_the_next_look(world: World) -> None:
    deploy(world, WEB)
    now = world.clock.now()
    assert world.engine.next_wake(now) == now + lookout.PERIOD
    assert world.tick() == []
    assert world.engine.take_changes() == ({}, set())
