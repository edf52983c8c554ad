"""Users and organizations, as Oakestra's dashboard drives them, and what may never become of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mangrove.model.documents import ORGANIZATIONS, USERS
from mangrove.store.interface import Operation, Put
from mangrove.store.memory import MemoryStore
from mangrove.store.sqlite import SqliteStore
from root_orchestrator.auth.credentials import FAILURES_PER_NAME
from root_orchestrator.auth.rules import ROLES
from tests.root_api import Answer, RootApi, sla

ZERO = "0" * 24
LONG_ENOUGH = "long enough"


@pytest.fixture
def root() -> RootApi:
    return RootApi()


def registration(name: str = "ada", **more: Any) -> dict[str, Any]:
    """What the dashboard sends for a new user."""
    return {
        "_id": {"$oid": ""},
        "name": name,
        "email": f"{name}@example.org",
        "password": LONG_ENOUGH,
        "created_at": "01/01/1999 00:00",
        "roles": ["Application_Provider"],
        **more,
    }


def register(root: RootApi, name: str = "ada", **more: Any) -> dict[str, Any]:
    answer = root.call("POST", "/api/auth/register", json=registration(name, **more))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json
    return document


def create_organization(root: RootApi, name: str = "lab", *members: dict[str, Any]) -> str:
    answer = root.call("POST", "/api/organization/", json={"name": name, "member": list(members)})
    assert answer.status_code == 200, answer.text
    id: str = answer.json["$oid"]
    return id


def organization_named(root: RootApi, name: str = "root") -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in root.get("/api/organization/") if each["name"] == name)
    return found


def id_of(user: dict[str, Any]) -> str:
    id: str = user["_id"]["$oid"]
    return id


def with_token(root: RootApi, token: str, method: str = "GET", path: str = "/api/clusters", **more: Any) -> Answer:
    return root.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)


def refreshed(root: RootApi, tokens: dict[str, str]) -> int:
    return with_token(root, tokens["refresh_token"], "POST", "/api/auth/refresh").status_code


# Users


def test_the_life_of_a_user(root: RootApi) -> None:
    made = register(root)
    assert made == {
        "_id": {"$oid": id_of(made)},
        "name": "ada",
        "email": "ada@example.org",
        "created_at": "15/01/2027 08:16",  # by the root's clock
        "roles": ["Application_Provider"],
    }
    assert len(id_of(made)) == 24
    tokens = root.login("ada", LONG_ENOUGH).json
    assert with_token(root, tokens["token"], "GET", "/api/user/ada").json == made
    assert [user["name"] for user in root.get("/api/users/")] == ["Admin", "ada"]
    home = id_of(organization_named(root))
    assert root.get(f"/api/users/{home}/") == root.get("/api/users")
    assert made in root.get("/api/users")

    sent = {**made, "email": "", "roles": ["Infrastructure_Provider", "Admin"], "password": None, "created_at": "now"}
    changed = root.call("PUT", "/api/user/ada/", json=sent)
    assert changed.status_code == 200
    assert changed.json == {**made, "email": "", "roles": ["Admin", "Infrastructure_Provider"]}
    assert root.get("/api/permission/ada") == {"roles": ["Admin", "Infrastructure_Provider"]}
    assert refreshed(root, tokens) == 200  # nothing that ends tokens

    gone = root.call("DELETE", "/api/user/ada/")
    assert (gone.status_code, gone.json) == (200, {"message": "User deleted"})
    assert [user["name"] for user in root.get("/api/users")] == ["Admin"]
    assert [member["user_id"] for member in organization_named(root)["member"]] == [id_of(root.get("/api/user/Admin"))]
    assert with_token(root, tokens["token"]).status_code == 401
    assert refreshed(root, tokens) == 401
    assert root.login("ada", LONG_ENOUGH).status_code == 401
    register(root)  # another person of that name
    assert with_token(root, tokens["token"]).status_code == 401


def test_no_answer_and_no_document_holds_a_password(root: RootApi) -> None:
    register(root)
    texts = [
        root.call("GET", path).text
        for path in ("/api/users", "/api/user/ada", "/api/organization", "/api/users/" + ZERO)
    ]
    texts.append(root.call("PUT", "/api/user/ada", json={"password": "another one"}).text)
    for text in texts:
        assert "password" not in text.lower()
        assert "pbkdf2" not in text
    stored = json.dumps([each.document for each in root.store.load(USERS)])
    assert LONG_ENOUGH not in stored
    assert "another one" not in stored
    refused = root.call("POST", "/api/auth/register", json=registration("bob", password="short12"))
    assert (refused.status_code, refused.json["field"]) == (422, "password")
    assert "short12" not in refused.text


def test_a_new_password_ends_all_tokens(root: RootApi) -> None:
    register(root)
    before = root.login("ada", LONG_ENOUGH).json
    body = {"oldPassword": LONG_ENOUGH, "newPassword": "even longer"}
    answer = with_token(root, before["token"], "POST", "/api/user/ada/", json=body)
    assert answer.status_code == 200
    assert "sign in" in answer.json["message"]
    assert refreshed(root, before) == 401
    assert with_token(root, before["token"]).status_code == 401
    assert root.login("ada", LONG_ENOUGH).status_code == 401
    after = root.login("ada", "even longer").json  # in the same second
    assert refreshed(root, after) == 200
    assert refreshed(root, root.login().json) == 200


def test_admin_gives_a_new_password_to_whoever_forgot_theirs(root: RootApi) -> None:
    register(root)
    tokens = root.login("ada", LONG_ENOUGH).json
    assert root.call("PUT", "/api/user/ada", json={"password": "given anew"}).status_code == 200
    assert refreshed(root, tokens) == 401
    assert root.login("ada", "given anew").status_code == 200
    own = root.call("PUT", "/api/user/Admin", json={"password": "given anew"})
    assert (own.status_code, own.json["field"]) == (422, "password")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"oldPassword": "wrong", "newPassword": "even longer"}, "oldPassword"),
        ({"oldPassword": "Admin", "newPassword": "Admin"}, "newPassword"),
        ({"oldPassword": "Admin", "newPassword": "short"}, "newPassword"),
        ({"oldPassword": "Admin", "newPassword": "x" * 1025}, "newPassword"),
        ({"oldPassword": "Admin", "newPassword": "no\nlines at all"}, "newPassword"),
        ({"oldPassword": "Admin"}, "newPassword"),
        ({"newPassword": "even longer"}, "oldPassword"),
        ({"oldPassword": None, "newPassword": "even longer"}, "oldPassword"),
        ({"oldPassword": "Admin", "newPassword": "even longer", "name": "bob"}, "name"),
    ],
)
def test_a_password_change_that_is_refused_changes_nothing(root: RootApi, body: dict[str, Any], field: str) -> None:
    before = root.store.revision()
    answer = root.call("POST", "/api/user/Admin", json=body)
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert root.store.revision() == before
    assert root.login().status_code == 200


def test_ones_own_password_alone_and_guessing_it_is_slowed_down(root: RootApi) -> None:
    root.add_user("ada")
    body = {"oldPassword": "ada", "newPassword": "even longer"}
    assert root.call("POST", "/api/user/ada", json=body).status_code == 403
    for _ in range(FAILURES_PER_NAME):
        root.call("POST", "/api/user/ada", user="ada", json={**body, "oldPassword": "guess"})
    assert root.call("POST", "/api/user/ada", user="ada", json=body).status_code == 429


BAD_REGISTRATIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "two words"}, "name"),
    ({"name": "../x"}, "name"),
    ({"name": ".."}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": "a\n"}, "name"),
    ({"name": "a" * 65}, "name"),
    ({"name": {"$ne": ""}}, "name"),
    ({"name": None}, "name"),
    ({"password": ""}, "password"),
    ({"password": None}, "password"),
    ({"password": "x" * 1025}, "password"),
    ({"email": "nowhere"}, "email"),
    ({"email": "a@b\nBcc: c@d"}, "email"),
    ({"email": "a@" + "b" * 300}, "email"),
    ({"roles": "Admin"}, "roles"),
    ({"roles": ["Admin", "King"]}, "roles[1]"),
    ({"roles": ["admin"]}, "roles[0]"),
    ({"roles": [{"name": "Admin"}]}, "roles[0]"),
    ({"generation": 7}, "generation"),
    ({"organization": "root"}, "organization"),
]


@pytest.mark.parametrize(("fields", "field"), BAD_REGISTRATIONS)
def test_bad_registrations_name_their_field(root: RootApi, fields: dict[str, Any], field: str) -> None:
    before = root.store.revision()
    answer = root.call("POST", "/api/auth/register", json=registration(**fields))
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert root.store.revision() == before


@pytest.mark.parametrize("missing", ["name", "password"])
def test_what_a_registration_must_have(root: RootApi, missing: str) -> None:
    sent = registration()
    del sent[missing]
    answer = root.call("POST", "/api/auth/register", json=sent)
    assert (answer.status_code, answer.json["field"]) == (422, missing)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "bob"}, "name"),
        ({"_id": {"$oid": ZERO}}, "_id"),
        ({"_id": 1}, "_id"),
        ({"email": "nowhere"}, "email"),
        ({"roles": ["King"]}, "roles[0]"),
        ({"password": "short"}, "password"),
        ({"passwort": "even longer"}, "passwort"),
        ({"generation": 0}, "generation"),
    ],
)
def test_bad_changes_name_their_field(root: RootApi, body: dict[str, Any], field: str) -> None:
    root.add_user("ada")
    before = root.store.revision()
    answer = root.call("PUT", "/api/user/ada", json=body)
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert root.store.revision() == before


def test_who_is_not_there(root: RootApi) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = root.call(method, "/api/user/nobody", json={})
        assert answer.status_code == 404
        assert '"nobody"' in answer.json["message"]
    for id in (ZERO, "x", "a.b"):
        assert root.call("GET", f"/api/users/{id}").status_code == 404


def test_a_name_is_given_once(root: RootApi) -> None:
    register(root)
    again = root.call("POST", "/api/auth/register", json=registration())
    assert again.status_code == 409
    assert '"ada"' in again.json["message"]


def test_who_still_has_applications_is_not_removed(root: RootApi) -> None:
    root.add_user("ada")
    application = root.create(user="ada")["applicationID"]
    answer = root.call("DELETE", "/api/user/ada")
    assert answer.status_code == 409
    assert "applications" in answer.json["message"]
    root.call("DELETE", f"/api/application/{application}")
    assert root.call("DELETE", "/api/user/ada").status_code == 200


def test_the_last_admin_stays(root: RootApi) -> None:
    boss = register(root, "boss", roles=["Admin"])
    home = organization_named(root)
    admin = id_of(root.get("/api/user/Admin"))
    assert root.call("DELETE", "/api/user/Admin").status_code == 409  # oneself
    assert root.call("PUT", "/api/user/Admin", json={"roles": []}).status_code == 200  # there is another one
    as_boss = root.login("boss", LONG_ENOUGH).json["token"]
    attempts = [
        with_token(root, as_boss, "PUT", "/api/user/boss", json={"roles": ["Organization_Admin"]}),
        with_token(root, as_boss, "PUT", f"/api/organization/{id_of(home)}", json={"member": []}),
        with_token(
            root,
            as_boss,
            "PUT",
            f"/api/organization/{id_of(home)}",
            json={"member": [{"user_id": admin, "roles": list(ROLES[1:])}, {"user_id": id_of(boss), "roles": []}]},
        ),
    ]
    assert [answer.status_code for answer in attempts] == [409] * 3
    assert all("Admin" in answer.json["message"] for answer in attempts)
    assert with_token(root, as_boss, "DELETE", "/api/user/Admin").status_code == 200


def test_an_admin_of_another_organization_cannot_remove_the_last_of_root(root: RootApi) -> None:
    ada = register(root, roles=[])
    id = create_organization(root, "lab", {"user_id": id_of(ada), "roles": ["Admin"]})
    admin = {"user_id": id_of(root.get("/api/user/Admin")), "roles": []}
    token = root.login("ada", LONG_ENOUGH, organization_name="lab").json["token"]
    assert with_token(root, token, "DELETE", "/api/user/Admin").status_code == 404
    root.call("PUT", f"/api/organization/{id}", json={"member": [{"user_id": id_of(ada), "roles": ["Admin"]}, admin]})
    assert with_token(root, token, "DELETE", "/api/user/Admin").status_code == 403


# Organizations


def test_the_life_of_an_organization(root: RootApi) -> None:
    ada, bob = register(root), register(root, "bob")
    id = create_organization(root, "lab", {"user_id": id_of(ada), "roles": ["Application_Provider", "Admin"]})
    lab = organization_named(root, "lab")
    roles = ["Admin", "Application_Provider"]
    assert lab == {"_id": {"$oid": id}, "name": "lab", "member": [{"user_id": id_of(ada), "roles": roles}]}
    assert root.get(f"/api/users/{id}") == [{**ada, "roles": roles}]

    tokens = root.login("ada", LONG_ENOUGH, organization_name="lab").json
    assert with_token(root, tokens["token"], "GET", "/api/permission/ada").json == {"roles": roles}
    assert root.login("bob", LONG_ENOUGH, organization_name="lab").status_code == 403
    # Roles are given in the organization that the token is for, and only an Admin of root makes somebody a member.
    of_lab = {**lab, "member": [*lab["member"], {"user_id": id_of(bob), "roles": []}]}
    assert with_token(root, tokens["token"], "PUT", f"/api/organization/{id}", json=of_lab).status_code == 422
    assert root.call("PUT", f"/api/organization/{id}", json=of_lab).status_code == 200
    with_token(root, tokens["token"], "PUT", "/api/user/bob", json={"roles": ["Infrastructure_Provider"]})
    lab = organization_named(root, "lab")
    assert lab["member"][1] == {"user_id": id_of(bob), "roles": ["Infrastructure_Provider"]}
    assert root.get("/api/permission/bob") == {"roles": ["Application_Provider"]}

    sent = {**lab, "name": "the new lab"}
    changed = root.call("PUT", f"/api/organization/{id}/", json=sent)
    assert (changed.status_code, changed.json) == (200, {"message": "Organization is updated"})
    assert organization_named(root, "the new lab")["member"] == lab["member"]
    assert root.call("PUT", f"/api/organization/{id}", json={}).status_code == 200
    assert organization_named(root, "the new lab")["member"] == lab["member"]

    assert root.call("DELETE", "/api/user/ada").status_code == 200
    assert organization_named(root, "the new lab")["member"] == lab["member"][1:]
    gone = root.call("DELETE", f"/api/organization/{id}/")
    assert (gone.status_code, gone.json) == (200, {"message": "Organization deleted"})
    assert [each["name"] for each in root.get("/api/organization")] == ["root"]


def test_tokens_end_with_their_organization(root: RootApi) -> None:
    ada = register(root)
    id = create_organization(root, "lab", {"user_id": id_of(ada), "roles": []})
    tokens = root.login("ada", LONG_ENOUGH, organization_name="lab").json
    assert with_token(root, tokens["token"]).status_code == 200
    root.call("DELETE", f"/api/organization/{id}")
    assert with_token(root, tokens["token"]).status_code == 401
    assert refreshed(root, tokens) == 401
    assert root.login("ada", LONG_ENOUGH).status_code == 200


def test_changing_a_user_makes_nobody_a_member_by_the_way(root: RootApi) -> None:
    [admin] = organization_named(root)["member"]
    ada = register(root)
    root.call("PUT", f"/api/organization/{id_of(organization_named(root))}", json={"member": [admin]})
    answer = root.call("PUT", "/api/user/ada", json={**ada, "email": "", "roles": []})
    assert (answer.status_code, answer.json["roles"]) == (200, [])
    assert len(organization_named(root)["member"]) == 1


def test_the_organization_root_stays_and_keeps_its_name(root: RootApi) -> None:
    path = f"/api/organization/{id_of(organization_named(root))}"
    assert root.call("DELETE", path).status_code == 409
    assert root.call("PUT", path, json={"name": "other"}).status_code == 409
    assert root.call("PUT", path, json=organization_named(root)).status_code == 200


def test_names_of_organizations_are_taken_once(root: RootApi) -> None:
    create_organization(root)
    other = create_organization(root, "other")
    for answer in (
        root.call("POST", "/api/organization", json={"name": "lab"}),
        root.call("POST", "/api/organization", json={"name": "root"}),
        root.call("PUT", f"/api/organization/{other}", json={"name": "lab"}),
    ):
        assert answer.status_code == 409
        assert "name" in answer.json["message"]


BAD_ORGANIZATIONS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": " lab"}, "name"),
    ({"name": "lab\n"}, "name"),
    ({"name": "x" * 65}, "name"),
    ({"name": 7}, "name"),
    ({"member": {}}, "member"),
    ({"member": [{}]}, "member[0].user_id"),
    ({"member": [{"user_id": ZERO, "roles": []}]}, "member[0].user_id"),
    ({"member": [{"user_id": "Admin", "roles": []}]}, "member[0].user_id"),
    ({"member": [{"user_id": "", "roles": []}]}, "member[0].user_id"),
    ({"member": [{"user_id": "ADMIN"}, {"user_id": "ADMIN"}]}, "member[1].user_id"),
    ({"member": [{"user_id": "ADMIN", "roles": ["King"]}]}, "member[0].roles[0]"),
    ({"member": [{"user_id": "ADMIN", "rights": []}]}, "member[0].rights"),
    ({"owner": "x"}, "owner"),
]


@pytest.mark.parametrize(("fields", "field"), BAD_ORGANIZATIONS)
def test_bad_organizations_name_their_field(root: RootApi, fields: dict[str, Any], field: str) -> None:
    admin = id_of(root.get("/api/user/Admin"))
    id = create_organization(root, "there")
    body = json.loads(json.dumps({"name": "lab", **fields}).replace('"ADMIN"', f'"{admin}"'))
    before = root.store.revision()
    for method, path in (("POST", "/api/organization"), ("PUT", f"/api/organization/{id}")):
        answer = root.call(method, path, json=body)
        assert (answer.status_code, answer.json["field"]) == (422, field)
    assert root.store.revision() == before


def test_organizations_that_are_not_there(root: RootApi) -> None:
    for id in (ZERO, "x", "%00"):
        for method in ("PUT", "DELETE"):
            assert root.call(method, f"/api/organization/{id}", json={}).status_code == 404
    wrong = root.call("PUT", f"/api/organization/{create_organization(root)}", json={"_id": {"$oid": ZERO}})
    assert (wrong.status_code, wrong.json["field"]) == (422, "_id")


# Races


class Beaten(MemoryStore):
    """A store on which another copy of the API does `meanwhile` just before the next batch is written."""

    meanwhile: Callable[[], object] | None = None

    def apply(self, operations: Sequence[Operation], **more: Any) -> int:
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
        return super().apply(operations, **more)


@pytest.fixture
def pair() -> tuple[Beaten, RootApi, RootApi]:
    """One store with two copies of the API, both signed in."""
    store = Beaten()
    root, other = RootApi(store), RootApi(store)
    root.as_user()
    other.as_user()
    return store, root, other


def test_a_name_is_given_to_one_of_many_who_register_it_at_once(tmp_path: Path) -> None:
    answers: list[int] = []

    def register_at(root: RootApi) -> None:
        answers.append(root.call("POST", "/api/auth/register", json=registration()).status_code)

    with closing(SqliteStore(tmp_path / "root.db")) as store:
        copies = [RootApi(store), RootApi(store)]
        for copy in copies:
            copy.as_user()
        threads = [threading.Thread(target=register_at, args=[copy]) for copy in copies * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(answers) == [200] + [409] * 7
    with closing(SqliteStore(tmp_path / "root.db")) as store:
        root = RootApi(store)
        assert [user["name"] for user in root.get("/api/users")] == ["Admin", "ada"]
        assert len(organization_named(root)["member"]) == 2
        assert root.login("ada", LONG_ENOUGH).status_code == 200


def test_two_copies_of_the_api_do_not_register_one_name_twice(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    store.meanwhile = lambda: register(other)
    assert root.call("POST", "/api/auth/register", json=registration()).status_code == 409
    assert len(store.query(USERS, "name", "ada")) == 1
    store.meanwhile = lambda: create_organization(other)
    assert root.call("POST", "/api/organization", json={"name": "lab"}).status_code == 409
    assert len(store.query(ORGANIZATIONS, "name", "lab")) == 1


def test_two_who_register_at_once_are_both_members(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    store.meanwhile = lambda: register(other, "bob")
    register(root)
    assert len(organization_named(root)["member"]) == 3


def test_nobody_becomes_a_member_while_being_removed(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    ada = id_of(register(root))
    store.meanwhile = lambda: other.call("DELETE", "/api/user/ada")
    answer = root.call("POST", "/api/organization", json={"name": "lab", "member": [{"user_id": ada}]})
    assert (answer.status_code, answer.json["field"]) == (422, "member[0].user_id")
    bob = id_of(register(root, "bob"))
    store.meanwhile = lambda: create_organization(other, "lab", {"user_id": bob})
    assert root.call("DELETE", "/api/user/bob").status_code == 200
    assert organization_named(root, "lab")["member"] == []


def test_nobody_makes_an_application_while_being_removed(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    root.add_user("ada")
    other.as_user("ada")
    store.meanwhile = lambda: other.create(user="ada")
    assert root.call("DELETE", "/api/user/ada").status_code == 409
    root.call("DELETE", f"/api/application/{root.get('/api/applications')[0]['applicationID']}")
    store.meanwhile = lambda: root.call("DELETE", "/api/user/ada")
    assert other.call("POST", "/api/application", user="ada", json=sla()).status_code == 401
    assert root.get("/api/applications") == []


def test_two_admins_who_remove_each_other_at_once_leave_one(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    root.add_user("boss", "Admin")
    other.as_user("boss")
    store.meanwhile = lambda: other.call("DELETE", "/api/user/Admin", user="boss")
    assert root.call("DELETE", "/api/user/boss").status_code == 409
    assert [user["name"] for user in other.get("/api/users", user="boss")] == ["boss"]


def test_a_password_that_was_changed_meanwhile_is_not_changed_again(pair: tuple[Beaten, RootApi, RootApi]) -> None:
    store, root, other = pair
    register(root)
    token = root.login("ada", LONG_ENOUGH).json["token"]
    store.meanwhile = lambda: other.call("PUT", "/api/user/ada", json={"password": "given by Admin"})
    body = {"oldPassword": LONG_ENOUGH, "newPassword": "by a thief"}
    assert with_token(root, token, "POST", "/api/user/ada", json=body).status_code == 409
    assert root.login("ada", "given by Admin").status_code == 200


def test_others_who_never_rest_make_it_give_up(root: RootApi) -> None:
    class Rival(MemoryStore):
        meddling = False

        def apply(self, operations: Sequence[Operation], **more: Any) -> int:
            if self.meddling:
                first = operations[0]
                stored = self.get(first.collection, first.id)
                assert stored is not None
                super().apply([Put(first.collection, first.id, stored.document)])
            return super().apply(operations, **more)

    store = Rival()
    root = RootApi(store)
    root.as_user()
    store.meddling = True
    answer = root.call("POST", "/api/auth/register", json=registration())
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert len(store.load(USERS)) == 1
