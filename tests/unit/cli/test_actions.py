"""Scaling, stopping, waiting, changing, and users, against the real API."""

from __future__ import annotations

import json

import pytest

from mangrove.cli.actions import explained
from mangrove.model.child import Capacity
from mangrove.model.documents import EVENTS, Event
from mangrove.model.resources import Resources
from tests.root_api import CLUSTER, RootApi, microservice, sla
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def web(root: RootApi) -> str:
    """A service without instances; its id."""
    id: str = root.create("shop", microservice("web", environment=["A=1", "B=2"]))["microservices"][0]
    return id


def numbers(root: RootApi) -> list[int]:
    return sorted(slot.number for slot in root.slots().values() if slot.desired == "run")


def test_scaling_is_said_and_repeatable(cli: CommandLine, root: RootApi, web: str) -> None:
    assert cli("scale", "shop.web", "2").output == "shop.web: 2 wanted; added 0, 1\n"
    assert cli("scale", "shop.web", "2").output == "shop.web: 2 wanted; nothing to do\n"
    assert cli("service", "scale", "web", "1").output == "web: 1 wanted; removed 1\n"
    said = json.loads(cli("scale", "web", "2", "-o", "json").output)
    assert said == {"instances": 2, "added": [2], "removed": []}
    assert numbers(root) == [0, 2]
    assert cli("scale", "web", "0", "--wait", "--timeout", "5s").code == 0
    assert cli("scale", "web", "many").code == 2
    assert cli("scale", "web", "-1").code == 2


def test_undeploying_one_a_service_or_an_application(cli: CommandLine, root: RootApi, web: str) -> None:
    cli("scale", "web", "4")
    assert cli("undeploy", "shop.web.1").error == "shop.web.1 is stopped.\n"
    assert numbers(root) == [0, 2, 3]
    assert cli("undeploy", "shop.web.1").code == 3
    assert cli("undeploy", "shop.web", "-y").code == 0
    assert numbers(root) == []
    cli("scale", "web", "2")
    assert cli("undeploy", "shop", "-y", "--wait", "--timeout", "5s").code == 0
    assert numbers(root) == []
    assert cli("undeploy", "shopp").code == 3


def test_waiting_for_what_becomes_of_a_service(cli: CommandLine, root: RootApi, web: str) -> None:
    assert cli("wait", "shop.web", "--for", "stopped", "--timeout", "5").code == 0
    assert cli("wait", "shop.web", "--timeout", "0.2").code == 6
    assert cli("wait", "shop.nothing").code == 3
    assert cli("wait", "shop.nothing", "--for", "deleted").code == 0
    assert cli("wait", "shop.web", "--for", "flying").code == 2
    assert cli("wait", "shop.web.0").code == 2
    cli("service", "delete", "web", "-y")
    assert cli("wait", "shop.web", "--for", "deleted").code == 0


def test_a_service_is_changed_without_a_file(cli: CommandLine, root: RootApi, web: str) -> None:
    said = cli("service", "update", "shop.web", "--code", "nginx:2", "--env", "B=3", "--env", "A=", "--env", "C=4=5")
    assert said.code == 0, said.error
    runs = root.get(f"/api/v1/services/{web}")["specification"]
    assert runs["image"] == "nginx:2"
    assert [each for each in runs["environment"] if each[0] in "ABC"] == ["B=3", "C=4=5"]
    assert runs["ports"][0]["host"] == 8080
    assert runs["resources"]["memory"] == 100
    assert cli("service", "update", "shop.web").code == 2
    assert cli("service", "update", "shop.web", "--env", "A").code == 2
    assert cli("service", "update", "shop.web", "--memory", "-1").code == 2


def test_users(cli: CommandLine, root: RootApi) -> None:
    said = cli("user", "create", "eve", "--role", "Application_Provider", "--password-stdin", stdin="a-good-password\n")
    assert said.code == 0, said.error
    assert cli("user", "create", "eve", "--password-stdin", stdin="a-good-password\n").code == 4
    lines = cli("user", "list").output.splitlines()
    assert lines[2].split()[0] == "eve"
    assert "Application_Provider" in lines[2]
    assert {each["name"] for each in json.loads(cli("user", "list", "-o", "json").output)} == {"Admin", "eve"}
    assert cli("user", "update", "eve", "--no-roles", "--email", "eve@example.org").code == 0
    assert "eve@example.org" in cli("user", "list").output
    assert cli("user", "update", "eve").code == 2
    assert cli("user", "password", "eve", "--password-stdin", stdin="another-password\n").code == 0
    assert root.login("eve", "another-password").status_code == 200
    said = cli("user", "password", "--password-stdin", stdin="Admin\na-new-password\n")
    assert said.code == 0, said.error
    assert root.login("Admin", "a-new-password").status_code == 200
    assert cli("login", "--password-stdin", stdin="a-new-password").code == 0
    assert cli("user", "delete", "eve", "-y").code == 0
    assert cli("user", "delete", "eve", "-y").code == 3
    assert cli("user", "create", "bob").code == 2


def test_organizations(cli: CommandLine, root: RootApi) -> None:
    assert cli("org", "create", "tide").code == 0
    assert [line.split()[:2] for line in cli("org", "list").output.splitlines()[1:]] == [["root", "1"], ["tide", "0"]]
    said = cli("org", "delete", "tid", "-y")
    assert (said.code, said.error) == (3, "Error: there is no organization 'tid'; did you mean 'tide'?\n")
    assert cli("org", "delete", "tide", "-y").code == 0


