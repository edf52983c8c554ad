"""The unmodified `oak` command line of Oakestra drives the API, while the test plays controller and link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.roles.http_server import serve
from mangrove.store.interface import Store
from tests.e2e.oak_cli import PORT, OakCli, free_address, installed
from tests.root_api import RootApi, microservice, sla


@pytest.fixture(scope="session")
def oak_executable(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cached = pytestconfig.pluginmanager.hasplugin("cacheprovider")
    return installed(pytestconfig.cache.mkdir("oak-cli") if cached else tmp_path_factory.mktemp("oak"))


@pytest.fixture
def root(store: Store) -> RootApi:
    return RootApi(store)


@pytest.fixture
def oak(root: RootApi, oak_executable: Path, tmp_path: Path) -> Iterator[OakCli]:
    address = free_address()
    server = serve(root.app, address, PORT, threads=2)
    yield OakCli(oak_executable, tmp_path / "home", address)
    server.stop()


def test_the_life_of_an_application(root: RootApi, oak: OakCli) -> None:
    assert "No applications exist yet" in oak.run("app", "show").text
    oak.add_sla("pair", sla("pair", microservice("web", port="9080"), microservice("db", cmd=["sleep", "9"])))
    created = oak.run("app", "create", "--sla-file-name", "pair", "-d")
    assert created.text.count("Success: 'Deploy a new instance") == 2
    [application] = oak.run("app", "show").ids
    assert oak.try_("app", "create", "--sla-file-name", "pair").code == 1  # the name is taken

    services = {each["microservice_name"]: each["microserviceID"] for each in root.get("/api/services")}
    root.add_cluster()
    attempt = root.run(f"{services['web']}.0")
    root.fleet.measured[attempt] = [Usage(cpu=1.0, memory=1000, measured=root.clock.wall())]
    root.leave_pending(f"{services['db']}.0", "needs 4 GiB: 3 nodes too small")
    for level in ("simple", "detailed", "exhaustive"):
        assert "pair" in oak.run("app", "show", "-v", level).text
        shown = oak.run("service", "show", "-v", level).text
        assert "RUNNING" in shown
        assert "NoActiveClusterWithCapacity" in shown
    assert services["db"] in oak.run("service", "show", application).ids
    assert "RUNNING" in oak.run("service", "inspect", services["web"]).text

    oak.run("service", "deploy", services["web"])
    oak.run("service", "undeploy", "--service-id", services["db"])
    oak.run("service", "undeploy", "--service-id", services["web"], "--instance-id", "1")
    assert [slot for slot, wanted in root.slots().items() if wanted.desired == "run"] == [f"{services['web']}.0"]
    oak.run("service", "undeploy")
    assert "run" not in [slot.desired for slot in root.slots().values()]

    unknown = oak.try_("service", "inspect", "0" * 24)
    assert unknown.code == 1
    assert "not found" in unknown.text
    oak.run("app", "delete", application)
    assert "No services exist yet" in oak.run("service", "show").text
    assert "not found" in oak.try_("app", "delete", application).text


def test_the_agreements_that_it_brings(root: RootApi, oak: OakCli) -> None:
    for name in ("default_app_with_services", "edge_gaming", "blank_app_without_services"):
        oak.run("app", "create", "--sla-file-name", name)
    assert len(oak.run("app", "show").ids) == 3
    oak.run("app", "delete", "-y")
    assert "No applications exist yet" in oak.run("app", "show").text


def test_every_status_can_be_shown(root: RootApi, oak: OakCli) -> None:
    [service] = root.create()["microservices"]
    root.add_cluster()
    for number, phase in enumerate(Phase):
        root.deploy(service)
        root.observe(root.place(f"{service}.{number}"), phase, node="d" * 24)
    shown = oak.run("service", "inspect", service).text
    for word in ("REQUESTED", "NODE_SCHEDULED", "CREATING", "CREATED", "RUNNING", "FAILED", "DEAD", "COMPLETED"):
        assert word in shown


def test_clusters(root: RootApi, oak: OakCli) -> None:
    assert "Empty List" in oak.run("cluster", "list").text
    root.add_cluster()
    root.add_cluster("beta", "b" * 24, state="joined", capacity=Capacity(), address="")
    listed = oak.run("cluster", "list").text
    assert "alpha" in listed
    assert "48.1,11.5,100" in listed
    assert "beta" not in listed
    assert "Disconnected" in oak.run("cluster", "list", "-all").text
    told = oak.run("cluster", "info", "alpha").text
    assert "Connected" in told
    assert "4096" in told
    oak.run("cluster", "info", "beta")
