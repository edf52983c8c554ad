"""Oakestra's own command line, unmodified, drives a real tree whose instances really run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import MakeTree
from tests.e2e.hosts import Host
from tests.e2e.oak_cli import PORT, OakCli, free_address
from tests.e2e.programs import eventually
from tests.e2e.tree import Tree, process


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with one node, at the port that the command line has built in."""
    return plant(host=Host(free_address()), port=PORT).start(alpha=["n1"])


@pytest.fixture
def oak(tree: Tree, oak_executable: Path, tmp_path: Path) -> OakCli:
    return OakCli(oak_executable, tmp_path / "home", tree.host.address)


def sla(*services: dict[str, object]) -> dict[str, object]:
    application = {
        "applicationID": "",
        "application_name": "pair",
        "application_namespace": "test",
        "application_desc": "two services",
        "microservices": list(services),
    }
    return {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}


def test_the_life_of_an_application(tree: Tree, oak: OakCli) -> None:
    assert "No applications exist yet" in oak.run("app", "show").text
    good = process(microservice_name="web", memory=16)
    large = process(microservice_name="large", memory=900_000)
    oak.add_sla("pair", sla(good, large))
    oak.run("app", "create", "--sla-file-name", "pair")
    [application] = oak.run("app", "show").ids
    services = {each.name: each.id for each in tree.client.services(application)}
    web, large_one = services["web"], services["large"]
    assert tree.running() == []

    oak.run("service", "deploy", web)
    oak.run("service", "deploy", web)
    oak.run("service", "deploy", large_one)
    first = tree.wait_running(web, 2)
    tree.wait_reason(large_one, "needs 900000 MiB memory")
    for level in ("simple", "exhaustive"):
        assert "pair" in oak.run("app", "show", "-v", level).text
        shown = oak.run("service", "show", "-v", level).text
        assert "RUNNING" in shown
        assert "NoActiveClusterWithCapacity" in shown
    assert set(services.values()) <= set(oak.run("service", "show", application).ids)
    inspected = oak.run("service", "inspect", web).text
    assert inspected.count("RUNNING") >= 2
    assert "NoActiveClusterWithCapacity" in oak.run("service", "inspect", large_one).text

    oak.run("service", "undeploy", "--service-id", web, "--instance-id", "0")
    assert tree.wait_running(web, 1) == [each for each in first if each.number == 1]
    oak.run("service", "undeploy", "--service-id", large_one)
    assert tree.instances(large_one) == {}
    oak.run("service", "undeploy")
    eventually(lambda: not tree.running(), "all to be stopped")
    oak.run("service", "deploy", web)
    tree.wait_running(web)
    oak.run("app", "delete", application)
    tree.wait_gone(web)
    assert "No services exist yet" in oak.run("service", "show").text
    assert "not found" in oak.try_("app", "delete", application).text


def test_an_application_that_is_deployed_as_it_is_created(tree: Tree, oak: OakCli) -> None:
    oak.add_sla("quick", sla(process(microservice_name="web")))
    oak.run("app", "create", "--sla-file-name", "quick", "-d")
    [service] = [each.id for each in tree.client.services()]
    tree.wait_running(service)
    oak.run("app", "delete", "-y")
    tree.wait_gone(service)


def test_clusters(tree: Tree, oak: OakCli) -> None:
    listed = oak.run("cluster", "list").text
    assert "alpha" in listed
    told = oak.run("cluster", "info", "alpha").text
    assert "Connected" in told
    [cluster] = tree.client.clusters()
    assert str(cluster.capacity.allocatable.memory) in told
