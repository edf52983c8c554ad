"""Listing and showing what there is, against the real API."""

from __future__ import annotations

import json

import pytest

from mangrove.client.root import RootClient
from mangrove.model.child import Capacity, Networking
from mangrove.model.documents import GRANTS, Granted
from mangrove.model.phases import Phase
from tests.root_api import CLUSTER, NODE, RootApi, microservice
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def shop(root: RootApi) -> dict[str, str]:
    """An application of two services: `web` runs once and waits once, `db` has no instance; ids by name."""
    root.add_cluster()
    root.add_node()
    application = root.create("shop", microservice("web"), microservice("db"))
    ids = dict(zip(("web", "db"), application["microservices"], strict=True))
    for _ in range(2):
        root.deploy(ids["web"])
    root.run(f"{ids['web']}.0")
    root.leave_pending(f"{ids['web']}.1", "no node fits")
    return {"shop": application["applicationID"], **ids}


def test_applications(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    said = cli("app", "list")
    assert said.output.splitlines()[1].split() == ["shop", "test", "Admin", "2", shop["shop"], "a", "demo"]
    (document,) = json.loads(cli("app", "list", "-o", "json").output)
    assert document == root.get(f"/api/v1/applications/{shop['shop']}")
    assert "shop.web" in cli("app", "show", "shop").output
    assert json.loads(cli("app", "show", "shop", "-o", "json").output) == document
    assert cli("app", "show", shop["shop"][:8]).code == 0
    assert cli("app", "delete", "shop", "-y").error == "shop is deleted.\n"
    said = cli("app", "list")
    assert (said.code, said.output) == (0, "")
    assert "`mangrove deploy FILE` makes one" in said.error
    assert json.loads(cli("app", "list", "-o", "json").output) == []


def test_services(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    lines = cli("service", "list").output.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["shop.db", "0/0"], ["shop.web", "1/2"]]
    assert cli("service", "list", "--app", "shop").output.splitlines() == lines
    shown = cli("service", "show", "shop.web").output
    assert "docker.io/library/nginx:latest" in shown
    assert "no node fits" in shown
    said = json.loads(cli("service", "show", "web", "-o", "json").output)
    assert said == root.get(f"/api/v1/services/{shop['web']}")
    assert cli("service", "delete", "db", "--yes").code == 0
    assert len(cli("service", "list").output.splitlines()) == 2


def test_how_important_a_service_is(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    assert "priority" not in cli("service", "show", "shop.web").output
    root.create("urgent", microservice("alarm", priority=-7, preemption_policy="never", port=""))
    assert "-7 displaces nobody" in cli("service", "show", "urgent.alarm").output


def test_addresses(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    root.create("more", microservice("gate", addresses={"rr_ip": "10.30.0.7", "instances": [{"from": "10.30.0.8"}]}))
    shown = " ".join(cli("service", "show", "more.gate").output.split())
    assert "addresses 10.30.0.7 fdff:2" in shown
    assert "10.30.0.8 (instance 0)" in shown
    networks = ("10.18.0.0/26", "fdff::/64")
    root.add_node("node7", "7" * 24, capacity=Capacity(network=Networking(1, (networks,), ("192.0.2.1",))))
    root.put(GRANTS, "10.18.0.0/22", Granted(CLUSTER, "10.18.0.0/22", "fdff::/60"))
    said = cli("net", "list")
    assert said.error == "767 of 768 blocks for clusters are free\n"
    first, head, cluster, node = said.output.splitlines()
    assert first.startswith("instances 10.18.0.0/15, ")
    assert head.split() == ["cluster", "node", "IPv4", "IPv6", "reached", "at", "trouble"]
    assert cluster.split() == ["alpha", "10.18.0.0/22", "fdff::/60"]
    assert node.split() == ["alpha", "node7", *networks, "192.0.2.1"]
    document = json.loads(cli("net", "list", "-o", "json").output)
    assert [each["cluster"]["name"] for each in document["grants"]] == ["alpha"]
    assert {each["name"] for each in document["nodes"]} == {"node1", "node7"}


def test_a_root_without_a_network_says_so(cli: CommandLine, root: RootApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RootClient, "network", lambda self: {"on": False})
    said = cli("net", "list")
    assert (said.code, said.error) == (0, "the root was started with --network off\n")


def test_instances(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    lines = cli("instance", "list").output.splitlines()
    assert lines[1].split()[:4] == ["shop.web.0", "RUNNING", "alpha", "node1"]
    assert "no node fits" in lines[2]
    assert len(json.loads(cli("instance", "list", "-o", "json").output)) == 2
    for filters in (("--phase", "RUNNING"), ("--node", "node1"), ("--cluster", "alpha")):
        assert len(cli("instance", "list", *filters).output.splitlines()) == 2, filters
    assert cli("instance", "list", "--service", "db").error == "There is no such instance.\n"
    assert len(cli("instance", "list", "--app", "shop").output.splitlines()) == 3
    shown = cli("instance", "show", "shop.web.0").output
    assert "RUNNING" in shown
    assert "node1" in shown
    assert cli("instance", "show", f"{shop['web'][:6]}.1").code == 0
    assert json.loads(cli("instance", "show", "web.1", "-o", "json").output)["reason"] == "no node fits"


def test_clusters_and_nodes(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    assert cli("cluster", "list").output.splitlines()[1].split()[:3] == ["alpha", "live", "1"]
    assert json.loads(cli("cluster", "show", "alpha", "-o", "json").output)["id"] == CLUSTER
    assert "node1" in cli("cluster", "show", "alpha").output
    assert cli("node", "list").output.splitlines()[1].split()[:3] == ["node1", "alpha", "live"]
    assert cli("node", "list", "--cluster", "alpha").code == 0
    assert json.loads(cli("node", "show", "alpha.node1", "-o", "json").output)["id"] == NODE
    assert "shop.web.0" in cli("node", "show", "node1").output
    root.fleet.answer = {"message": "removed"}
    assert cli("node", "remove", "node1", "-y").code == 0
    assert root.fleet.calls == [(CLUSTER, "remove_node", {"node": NODE})]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("service", "show", "shop.wbe"), "there is no service 'shop.wbe'; did you mean 'shop.web'?"),
        (("service", "show", "wbe"), "there is no service 'wbe'; did you mean 'web'?"),
        (("service", "show", "zzzzzz"), "there is no service 'zzzzzz' (there is db, web)"),
        (("app", "show", "shap"), "there is no application 'shap'; did you mean 'shop'?"),
        (("instance", "show", "shop.web"), "there is no instance 'shop.web': name it as application.service.0"),
        (("instance", "show", "shop.web.7"), "there is no instance 7 of shop.web (there is 0, 1)"),
        (("node", "show", "node2"), "there is no node 'node2'; did you mean 'node1'?"),
        (("cluster", "show", "alhpa"), "there is no cluster 'alhpa'; did you mean 'alpha'?"),
        (("instance", "list", "--service", "wbe"), "there is no service 'wbe'; did you mean 'web'?"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(
    cli: CommandLine, root: RootApi, shop: dict[str, str], command: tuple[str, ...], problem: str
) -> None:
    said = cli(*command)
    assert said.code == 3
    assert said.error.startswith(f"Error: {problem}")
    assert said.error.count("\n") == 1


def test_a_name_that_several_have_names_them(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    other = root.create("mall", microservice("web"))
    said = cli("service", "show", "web")
    assert said.code == 4
    assert "'web' may be any of " in said.error
    assert f"shop.web ({shop['web'][:12]})" in said.error
    assert f"mall.web ({other['microservices'][0][:12]})" in said.error
    assert cli("service", "show", "mall.web").code == 0
    assert cli("service", "show", "mall.test.web.test").code == 0
    assert cli("service", "show", shop["web"][:12]).code == 0


def test_a_bad_phase_is_refused_by_the_root_with_a_sentence(cli: CommandLine, root: RootApi) -> None:
    said = cli("instance", "list", "--phase", "flying")
    assert said.code == 2
    assert "phase" in said.error


def test_a_list_of_many_pages_is_shown_whole(cli: CommandLine, root: RootApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mangrove.client.root._PAGE", 2)
    root.create("many", *(microservice(f"s{number}") for number in range(7)))
    assert len(json.loads(cli("service", "list", "-o", "json").output)) == 7


def test_history_is_shown(cli: CommandLine, root: RootApi, shop: dict[str, str]) -> None:
    root.observe(root.place(f"{shop['web']}.1"), Phase.FAILED, "exit code 3")
    assert "FAILED" in cli("instance", "show", "shop.web.1").output
