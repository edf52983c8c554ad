"""What Admins of an organization have power over: its applications and its members, and nobody beyond."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mangrove.base.ids import new_id
from mangrove.model.documents import APPLICATIONS, ORGANIZATIONS, USERS, Application, Member, Organization, User
from mangrove.store.interface import Put
from tests.root_api import Answer, RootApi, sla

NEW_PASSWORD = {"password": "another one"}


class House:
    """A root with the organization lab: its Admin ada, its member bob; eve is a member of lab and of root."""

    def __init__(self) -> None:
        self.root = RootApi()
        self.lab = new_id()
        self.root.put(ORGANIZATIONS, self.lab, Organization(self.lab, "lab"))
        self.ada = self.root.add_member("ada", "lab", "Admin")
        self.bob = self.root.add_member("bob", "lab", "Application_Provider")
        self.eve = self.root.add_user("eve")
        self._change(lambda home: (*home.members, Member(self.eve.id)))

    def _change(self, members: Any) -> None:
        home = self.organization("lab")
        self.root.put(ORGANIZATIONS, home.id, msgspec.structs.replace(home, members=members(home)))

    def organization(self, name: str) -> Organization:
        return msgspec.convert(self.root.store.query(ORGANIZATIONS, "name", name)[0].document, Organization)

    def token(self, user: str, organization: str = "lab") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.root.login(user, organization_name=organization).json['token']}"}

    def ask(self, method: str, path: str, user: str = "ada", organization: str = "lab", **more: Any) -> Answer:
        return self.root.request(method, path, headers=self.token(user, organization), **more)

    def members(self, *members: tuple[User, list[str]]) -> dict[str, Any]:
        return {"member": [{"user_id": user.id, "roles": roles} for user, roles in members]}


@pytest.fixture
def house() -> House:
    return House()


def test_an_application_belongs_to_the_organization_of_the_token(house: House) -> None:
    created = house.ask("POST", "/api/application", "bob", json=sla()).json[0]
    id = created["applicationID"]
    assert house.root.store.get(APPLICATIONS, id).document["organization"] == house.lab  # type: ignore[union-attr]
    assert house.ask("GET", f"/api/application/{id}").json == created
    assert house.root.get(f"/api/application/{id}") == created
    [service] = created["microservices"]
    assert house.ask("POST", f"/api/service/{service}/instance").status_code == 200
    # The same name is free elsewhere, and taken at home.
    assert house.ask("POST", "/api/application", "bob", json=sla()).status_code == 409
    assert house.ask("POST", "/api/application", json=sla()).status_code == 200
    assert house.ask("PUT", f"/api/application/{id}", json={"application_name": "other"}).status_code == 200
    assert house.root.get(f"/api/application/{id}")["userId"] == "bob"


def test_documents_from_before_belong_to_root(house: House) -> None:
    old = msgspec.to_builtins(Application(new_id(), "old", "test", "", "eve"))
    del old["organization"]
    house.root.store.apply([Put(APPLICATIONS, old["id"], old)])
    assert house.root.get(f"/api/application/{old['id']}", user="eve")["application_name"] == "old"
    assert house.ask("GET", f"/api/application/{old['id']}", "eve").status_code == 404
    assert house.ask("GET", f"/api/application/{old['id']}").status_code == 404


def test_an_organization_with_applications_stays(house: House) -> None:
    house.ask("POST", "/api/application", "bob", json=sla())
    refused = house.root.call("DELETE", f"/api/organization/{house.lab}")
    assert refused.status_code == 409
    assert "applications" in refused.json["message"]
    [application] = house.ask("GET", "/api/applications").json
    house.ask("DELETE", f"/api/application/{application['applicationID']}")
    assert house.root.call("DELETE", f"/api/organization/{house.lab}").status_code == 200


def test_an_admin_sees_the_members_and_no_one_else(house: House) -> None:
    assert {user["name"] for user in house.ask("GET", "/api/users").json} == {"ada", "bob", "eve"}
    assert house.ask("GET", f"/api/users/{house.lab}").json == house.ask("GET", "/api/users").json
    assert [each["name"] for each in house.ask("GET", "/api/organization").json] == ["lab"]
    assert house.ask("GET", "/api/user/bob").json["roles"] == ["Application_Provider"]
    for method, path in (("GET", "/api/user/Admin"), ("PUT", "/api/user/Admin"), ("DELETE", "/api/user/Admin")):
        hidden, none = (
            house.ask(method, path, json={}),
            house.ask(method, path.replace("Admin", "nobody"), json={}),
        )
        assert (hidden.status_code, none.status_code) == (404, 404)
        assert hidden.json["message"].replace("Admin", "nobody") == none.json["message"]


def test_an_admin_rules_over_accounts_that_are_the_organizations_alone(house: House) -> None:
    made = house.ask("POST", "/api/auth/register", json={"name": "dan", **NEW_PASSWORD, "roles": ["Admin"]})
    assert made.status_code == 200
    assert house.root.login("dan", NEW_PASSWORD["password"], organization_name="lab").status_code == 200
    assert house.ask("PUT", "/api/user/bob", json=NEW_PASSWORD).status_code == 200
    assert house.ask("DELETE", "/api/user/bob").status_code == 200
    assert house.root.call("GET", "/api/user/bob").status_code == 404


@pytest.mark.parametrize("change", [NEW_PASSWORD, {"email": "mine@example.org"}])
def test_who_is_a_member_elsewhere_keeps_their_account(house: House, change: dict[str, Any]) -> None:
    before = house.root.store.get(USERS, house.eve.id)
    assert house.ask("PUT", "/api/user/eve", json=change).status_code == 403
    assert house.ask("DELETE", "/api/user/eve").status_code == 403
    assert house.root.store.get(USERS, house.eve.id) == before
    # What they may do here is the Admin's to say.
    assert house.ask("PUT", "/api/user/eve", json={"roles": ["Organization_Admin"]}).status_code == 200
    assert house.root.get("/api/permission/eve") == {"roles": ["Application_Provider"]}


def test_an_admin_takes_nobody_in_and_renames_nothing(house: House) -> None:
    path = f"/api/organization/{house.lab}"
    admin = msgspec.convert(house.root.store.query(USERS, "name", "Admin")[0].document, User)
    home: list[tuple[User, list[str]]] = [(house.ada, ["Admin"]), (house.bob, [])]
    taken_in = house.ask("PUT", path, json=house.members(*home, (admin, [])))
    assert (taken_in.status_code, taken_in.json["field"]) == (422, "member[2].user_id")
    assert house.ask("PUT", path, json={"name": "ours"}).status_code == 403
    assert house.ask("PUT", path, json={"name": "lab", **house.members(*home)}).status_code == 200
    assert house.organization("lab").roles_of(house.eve.id) is None
    assert house.ask("PUT", f"/api/organization/{house.organization('root').id}", json={}).status_code == 404
    assert house.ask("DELETE", path).status_code == 403
    assert house.ask("POST", "/api/organization", json={"name": "more"}).status_code == 403


def test_organization_admins_of_root_make_nobody_more_than_they_are(house: House) -> None:
    house.root.add_user("ann", "Organization_Admin")
    house.root.add_user("ian", "Infrastructure_Provider")
    home = house.organization("root")
    roles = {member.user: list(member.roles) for member in home.members}
    for name, sent in (
        ("eve", ["Admin"]),
        ("eve", ["Infrastructure_Provider"]),
        ("ann", ["Admin", "Organization_Admin"]),
        ("Admin", []),
        ("ian", []),
    ):
        answer = house.ask("PUT", f"/api/user/{name}", "ann", "root", json={"roles": sent})
        assert answer.status_code == 403, (name, sent)
        id = house.root.get(f"/api/user/{name}")["_id"]["$oid"]
        members = {**roles, id: sent}
        body = {"member": [{"user_id": user, "roles": held} for user, held in members.items()]}
        assert house.ask("PUT", f"/api/organization/{home.id}", "ann", "root", json=body).status_code == 403
    assert house.ask("PUT", "/api/user/Admin", "ann", "root", json=NEW_PASSWORD).status_code == 403
    assert house.ask("PUT", "/api/user/Admin", "ann", "root", json={"email": "a@b"}).status_code == 403
    assert house.ask("DELETE", "/api/user/Admin", "ann", "root").status_code == 403
    register = {"name": "dan", **NEW_PASSWORD, "roles": ["Admin"]}
    assert house.ask("POST", "/api/auth/register", "ann", "root", json=register).status_code == 403
    removed = {"member": [{"user_id": user, "roles": held} for user, held in roles.items() if "Admin" not in held]}
    assert house.ask("PUT", f"/api/organization/{home.id}", "ann", "root", json=removed).status_code == 403
    assert house.organization("root") == home
    granted = house.ask("PUT", "/api/user/ann", "ann", "root", json={"roles": ["Application_Provider"]})
    assert granted.status_code == 200
