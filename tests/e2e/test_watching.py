"""What people see of a running tree from outside: the story of one request in the logs of all its programs."""

from __future__ import annotations

import re
from functools import partial

import pytest
import requests

from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Program, eventually
from tests.e2e.tree import Tree, process


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant().start(alpha=["n1"])


def post(tree: Tree, path: str, request: str) -> requests.Response:
    login = requests.post(
        f"http://{tree.root.address}/api/auth/login", json={"username": "Admin", "password": "Admin"}, timeout=10
    )
    headers = {"Authorization": f"Bearer {login.json()['token']}", "X-Request-ID": request}
    return requests.post(f"http://{tree.root.address}{path}", headers=headers, json={}, timeout=10)


def story(program: Program, request: str) -> list[str]:
    """What a program logged about a request: its sentences, without time, level and module."""
    lines = program.log.read_text().splitlines()
    return [line.partition(f"[{request}] ")[2] for line in lines if f"[{request}] " in line]


def test_the_story_of_a_deployment_can_be_found_by_its_request_in_the_logs_of_all_levels(tree: Tree) -> None:
    [service] = tree.create(process("sleep", "1000"))
    answer = post(tree, f"/api/service/{service}/instance", "story-7")
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (200, "story-7")
    tree.wait_phase(service, Phase.RUNNING)

    root, cluster, node = (partial(story, program, "story-7") for program in tree.programs)
    assert re.search(rf"POST /api/service/{service}/instance 200 .* ms Admin", "\n".join(root()))
    assert f"{service}.0 is wanted, and written" in root()
    assert any(f"{service}.0 is wanted by the root" in line for line in cluster())
    assert [line.rpartition(" is ")[2] for line in node()] == ["assigned", "pulling", "starting", "running"]
    for level in (root, cluster):
        assert any("given to" in line for line in level())
        assert any(re.search("attempt .* is running", line) for line in level())
    tree.client.undeploy(service)
    eventually(lambda: not tree.running(service), "it to be gone")


def test_the_story_tells_a_refusal_too(tree: Tree) -> None:
    first = tree.deploy(port="7070:7070")
    tree.wait_running(first)
    [second] = tree.create(process("sleep", "1000", port="7070:7070"))
    post(tree, f"/api/service/{second}/instance", "a.b_c-9")
    _, cluster, node = (partial(story, program, "a.b_c-9") for program in tree.programs)
    eventually(lambda: any(" is refused: " in line for line in node()), "the node's refusal in its log")
    eventually(lambda: any("n1 refused: " in line for line in cluster()), "it in the cluster's log")
    eventually(lambda: any("alpha refused: " in line for line in story(tree.root, "a.b_c-9")), "it in the root's log")
