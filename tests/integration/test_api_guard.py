"""Who may do what: every endpoint is closed without a valid token, and other people's things are not there."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.documents import USERS, Organization
from mangrove.roles.web import common_routes
from mangrove.store.interface import Delete
from root_orchestrator.auth.credentials import FAILURES_PER_ADDRESS, FAILURES_PER_NAME, WINDOW
from root_orchestrator.auth.tokens import LIFETIME, TokenSigner
from tests.root_api import RootApi, microservice, signing_key, sla
from tests.unit.identity.house import House, asking


@pytest.fixture(scope="module")
def root() -> RootApi:
    return RootApi()


def test_other_peoples_things_are_not_there() -> None:
    root = RootApi()
    root.add_user("ada")
    root.add_user("bob")
    application = root.create(user="ada")
    [service] = application["microservices"]
    root.deploy(service, user="ada")
    added = sla("demo", microservice("more"), applicationID=application["applicationID"])
    before = root.store.revision()
    attempts = [
        root.call("GET", f"/api/application/{application['applicationID']}", user="bob"),
        root.call("PUT", f"/api/application/{application['applicationID']}", user="bob", json={}),
        root.call("DELETE", f"/api/application/{application['applicationID']}", user="bob"),
        root.call("GET", f"/api/services/{application['applicationID']}", user="bob"),
        root.call("POST", "/api/service", user="bob", json=added),
        root.call("GET", f"/api/service/{service}", user="bob"),
        root.call("PUT", f"/api/service/{service}", user="bob", json=sla()),
        root.call("PUT", f"/api/v1/services/{service}/scale", user="bob", json={"instances": 2}),
        root.call("GET", f"/api/v1/instances/{service}.0", user="bob"),
        root.call("GET", f"/api/v1/applications/{application['applicationID']}", user="bob"),
        root.call("DELETE", f"/api/service/{service}", user="bob"),
        root.call("POST", f"/api/service/{service}/instance", user="bob"),
        root.call("DELETE", f"/api/service/{service}/instance/0", user="bob"),
        root.call("DELETE", f"/api/service/{service}/instance/-1", user="bob"),
        root.call("GET", f"/api/v1/services/{service}", user="bob"),
    ]
    assert [answer.status_code for answer in attempts] == [404] * len(attempts)
    unknown = root.call("GET", f"/api/service/{'0' * 24}", user="bob")
    assert attempts[5].json["message"].replace(service, "0" * 24) == unknown.json["message"]
    assert root.store.revision() == before
    assert root.get(f"/api/service/{service}")["microservice_name"] == "web"  # Admin sees all


def test_own_applications_by_own_user_id() -> None:
    root = RootApi()
    ada = root.add_user("ada")
    application = root.create(user="ada")
    assert root.get(f"/api/applications/{ada.id}", user="ada") == [application]
    assert root.call("GET", f"/api/applications/{ada.id}").status_code == 403
    assert root.get("/api/applications", user="ada") == root.get("/api/applications") == [application]
    assert root.get("/api/services", user="ada") == root.get("/api/services")


def test_an_account_is_told_to_its_user_and_admin_without_the_password() -> None:
    root = RootApi()
    ada = root.add_user("ada", "Application_Provider")
    root.add_user("bob")
    for user in ("ada", "Admin"):
        shown = root.get("/api/user/ada", user=user)
        assert shown == {
            "_id": {"$oid": ada.id},
            "name": "ada",
            "email": "ada@example.org",
            "created_at": "15/01/2027 08:16",
            "roles": ["Application_Provider"],
        }
        assert root.get("/api/permission/ada", user=user) == {"roles": ["Application_Provider"]}
    assert root.call("GET", "/api/user/ada", user="bob").status_code == 403
    assert root.call("GET", "/api/permission/ada", user="bob").status_code == 403
    assert root.call("GET", "/api/user/nobody").status_code == 404


def test_refresh_gives_a_new_access_token_until_the_user_is_gone() -> None:
    root = RootApi()
    ada = root.add_user("ada")
    refresh = {"Authorization": f"Bearer {root.login('ada').json['refresh_token']}"}
    root.clock.advance_to(1000 + LIFETIME["refresh"] - 1)
    answer = root.request("POST", "/api/auth/refresh", headers=refresh)
    assert answer.status_code == 200
    assert list(answer.json) == ["token"]
    access = {"Authorization": f"Bearer {answer.json['token']}"}
    assert root.request("GET", "/api/clusters", headers=access).status_code == 200
    root.store.apply([Delete(USERS, ada.id)])
    root.add_user("ada")  # another person of the same name
    assert root.request("GET", "/api/clusters", headers=access).status_code == 401
    assert root.request("POST", "/api/auth/refresh", headers=refresh).status_code == 401


def test_tokens_outlive_a_restart_of_the_root() -> None:
    root = RootApi()
    headers = root.as_user()
    again = RootApi(root.store)
    assert again.request("GET", "/api/clusters", headers=headers).status_code == 200
    stranger = RootApi()  # another installation, by chance with the same key: its users are not ours
    assert stranger.request("GET", "/api/clusters", headers=headers).status_code == 401


def test_roles_count_as_they_are_now_not_as_the_token_says() -> None:
    root = RootApi()
    bob = root.add_user("bob")
    organization = root.store.query("organizations", "name", "root")[0].id
    signer = TokenSigner(signing_key(), root.clock)
    token = signer.issue("access", user="bob", user_id=bob.id, generation=1, organization=organization, roles=["Admin"])
    answer = root.request("GET", "/api/users", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("username", "password"), [("Admin", "wrong"), ("Admin", ""), ("nobody", "Admin"), ("admin", "Admin"), ("", "")]
)
def test_a_wrong_login_does_not_say_what_was_wrong(root: RootApi, username: str, password: str) -> None:
    answer = root.login(username, password)
    assert (answer.status_code, answer.json) == (401, {"message": "wrong username or password"})


def test_the_default_password_is_no_good_unless_allowed() -> None:
    store = RootApi().store
    answer = RootApi(store, allow_default_admin=False).login()
    assert answer.status_code == 403
    assert "--allow-default-admin" in answer.json["message"]


def test_organizations_are_for_their_members() -> None:
    root = RootApi()
    assert root.login(organization_name="root").status_code == 200
    assert root.login(organization_name="").status_code == 200
    assert root.login(organization_name="nowhere").status_code == 404
    root.add_user("ada")
    root.put("organizations", "e" * 24, Organization("e" * 24, "closed"))
    assert root.login("ada", organization_name="closed").status_code == 403


def test_guessing_is_slowed_down_for_the_guesser_alone() -> None:
    root = RootApi()
    root.add_user("ada")
    for _ in range(FAILURES_PER_NAME):
        assert root.login("ada", "guess").status_code == 401
    slowed = root.login("ada", "ada")
    assert slowed.status_code == 429
    assert 0 < int(slowed.headers["Retry-After"]) <= WINDOW
    assert root.login().status_code == 200  # others at the same address
    elsewhere = root.request(
        "POST",
        "/api/auth/login",
        json={"username": "ada", "password": "ada"},
        environ_base={"REMOTE_ADDR": "127.0.0.9"},
    )
    assert elsewhere.status_code == 200
    root.clock.advance_to(root.clock.now() + WINDOW)
    assert root.login("ada").status_code == 200


def test_good_logins_are_not_counted() -> None:
    root = RootApi()
    assert {root.login().status_code for _ in range(FAILURES_PER_ADDRESS + 1)} == {200}


def test_guessing_names_is_slowed_down_too() -> None:
    root = RootApi()
    codes = [root.login(f"user{number}", "x").status_code for number in range(FAILURES_PER_ADDRESS + 1)]
    assert codes == [401] * FAILURES_PER_ADDRESS + [429]


def test_what_is_open_by_design_is_open_and_nothing_else() -> None:
    house = House()
    common = common_routes(
        house.store,
        house.clock,
        house.secret,
        house.parent,
        reasons_not_ready=list,
        on_joined=house.on_joined,
        on_left=house.on_left,
    )
    root = RootApi(house.store, more_routes=common)
    for path in ("/livez", "/readyz", "/api/v1/version"):
        assert root.request("GET", path).status_code == 200
    assert root.request("GET", "/api/clusters").status_code == 401

    token = root.call("POST", "/api/v1/cluster-tokens", json={"uses": 1, "ttl": 60}).json["token"]
    assert root.request("POST", "/api/v1/join", data=msgspec.json.encode(asking(token))).status_code == 200
    again = root.request("POST", "/api/v1/join", data=msgspec.json.encode(asking(token, "another")))
    assert again.status_code == 401
