"""Waiting for services: what counts as done, and what is told meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.client.documents import Instance, Rollout, Service
from mangrove.client.wait import Failed, Progress, TimedOut, progress_of, wait_for_services
from mangrove.model.phases import Phase
from mangrove.model.pull import Pull

RUNNING, PENDING, COMPLETED = Phase.RUNNING, Phase.PENDING, Phase.COMPLETED


def service(*phases: Phase, **more: Any) -> Service:
    instances = tuple(
        Instance(number, phase, reason="no room" * (phase is PENDING)) for number, phase in enumerate(phases)
    )
    return Service("s", "web", "ns", "a", instances=instances, **more)


def wait(condition: str, *looks: Service | None, timeout: float = 5.0) -> list[Progress]:
    """What is told while the service looks so, one look after the other, the last one for ever."""
    answers: Iterator[Service | None] = iter(looks)
    last: list[Service | None] = []
    told: list[Progress] = []

    def look(id: str) -> Service:
        found = next(answers, last[-1] if last else None)
        last.append(found)
        if found is None:
            raise NotFound("gone")
        return found

    wait_for_services(look, ["s"], condition, timeout=timeout, progress=lambda id, now: told.append(now))
    return told


def test_running_means_all_that_are_wanted() -> None:
    told = wait("running", service(), service(PENDING), service(RUNNING, PENDING), service(RUNNING, COMPLETED))
    assert told == [
        Progress(0, 0),
        Progress(0, 1, "1 pending, no room"),
        Progress(1, 2, "1 pending, no room"),
        Progress(2, 2),
    ]


def test_a_roll_out_is_waited_for_and_its_stop_is_a_failure() -> None:
    half = service(RUNNING, RUNNING, rollout=Rollout(1, 2, "rolling"))
    assert [each.done for each in wait("running", half, service(RUNNING, RUNNING, rollout=Rollout(2, 2)))] == [1, 2]
    with pytest.raises(Failed, match="the roll-out of web has stopped: exit code 3"):
        wait("running", half, service(RUNNING, RUNNING, rollout=Rollout(1, 2, "stopped", "exit code 3")))


def test_completed_stopped_and_deleted() -> None:
    assert wait("completed", service(RUNNING), service(COMPLETED))[-1] == Progress(1, 1)
    assert wait("stopped", service(RUNNING), service())[0].doing == "1 are still there"
    assert wait("deleted", service(), None)[-1] == Progress(1, 1)
    with pytest.raises(NotFound):
        wait("running", None)


def test_what_does_not_come_is_said_with_what_is() -> None:
    with pytest.raises(TimedOut, match=r"waited 0\.05 s for all to be running: 0 of 1 are, 1 pending, no room"):
        wait("running", service(PENDING), timeout=0.05)
    with pytest.raises(TimedOut, match=r"0 of 0 are$"):
        wait("running", service(), timeout=0.05)
    with pytest.raises(InvalidInput, match="'flying' is none of running, completed, stopped, deleted"):
        wait("flying", service())


def test_an_instance_that_runs_the_older_specification_is_not_done() -> None:
    assert progress_of(service(RUNNING, RUNNING, rollout=Rollout(0, 2, "rolling"))).done == 0


def test_images_that_are_pulled_are_told_with_how_far_they_are() -> None:
    pull = Pull("registry:5000/web:2", 12, 40)
    instances = (
        Instance(0, Phase.PULLING, reason=str(pull)),
        Instance(1, Phase.PULLING, reason=str(pull)),
        Instance(2, Phase.PULLING, reason="pulling other"),  # nothing is known of its size yet
    )
    assert progress_of(Service("s", "web", "ns", "a", instances=instances)).pulls == (pull,)
