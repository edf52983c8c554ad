"""Each benchmark runs, at its smallest: what it measures is there, and nothing was lost or left behind."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from benchmarks import api, burst, calm, deploy, memory, network, recovery, reports, sizes, throughput
from benchmarks.processes import working_below
from benchmarks.result import Result, table
from tests.e2e.hosts import needs_namespaces

pytestmark = pytest.mark.broker


def figures(result: Result) -> dict[str, float]:
    """By name; the table is made too, since nobody else looks at it."""
    assert result.title in table(result)
    return {figure.name: figure.value for figure in result.figures}


def test_deploy(tmp_path: Path) -> None:
    found = figures(deploy.measure(tmp_path, deploy.Size(rounds=1, warm_up=0, docker=False)))

    assert 0 < found["process, request to RUNNING, p50"] <= found["process, request to RUNNING, p95"] < 30_000
    assert "docker run -d, p50" not in found
    assert not list(working_below(tmp_path))


def test_burst(tmp_path: Path) -> None:
    found = figures(burst.measure(tmp_path, burst.Size(instances=5, nodes=2, rounds=1)))

    assert found["lost"] == 0
    assert 0 < found["all requests answered, p50"] <= found["all RUNNING, p50"]


def test_throughput(tmp_path: Path) -> None:
    size = throughput.Size(clusters=1, nodes=2, services=2, instances=3, warm_up=0, rounds=1)
    found = figures(throughput.measure(tmp_path, size))

    for asked in ("many by a request", "one by a request"):
        assert 0 < found[f"{asked}, time for each"] < 10_000
        # So few may cost less than the hundredth of a second in which the kernel counts.
        assert 0 <= found[f"{asked}, CPU of root and clusters for each"] < 10_000
    assert not list(working_below(tmp_path))


def test_recovery(tmp_path: Path) -> None:
    found = figures(recovery.measure(tmp_path, recovery.Size(crashes=1, silences=0, swarm=0)))

    assert 0 < found["crash to replacement RUNNING, p50"] < 30_000
    assert not list(working_below(tmp_path))


def test_network(tmp_path: Path) -> None:
    needs_namespaces()
    found = figures(network.measure(tmp_path, network.Size(1, 1, 10, 5, 5, 1)))

    for kind in ("same link", "VXLAN"):
        assert found[f"{kind}: throughput, service"] > 0.01  # Gbit/s
        assert found[f"{kind}: round trip, by hand"] > 0
    assert found["change of one of 50 instances, p50"] > 0
    assert found["netmanager with 50 endpoints, PSS"] > 3


def test_calm(tmp_path: Path) -> None:
    found = figures(calm.measure(tmp_path, calm.QUICK))

    assert set(found.values()) == {0}


def test_memory(tmp_path: Path) -> None:
    found = figures(memory.measure(tmp_path, memory.Size(nodes=2, settle=0, rest=0.2, docker=False)))

    machine = psutil.virtual_memory().total / 1e6
    for program in ("root", "cluster", "node, process runtime"):
        # A Python alone is some megabytes.
        assert 3 < found[f"{program}, PSS"] <= found[f"{program}, RSS"] < machine
        assert 0 <= found[f"{program}, CPU at rest"] <= 100 * (psutil.cpu_count() or 1)


def test_reports(tmp_path: Path) -> None:
    found = figures(reports.measure(tmp_path, reports.Size(nodes=4, warm_up=0, seconds=3, rounds=1)))

    # So few may cost less than the hundredth of a second in which the kernel counts.
    assert 0 <= found["cluster, CPU-seconds per 1,000 reports"] < 1000
    assert found["nodes whose newest report is not what the cluster shows"] == 0
    assert found["messages that were not sent"] == 0
    assert found["beat sent to acknowledgement heard, p50"] > 0


def test_sizes(tmp_path: Path) -> None:
    found = figures(sizes.measure(tmp_path, sizes.QUICK))

    assert 1 < found["mangrove[node], on disk"] < 15
    assert 5 < found["mangrove[node], loaded, RSS"] < 60


def test_api(tmp_path: Path) -> None:
    found = figures(api.measure(tmp_path, api.Size(services=3, lists=4, deployments=6)))

    for store in ("SQLite", api.mongo_name()):
        for request in ("GET /api/services/", "POST …/instance"):
            assert 0 < found[f"{request}, {store}, p50"] <= found[f"{request}, {store}, p99"] < 30_000
            assert found[f"{request}, {store}, answers a second"] > 0
    assert not list(working_below(tmp_path))
