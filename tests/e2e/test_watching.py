"""What people see of a running tree from outside: the story of one request in the logs of all its programs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from mangrove.model.phases import Phase
from mangrove.roles.metrics import TABLE, series_of
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import PATIENCE, Program, eventually
from tests.e2e.tree import Tree, process

COMPOSE = Path(__file__).parents[2] / "compose"

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
    planted = plant(lease=3.0).start(alpha=[])
    planted.add_node("n1", "alpha", "--metrics-port", str(node_port))
    planted.settle()
    return planted


def post(tree: Tree, path: str, request: str) -> requests.Response:
    login = requests.post(
        f"http://{tree.root.address}/api/auth/login", json={"username": "Admin", "password": "Admin"}, timeout=PATIENCE
    )
    headers = {"Authorization": f"Bearer {login.json()['token']}", "X-Request-ID": request}
    return requests.post(f"http://{tree.root.address}{path}", headers=headers, json={}, timeout=PATIENCE)


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
        eventually(lambda: re.search("attempt .* is running", "\n".join(level())), "it to write that it runs")  # noqa: B023
    tree.client.undeploy(service)
    eventually(lambda: not tree.running(service), "it to be gone")


def test_the_story_tells_what_went_wrong_too(tree: Tree) -> None:
    broken, huge = tree.create(
        process("/does/not/exist"), process("sleep", "1", microservice_name="huge", memory=10_000_000)
    )
    post(tree, f"/api/service/{broken}/instance", "a.b_c-9")
    post(tree, f"/api/service/{huge}/instance", "huge-1")
    root, cluster, node = (partial(story, program, "a.b_c-9") for program in tree.programs)
    eventually(lambda: any("/does/not/exist not found" in line for line in node()), "the failure in the node's log")
    assert any("is attempt" in line for line in cluster())
    assert any("is attempt" in line for line in root())
    eventually(lambda: any(" waits: needs " in line for line in story(tree.root, "huge-1")), "the reason")
    for service in (broken, huge):
        tree.client.undeploy(service)
    eventually(lambda: not any(tree.instances(service) for service in (broken, huge)), "nothing to be left")


def pages(tree: Tree, node_port: int) -> dict[str, str]:
    """What each program shows to Prometheus."""
    found = {"node": requests.get(f"http://127.0.0.1:{node_port}/metrics", timeout=PATIENCE).text}
    for name, parent in (("root", tree.root), ("cluster", tree.clusters["alpha"])):
        token = (parent.data / "metrics.token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"http://{parent.address}/metrics", headers=headers, timeout=PATIENCE)
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


class Prometheus:
    """A real one, with our configuration, on this tree."""

    def __init__(self, folder: Path, port: int, tree: Tree, node_port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.log = folder / "prometheus.log"
        (folder / "nodes").mkdir()
        (folder / "nodes/all.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{node_port}"]}]))
        shutil.copy(COMPOSE / "prometheus/alerts.yml", folder)
        config = (COMPOSE / "prometheus/prometheus.yml").read_text().replace("/etc/prometheus/", f"{folder}/")
        config = config.replace("/run/secrets/", f"{folder}/")
        for name, port_there, parent in (("root", 10000, tree.root), ("cluster", 10100, tree.clusters["alpha"])):
            shutil.copy(parent.data / "metrics.token", folder / f"{name}_metrics_token")
            config = config.replace(f'"{name}:{port_there}"', f'"{parent.address}"')
        (folder / "prometheus.yml").write_text(config.replace("_interval: 15s", "_interval: 1s"))
        command = [
            debian("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self.address}",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def ask(self, what: str, **params: str) -> Any:
        answer = requests.get(f"http://{self.address}/api/v1/{what}", params=params, timeout=PATIENCE).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def targets(self) -> dict[str, str]:
        """Health of each target, by its job."""
        try:
            answer = requests.get(f"http://{self.address}/api/v1/targets", timeout=PATIENCE)
        except requests.ConnectionError:
            return {}
        if answer.status_code != 200:  # it is still starting
            return {}
        return {each["labels"]["job"]: each["health"] for each in answer.json()["data"]["activeTargets"]}

    def alerts(self) -> dict[str, str]:
        """State of each alert that there is."""
        return {each["labels"]["alertname"]: each["state"] for each in self.ask("alerts")["alerts"]}


@pytest.fixture
def prometheus(tree: Tree, node_port: int, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Prometheus]:
    started = Prometheus(tmp_path, free_port(), tree, node_port)
    yield started
    started.process.terminate()
    started.process.wait(30)


def test_a_real_prometheus_reads_the_tree_and_tells_of_a_node_that_died(tree: Tree, prometheus: Prometheus) -> None:
    jobs = {"mangrove-root", "mangrove-cluster", "mangrove-node"}
    eventually(lambda: prometheus.targets() == dict.fromkeys(jobs, "up"), "all programs to be read")
    [group] = prometheus.ask("rules")["groups"]
    eventually(lambda: prometheus.ask("query", query="mangrove_child_up")["result"], "figures")
    assert prometheus.alerts().keys() <= {"MangroveDiskNearlyFull", "MangroveNodeDiskNearlyFull"}  # of this machine

    for panel in json.loads((COMPOSE / "grafana/dashboards/mangrove.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            prometheus.ask("query", query=target["expr"].replace("$__rate_interval", "1m"))

    tree.nodes["n1"].kill()
    eventually(lambda: prometheus.alerts().get("MangroveChildSilent") == "pending", "the alert", 30)
    [group] = prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    tree.nodes["n1"].start()
    eventually(lambda: "MangroveChildSilent" not in prometheus.alerts(), "the alert to end", 30)
