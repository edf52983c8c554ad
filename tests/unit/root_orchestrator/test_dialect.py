"""Oakestra's words for our phases."""

from __future__ import annotations

from pathlib import Path

import pytest

import mangrove
from mangrove.model.attempt import Status
from mangrove.model.phases import Phase
from mangrove.model.specification import Constraint
from root_orchestrator.api.oakestra.dialect import (
    NO_DETAIL,
    instance_detail,
    instance_word,
    service_status,
    unplaced_word,
)

#: Any other word makes Oakestra's Python clients raise an error.
OAKESTRAS = {
    "REQUESTED", "CLUSTER_SCHEDULED", "NODE_SCHEDULED", "CREATING", "CREATED", "RUNNING", "FAILED", "DEAD", "COMPLETED",
    "UNDEPLOYED", "TargetClusterNotFound", "TargetClusterNotActive", "TargetClusterNoCapacity",
    "NoActiveClusterWithCapacity", "NO_WORKER_CAPACITY", "NO_QUALIFIED_WORKER_FOUND", "NO_NODE_FOUND",
}  # fmt: skip

FULL = "NoActiveClusterWithCapacity"


def word(phase: Phase, reason: str = "", node: str = "", failures: int = 0) -> str:
    return instance_word(Status("s.0", phase, reason, node=node), failures=failures, unplaced=FULL)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.PENDING, "REQUESTED"),
        (Phase.ASSIGNED, "CLUSTER_SCHEDULED"),
        (Phase.PULLING, "CREATING"),
        (Phase.STARTING, "CREATED"),
        (Phase.RUNNING, "RUNNING"),
        (Phase.BACKING_OFF, "FAILED"),
        (Phase.FAILED, "FAILED"),
        (Phase.LOST, "DEAD"),
        (Phase.COMPLETED, "COMPLETED"),
        (Phase.STOPPING, "UNDEPLOYED"),
        (Phase.REFUSED, "NO_WORKER_CAPACITY"),
    ],
)
def test_each_phase_has_its_word(phase: Phase, expected: str) -> None:
    assert word(phase) == expected


def test_what_waits_with_a_reason_says_which_kind() -> None:
    assert word(Phase.PENDING, "needs 4 GiB: 3 nodes too small") == FULL
    assert word(Phase.PENDING, "failed on node1: exit code 3", failures=2) == "FAILED"
    assert word(Phase.ASSIGNED, node="n") == "NODE_SCHEDULED"


@pytest.mark.parametrize("phase", Phase)
def test_every_word_is_known_to_clients_and_to_the_service(phase: Phase) -> None:
    for status in (Status("s.0", phase), Status("s.0", phase, "why", node="n")):
        for failures in (0, 1):
            said = instance_word(status, failures=failures, unplaced=FULL)
            assert said in OAKESTRAS
            assert service_status([(said, "why")]) == (said, "why")


@pytest.mark.parametrize("phase", Phase)
def test_what_does_not_run_always_says_why(phase: Phase) -> None:
    detail = instance_detail(Status("s.0", phase), silent_for=None)
    assert detail
    assert (detail == NO_DETAIL) == (phase == Phase.RUNNING)
    assert instance_detail(Status("s.0", phase, "out of memory"), silent_for=None) == "out of memory"


def test_what_runs_on_a_silent_child_keeps_its_word_and_says_so() -> None:
    running = Status("s.0", Phase.RUNNING)
    assert instance_detail(running, silent_for=40.4) == "not heard for 40 s"
    pulling = Status("s.0", Phase.PULLING, "layer 3 of 5")
    assert instance_detail(pulling, silent_for=40) == "not heard for 40 s; before that: layer 3 of 5"
    told = Status("s.0", Phase.RUNNING, "alpha is silent, and nothing else fits")
    assert instance_detail(told, silent_for=42) == "alpha is silent, and nothing else fits (not heard for 42 s)"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["RUNNING", "RUNNING"], "RUNNING"),
        (["RUNNING", "COMPLETED"], "RUNNING"),
        (["COMPLETED"], "COMPLETED"),
        (["RUNNING", "CREATING", "CREATED"], "CREATING"),
        (["RUNNING", FULL, "REQUESTED"], FULL),
        (["RUNNING", "DEAD", "FAILED", FULL], "FAILED"),
    ],
)
def test_a_service_has_the_most_telling_word_of_its_instances(words: list[str], expected: str | None) -> None:
    assert service_status([(each, NO_DETAIL) for each in words])[0] == expected


def test_a_service_says_of_how_many_instances_it_speaks() -> None:
    instances = [("RUNNING", NO_DETAIL), ("FAILED", "exit code 1"), ("FAILED", "exit code 2")]
    assert service_status(instances) == ("FAILED", "2 of 3 instances: exit code 1")
    assert service_status([])[1]


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("", FULL),
        ("gone", "TargetClusterNotFound"),
        ("silent", "TargetClusterNotActive"),
        ("live", "TargetClusterNoCapacity"),
        ("gone;silent;live", "TargetClusterNoCapacity"),
        ("gone;silent", "TargetClusterNotActive"),
    ],
)
def test_a_named_cluster_is_told_apart(cluster: str, expected: str) -> None:
    constraints = (Constraint("direct", node="n"), Constraint("direct", cluster=cluster))
    assert unplaced_word(constraints, {"live": True, "silent": False}) == expected


def test_nobody_else_speaks_the_dialect() -> None:
    repository = Path(mangrove.__file__).parent.parent
    unmistakable = {word for word in OAKESTRAS if "_" in word or not word.isupper()} | {"UNDEPLOYED"}
    for folder in ("mangrove", "root_orchestrator", "cluster_orchestrator", "node_engine", "netmanager"):
        for path in (repository / folder).rglob("*.py"):
            if path.name != "dialect.py":
                text = path.read_text()
                assert not [word for word in unmistakable if word in text], path
