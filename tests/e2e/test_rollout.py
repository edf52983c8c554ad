"""A newer version of a service, with real processes: one instance after another, also when the root is killed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually
from tests.e2e.tree import Tree, process


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant().start(alpha=["n1"])


def sla(*command: str) -> dict[str, Any]:
    application = {
        "applicationID": "",
        "application_name": "any",
        "application_namespace": "test",
        "application_desc": "",
        "microservices": [process(*command)],
    }
    return {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}


def rollout(tree: Tree, service: str) -> dict[str, Any]:
    shown: dict[str, Any] = tree.client.request("GET", f"/api/v1/services/{service}", form=dict[str, Any])
    found: dict[str, Any] = shown["rollout"]
    return found


def test_instances_are_replaced_one_by_one_and_a_bad_version_stops_at_the_first(tree: Tree) -> None:
    service = tree.deploy("sleep", "1111", instances=2)
    tree.wait_running(service, 2)
    attempts = {number: one.attempt for number, one in tree.instances(service).items()}

    tree.client.update_service(service, sla("false"))
    eventually(lambda: rollout(tree, service)["state"] == "stopped", "the rollout to stand still")
    tree.program("root").restart()
    eventually(lambda: rollout(tree, service)["state"] == "stopped", "the root to know it again")
    now = {number: one.attempt for number, one in tree.instances(service).items()}
    assert sum(now[number] == attempts[number] for number in attempts) == 1, "one was left alone"

    tree.client.update_service(service, sla("sleep", "2222"))
    tree.program("root").restart()
    eventually(lambda: rollout(tree, service)["state"] == "done", "the rollout to be done", 60)
    tree.wait_running(service, 2)
    failed = next(number for number in attempts if now[number] != attempts[number])
    shown = tree.client.request("GET", f"/api/v1/instances/{service}.{failed}", form=dict[str, Any])
    assert shown["history"][0]["attempt"] == attempts[failed]
    assert len(shown["history"]) >= 2
    tree.client.scale(service, 0)
    eventually(lambda: not tree.running(), "all processes to be gone")