def test_the_whole_tree(cli: CommandLine, root: RootApi, web: str) -> None:
    root.add_cluster()
    root.add_node()
    cli("scale", "web", "3")
    root.run(f"{web}.0")
    root.place(f"{web}.1")
    root.leave_pending(f"{web}.2", "no node fits")
    lines = [line.strip("│├└─ ") for line in cli("top", "--once").output.splitlines()]
    assert "1 cluster, 1 of 1 node live, 1 instance runs" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["alpha"],
        ["shop.web.1", "ASSIGNED"],
        ["node1", "CPU"],
        ["shop.web.0", "RUNNING"],
        ["nowhere"],
        ["shop.web.2", "PENDING"],
    ]
    assert "no node fits" in lines[-1]
    assert cli("top").output.splitlines()[1:] == cli("top", "--once").output.splitlines()[1:]


def test_events_of_all_or_about_one_thing(cli: CommandLine, root: RootApi, web: str) -> None:
    root.add_cluster()
    for number, (kind, subject) in enumerate(
        [("placed", f"{web}.0"), ("placed", "f" * 24 + ".0"), ("rollout-begun", web), ("cluster-silent", CLUSTER)], 1
    ):
        id = f"{number:024x}"
        root.put(EVENTS, id, Event(id, 1e9 + number, kind, subject, f"text {number}"))

    def texts(*options: str) -> list[str]:
        said = cli("events", *options)
        assert said.code == 0, said.error
        return [line.rpartition("  ")[2] for line in said.output.splitlines()]

    assert texts() == ["text 1", "text 2", "text 3", "text 4"]
    assert texts("-n", "2") == ["text 3", "text 4"]
    assert texts("--kind", "placed") == ["text 1", "text 2"]
    assert texts("--about", "shop.web") == ["text 1", "text 3"]
    assert texts("--about", "shop.web", "-n", "1") == ["text 3"]
    assert texts("--about", "alpha") == ["text 4"]
    assert cli("events", "--about", "beta").code == 3
    first = json.loads(cli("events", "-o", "json").output.splitlines()[0])
    assert first == {
        "id": f"{1:024x}",
        "time": 1e9 + 1,
        "kind": "placed",
        "subject": f"{web}.0",
        "text": "text 1",
        "cluster": "",
    }


def test_explaining_says_why_something_waits(cli: CommandLine, root: RootApi, web: str) -> None:
    root.add_cluster()
    cli("scale", "web", "2")
    root.leave_pending(f"{web}.0", "needs 4 GiB: 3 nodes too small")
    root.run(f"{web}.1")
    said = cli("explain", "shop.web")
    assert said.code == 0, said.error
    lines = said.output.splitlines()
    assert lines[0] == "shop.web.0  PENDING  is nowhere: needs 4 GiB: 3 nodes too small"
    assert lines[1] == "shop.web.1  RUNNING  is on node1 of alpha"
    assert lines[2] == "One more instance:"
    assert "clusters could take it" in lines[-1]
    document = json.loads(cli("explain", "shop.web", "-o", "json").output)
    assert document == root.get(f"/api/v1/services/{web}/explain")
    assert cli("explain", "shop.wbe").code == 3


def test_a_file_is_tried_before_it_is_deployed(cli: CommandLine, root: RootApi) -> None:
    root.add_cluster()
    table = root.fleet.table
    table.add(CLUSTER, "alpha")
    table.update(CLUSTER, Capacity(Resources(cpu=4000, memory=250, disk=10), nodes=2, runtimes=("docker",)))
    table.set_live(CLUSTER, True)
    before = root.store.revision()
    text = json.dumps(sla("shop", microservice("web", port="")))
    said = cli("explain", "-f", "-", "-n", "3", stdin=text)
    assert said.code == 0, said.error
    first, condition, passed, note = said.output.splitlines()
    assert first == "shop.test.web.test  2 of 3 would run: 2 on alpha"
    assert condition.startswith("  fit rules out 1: needs 100 MiB memory")
    assert passed == "  0 of 1 clusters could take it"
    assert note.startswith("Nothing was written")
    fine = cli("explain", "--file", "-", "-o", "json", stdin=text)
    assert json.loads(fine.output)["fits"] is True
    assert root.store.revision() == before
    assert cli("explain").code == cli("explain", "shop.web", "-f", "-", stdin=text).code == 2


def test_what_placement_would_do_is_shown_condition_by_condition() -> None:
    choice = {
        "clusters": 3,
        "passed": 1,
        "conditions": [{"condition": "room", "ruled_out": 2, "text": "2 clusters too small"}],
        "best": [{"id": "c", "name": "alpha", "score": 0.75}],
    }
    slot = {"number": 4, "phase": "pending", "text": "is nowhere", "choice": choice}
    assert explained("a.b", {"slots": [slot], "choice": {**choice, "best": []}}) == [
        "a.b.4  PENDING  is nowhere",
        "  room rules out 2: 2 clusters too small",
        "  1 of 3 clusters could take it; best: alpha (0.75)",
        "One more instance:",
        "  room rules out 2: 2 clusters too small",
        "  1 of 3 clusters could take it",
    ]
