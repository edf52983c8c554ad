"""Deploying an SLA and changing it, against the real API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mangrove.cli.plan import FIELDS, bare, differences
from root_orchestrator.api.oakestra.sla_form import Microservice
from tests.root_api import RootApi, microservice, sla
from tests.unit.cli.conftest import CommandLine

YAML = """
sla_version: v2.0
customerID: me
applications:
  - application_name: shop
    application_namespace: test
    microservices:
      - microservice_name: web
        microservice_namespace: test
        virtualization: container
        code: nginx:1
        memory: 64
        port: 8080:80
        constraints: [{type: direct, cluster: alpha}]
"""


def deploy(cli: CommandLine, document: dict[str, Any], *options: str) -> list[str]:
    said = cli("deploy", "-", *options, stdin=json.dumps(document))
    assert said.code == 0, said.error
    return said.output.splitlines()


def wanted(root: RootApi) -> list[str]:
    """Ids of all slots that are wanted, each as `service name.number`."""
    names = {each["microserviceID"]: each["microservice_name"] for each in root.get("/api/services")}
    slots = (slot for slot in root.slots().values() if slot.desired == "run")
    return sorted(f"{names[slot.service]}.{slot.number}" for slot in slots)


def test_yaml_is_deployed_once_and_again_nothing_changes(cli: CommandLine, root: RootApi) -> None:
    (cli.home / "shop.yaml").write_text(YAML)
    said = cli("diff", "shop.yaml")
    assert (said.code, said.output) == (0, "+ shop\n+ shop.web\n")
    said = cli("deploy", "shop.yaml")
    assert (said.code, said.output) == (0, "shop.web: created; instance requested\n")
    assert "`mangrove wait` waits for it" in said.error
    assert wanted(root) == ["web.0"]
    said = cli("diff", "shop.yaml", "--exit-code")
    assert (said.code, said.output, said.error) == (0, "", "Nothing would change.\n")
    assert cli("deploy", "shop.yaml").output == "shop.web: unchanged\n"
    assert wanted(root) == ["web.0"]
    # What was undeployed is started again, the number of what runs is left alone.
    cli("undeploy", "shop", "-y")
    assert wanted(root) == []
    assert cli("deploy", "shop.yaml").output == "shop.web: unchanged; instance requested\n"
    cli("scale", "shop.web", "3")
    assert cli("deploy", "shop.yaml").output == "shop.web: unchanged\n"
    assert len(wanted(root)) == 3


def test_what_is_declared_otherwise_is_changed_and_shown_before(cli: CommandLine, root: RootApi) -> None:
    deploy(cli, sla("shop", microservice("web"), microservice("db")))
    changed = sla("shop", microservice("web", memory=200, cmd=["nginx", "-t"]), microservice("cache"))
    changed["applications"][0]["application_desc"] = "sells"
    text = json.dumps(changed)
    said = cli("diff", "-", "--exit-code", stdin=text)
    assert said.code == 7
    assert said.output.splitlines() == [
        "~ shop",
        '    application_desc: "a demo" → "sells"',
        "~ shop.web",
        '    cmd: null → ["nginx", "-t"]',
        "    memory: 100 → 200",
        "+ shop.cache",
        "  shop.db (not in the file; it stays)",
    ]
    (plan,) = json.loads(cli("diff", "-", "-o", "json", stdin=text).output)
    assert plan["services"][0]["changes"][1] == {"field": "memory", "before": 100, "after": 200}

    assert deploy(cli, changed) == [
        "shop.web: changed (cmd, memory); 1 instance is replaced",
        "shop.cache: created; instance requested",
        "shop.db: not in the file; it stays (--prune deletes it)",
    ]
    assert wanted(root) == ["cache.0", "db.0", "web.0"]
    assert root.get("/api/applications")[0]["application_desc"] == "sells"
    assert deploy(cli, changed, "--prune")[-1] == "shop.db: deleted"
    assert wanted(root) == ["cache.0", "web.0"]
    specification = json.loads(cli("service", "show", "shop.web", "-o", "json").output)["specification"]
    assert (specification["command"], specification["resources"]["memory"]) == (["nginx", "-t"], 200)


def test_a_field_that_is_taken_out_is_a_change(cli: CommandLine, root: RootApi) -> None:
    deploy(cli, sla("shop", microservice("web", environment=["A=1"])))
    said = cli("diff", "-", stdin=json.dumps(sla("shop", microservice("web"))))
    assert said.output.splitlines() == ["  shop", "~ shop.web", '    environment: ["A=1"] → null']


def test_deploying_as_json(cli: CommandLine, root: RootApi) -> None:
    (line,) = [json.loads("".join(deploy(cli, sla("shop"), "-o", "json")))]
    (application,) = line
    assert (application["name"], application["action"]) == ("shop", "create")
    (service,) = application["services"]
    assert (service["name"], service["action"], service["changes"]) == ("web", "create", [])
    assert service["id"] in application["id"] + str(root.slots())


def test_others_applications_of_that_name_are_not_touched(cli: CommandLine, root: RootApi) -> None:
    root.add_user("bob", "Application_Provider")
    root.create("shop", microservice("web", memory=1), user="bob")
    assert deploy(cli, sla("shop")) == ["shop.web: created; instance requested"]
    assert len(root.get("/api/applications")) == 2


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("{", "FILE: begins as JSON but is none"),
        ("[]", "FILE: is no SLA"),
        ("a: &b 1\nc: *b", "FILE: uses the alias *b"),
        ("{}", "applications: is missing"),
        ('{"applications": 7}', "applications: must be a list, but is 7"),
        ('{"applications": ["x"]}', 'applications[0]: must be an object, but is "x"'),
        ('{"applications": [{}]}', "applications[0].microservices: is missing"),
        ('{"applications": [{"microservices": []}]}', "applications[0].application_name: is missing"),
        (
            '{"applications": [{"microservices": [{"microservice_name": 1}]}]}',
            "applications[0].microservices[0].microservice_name: must be a string, but is 1",
        ),
        (json.dumps(sla("shop") | {"sla_version": "v1"}), "sla_version: "),
        (json.dumps(sla("shop", microservice("web", memory="much"))), "applications[0].microservices[0].memory: "),
    ],
)
def test_what_cannot_be_deployed_changes_nothing(cli: CommandLine, root: RootApi, document: str, problem: str) -> None:
    said = cli("deploy", "-", stdin=document)
    assert said.code == 2
    assert said.error.startswith(f"Error: {problem}")
    assert root.get("/api/applications") == []


def test_a_file_that_is_not_there(cli: CommandLine, root: RootApi) -> None:
    said = cli("deploy", "missing.json")
    assert said.code == 2
    assert "missing.json" in said.error


def test_waiting_says_how_far_it_is_and_has_an_end(cli: CommandLine, root: RootApi) -> None:
    deploy(cli, sla("shop"))
    (slot,) = root.slots()
    root.leave_pending(slot, "no node fits")
    said = cli("deploy", "-", "--wait", "--timeout", "0.3", stdin=json.dumps(sla("shop")))
    assert said.code == 6
    assert "shop.web: 0 of 1 running (1 pending, no node fits)" in said.error
    assert "Error: waited 0.3 s for all to be running: 0 of 1 are, 1 pending, no node fits" in said.error
    root.run(slot)
    said = cli("wait", "shop.web", "--timeout", "5s")
    assert (said.code, said.error) == (0, "shop.web: 1 of 1 running\n")


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({"virtualization": "docker"}, {"virtualization": "container"}, []),
        ({"volumes": [{"a": 1, "b": "", "c": {}}]}, {"volumes": [{"a": 1}]}, []),
        ({"one_shot": False, "cmd": [], "memory": 0, "addresses": None}, {}, []),
        ({"code": "x"}, {"code": " x "}, []),
        ({"memory": 1}, {"memory": 2}, ["memory"]),
        ({"memory": 1}, {}, ["memory"]),
        ({}, {"of_my_own": 1}, ["of_my_own"]),
        ({"status": "RUNNING", "image": "x"}, {}, []),
        ({"cmd": ["a", ""]}, {"cmd": ["a"]}, ["cmd"]),
    ],
)
def test_differences_are_what_counts(before: dict[str, Any], after: dict[str, Any], fields: list[str]) -> None:
    assert [each.field for each in differences(after, before)] == fields


def test_what_is_empty_is_as_good_as_missing() -> None:
    assert bare({"a": {"b": [], "c": 0}, "d": ""}) is None
    assert bare([0, "x"]) == [None, "x"]


def test_every_field_that_an_sla_has_is_compared_and_kept_in_an_update() -> None:
    names = {"microserviceID", "microservice_name", "microservice_namespace"}
    assert set(Microservice.__struct_fields__) - names == FIELDS
