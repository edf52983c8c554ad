"""What people see of a running tree from outside: the story of one request in the logs of all its programs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial

import pytest
import requests

from mangrove.model.phases import Phase
from mangrove.roles.metrics import TABLE, series_of
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Program, eventually
from tests.e2e.tree import Tree, process

#: Metrics that a healthy machine without GPUs and sensors does not have.
RARE = {"link_dropped_messages_total", "node_gpu_ratio", "node_temperature_celsius", "node_battery_ratio"}


def debian(name: str) -> str:
    """Where a program of a Debian package is."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def node_port(free_port: Callable[[], int]) -> int:
    """Where the node shows its metrics."""
    return free_port()


@pytest.fixture(scope="module")
def tree(plant: MakeTree, node_port: int) -> Tree:
    planted = plant().start(alpha=[])
    planted.add_node("n1", "alpha", "--metrics-port", str(node_port))
    planted.settle()
    return planted


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
    for service in (first, second):
        tree.client.undeploy(service)
        tree.wait_gone(service)


def pages(tree: Tree, node_port: int) -> dict[str, str]:
    """What each program shows to Prometheus."""
    found = {"node": requests.get(f"http://127.0.0.1:{node_port}/metrics", timeout=10).text}
    for name, parent in (("root", tree.root), ("cluster", tree.clusters["alpha"])):
        token = (parent.data / "metrics.token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"http://{parent.address}/metrics", headers=headers, timeout=10)
        assert answer.status_code == 200
        found[name] = answer.text
    return found


def test_every_metric_of_the_table_is_shown_by_a_tree_that_works(tree: Tree, node_port: int) -> None:
    service = tree.deploy("sh", "-c", "while :; do :; done")
    tree.wait_running(service)
    eventually(lambda: all(f"{service}.0" in page for page in pages(tree, node_port).values()), "its usage", 30)
    shown = pages(tree, node_port)
    for name, page in shown.items():
        series = {re.split("[ {]", line)[0] for line in page.splitlines() if not line.startswith("#")}
        wanted = {metric for metric in TABLE if name in metric.on and metric.name not in RARE}
        assert {each for metric in wanted for each in series_of(metric)} - series == set(), name
        assert {each for each in series if each.startswith("mangrove_")} <= {
            each for metric in TABLE for each in series_of(metric)
        }
        checked = subprocess.run(
            [debian("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, ""), name
    assert 'mangrove_slots{phase="running"} 1.0' in shown["root"]
    tree.client.undeploy(service)
