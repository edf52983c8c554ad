"""Every route, asked by everybody, for everybody's things: what happens follows from the rule that the route declares.

The requests are made from the table of routes and the answers expected from the table of rules, so a new route is
tested from its first day. What is asked here is only who may; what then happens is for other tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import msgspec
import pytest

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import new_id
from mangrove.identity import tokens
from mangrove.model.attempt import Attempt
from mangrove.model.documents import (
    ADOPTED,
    APPLICATIONS,
    IDENTITIES,
    ORGANIZATIONS,
    SERVICES,
    SLOTS,
    SPECIFICATIONS,
    Adopted,
    Application,
    Identity,
    Organization,
    Service,
    Slot,
    User,
)
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.model.validation import fit
from mangrove.roles.routes import OPEN, Route, routes_of
from mangrove.roles.web import common_routes
from mangrove.store.interface import Store
from mangrove.store.memory import MemoryStore
from root_orchestrator.auth.rules import READ_APPLICATIONS, ROLES, Rule, Scope
from root_orchestrator.auth.tokens import LIFETIME, Kind, TokenSigner
from tests.root_api import CLUSTER, NODE, Answer, RootApi, signing_key
from tests.unit.identity.house import House

#: Who asks: an organization, and the roles held there.
CALLERS = {
    f"{'+'.join(roles) or 'member'} of {organization}": (organization, roles)
    for organization in ("root", "lab")
    for roles in ((), *((role,) for role in ROLES), ("Application_Provider", "Infrastructure_Provider"))
}

#: Whose things are asked for: whose they are, and how far one must reach to get at them.
RELATIONS = {
    "own": Scope.OWN,
    "of a colleague": Scope.ORGANIZATION,
    "of a stranger": Scope.ALL,
    "own in another organization": Scope.ALL,
}

#: What an argument of a path names; things have an owner, infrastructure has none.
THINGS, USERS, ORGANIZATION, OWN_ID, OWNERLESS = "things", "users", "organization", "own id", "ownerless"
ARGUMENTS = {
    "application": THINGS,
    "service": THINGS,
    "instance": THINGS,
    "user": USERS,
    "organization": ORGANIZATION,
    "user_id": OWN_ID,
    "cluster": OWNERLESS,
    "node": OWNERLESS,
    "adopted": OWNERLESS,
    "token": OWNERLESS,
    "number": OWNERLESS,
    "file": OWNERLESS,
}

#: Routes that name what they are about in the body.
IN_BODY = {"POST /api/service": THINGS}

REFUSED = {401, 403, 404}

ADOPTED_ATTEMPT = "b" * 24

MISSING = "Missing Authorization Header; send `Authorization: Bearer <token>` from /api/auth/login"


@dataclass(frozen=True)
class Asker:
    """Who asks, with what stands for them in a path."""

    user: User
    organization: Organization
    roles: tuple[str, ...]

    @property
    def in_root(self) -> bool:
        return self.organization.name == "root"

    def scope(self, rule: Rule) -> Scope:
        return rule.scope(self.roles, in_root=self.in_root)


class Restorable:
    """A store that can be put back to how it was; making an app takes longer than all that is asked of it."""

    def __init__(self) -> None:
        self.present = MemoryStore()
        self.kept = self.present

    def keep(self) -> None:
        self.kept = self.present.copy()

    def restore(self) -> None:
        self.present = self.kept.copy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.present, name)


class World:
    """A root with a caller, a colleague in the same organization, a stranger in another, and things of each."""

    def __init__(self, organization: str = "root", roles: tuple[str, ...] = ()) -> None:
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
        self.store = Restorable()
        self.root = root = RootApi(cast(Store, self.store), more_routes=common)
        for name in ("lab", "dock"):
            root.put(ORGANIZATIONS, id := new_id(), Organization(id, name))
        self.elsewhere = "dock"
        self.asker = Asker(root.add_member("asker", organization, *roles), self.organization(organization), roles)
        root.add_member("colleague", organization)
        root.add_member("stranger", self.elsewhere)
        root.add_cluster()
        root.add_node()
        root.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha"))
        self.token = tokens.issue(root.store, root.clock, ttl=60, uses=1).id
        self.things = {
            "own": self._thing("own", "asker", organization),
            "of a colleague": self._thing("ofcolleague", "colleague", organization),
            "of a stranger": self._thing("ofstranger", "stranger", self.elsewhere),
            "own in another organization": self._thing("ownelsewhere", "asker", self.elsewhere),
        }
        # What runs beside the instance of the asker's service that the store knows.
        attempt = Attempt(ADOPTED_ATTEMPT, self.things["own"]["service"], 7, 1, "0" * 32)
        root.put(ADOPTED, ADOPTED_ATTEMPT, Adopted(attempt, CLUSTER, "alpha", "own.own.7", Resources(), 0.0))
        self.store.keep()

    def organization(self, name: str) -> Organization:
        return msgspec.convert(self.root.store.query(ORGANIZATIONS, "name", name)[0].document, Organization)

    def _thing(self, name: str, owner: str, organization: str) -> dict[str, str]:
        """An application with a service and an instance; its name stands nowhere else."""
        root, realm = self.root, "" if organization == "root" else self.organization(organization).id
        application, service = new_id(), new_id()
        specification = Specification(f"{name}.test.web.test")
        root.put(SPECIFICATIONS, specification.digest, specification)
        root.put(APPLICATIONS, application, Application(application, name, "test", "", owner, (service,), realm))
        root.put(
            SERVICES, service, Service(service, application, owner, name, "test", specification.digest, {}, 1, realm)
        )
        slot = f"{service}.0"
        root.put(SLOTS, slot, Slot(slot, service, 0, specification.digest))
        root.run(slot)
        return {"name": name, "application": application, "service": service, "instance": slot}

    def headers(self, kind: Kind = "access", *, age: float = 0.0) -> dict[str, str]:
        """With a token of the asker's, given out so many seconds ago."""
        asker = self.asker
        token = TokenSigner(signing_key(), VirtualClock(self.root.clock.now() - age)).issue(
            kind,
            user=asker.user.name,
            user_id=asker.user.id,
            generation=1,
            organization=asker.organization.id,
            roles=asker.roles,
        )
        return {"Authorization": f"Bearer {token}"}

    def ask(self, route: Route, relation: str, headers: dict[str, str]) -> Answer:
        thing = self.things[relation]
        other = {"own": self.asker.organization, "of a colleague": self.asker.organization}.get(relation)
        values = {
            **thing,
            "number": "0",
            "file": "start.js",
            "user": {"of a colleague": "colleague", "of a stranger": "stranger"}.get(relation, "asker"),
            "user_id": self.asker.user.id,
            "organization": (other or self.organization(self.elsewhere)).id,
            "cluster": CLUSTER,
            "node": NODE,
            "adopted": ADOPTED_ATTEMPT,
            "token": self.token,
        }
        path = route.path
        for argument in route.arguments:
            path = path.replace(f"<{argument}>", values[argument])
        more: dict[str, Any] = {}
        if route.body is not None and not (route.body_is_optional and route.example is None):
            more["json"] = msgspec.to_builtins({} if route.example is None else route.example)
        if route.name in IN_BODY:
            more["json"]["applications"][0]["applicationID"] = thing["application"]
        return self.root.request(route.method, path, headers=headers, **more)


@cache
def world_of(caller: str) -> World:
    return World(*CALLERS[caller])


ROUTES = {route.name: route for route in routes_of(World().root.app)}


def kind_of(route: Route) -> str:
    """Whose things a route is about."""
    kinds = [ARGUMENTS[argument] for argument in route.arguments] + [IN_BODY.get(route.name, OWNERLESS)]
    return next((kind for kind in kinds if kind != OWNERLESS), OWNERLESS)


def expected(route: Route, asker: Asker, relation: str) -> int | None:
    """The status that refuses, or None when the request is let through."""
    if route.access is OPEN:
        return None
    assert isinstance(route.access, Rule), "every route of the root names a rule of the root"
    scope = asker.scope(route.access)
    if scope == Scope.NONE:
        return 403
    kind, needed = kind_of(route), RELATIONS[relation]
    if kind in (OWNERLESS, OWN_ID) or (kind == USERS and relation == "own in another organization"):
        return None
    if kind == ORGANIZATION:
        needed = Scope.ALL if needed == Scope.ALL else Scope.ORGANIZATION
    if scope >= needed:
        return None
    return 403 if kind == USERS and scope == Scope.OWN else 404


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route.access.token == "access"])
def test_who_may(name: str) -> None:
    route = ROUTES[name]
    relations = list(RELATIONS) if kind_of(route) not in (OWNERLESS, OWN_ID) else ["own"]
    for caller in CALLERS:
        world = world_of(caller)
        world.store.restore()
        for relation in relations:
            asked = f"{name} by {caller} for what is {relation}"
            before, status = world.root.store.revision(), expected(route, world.asker, relation)
            answer = world.ask(route, relation, world.headers())
            if status is None:
                assert answer.status_code not in REFUSED, f"{asked}: {answer.status_code} {answer.text}"
                assert answer.status_code < 500, f"{asked}: {answer.status_code} {answer.text}"
                if world.root.store.revision() != before:
                    world.store.restore()
            else:
                assert answer.status_code == status, f"{asked}: {answer.status_code} {answer.text}"
                assert answer.json["message"], asked
                assert world.root.store.revision() == before, f"{asked} changed something"
            unreached = [
                world.things[whose]["name"]
                for whose, needed in RELATIONS.items()
                if world.asker.scope(READ_APPLICATIONS) < needed
            ]
            told = [hidden for hidden in unreached if hidden in answer.text]
            assert not told, f"{asked} tells of {told}"


@pytest.fixture(scope="module")
def world() -> World:
    return World("root", ("Admin",))


@pytest.mark.parametrize("name", ROUTES)
def test_nobody_without_the_right_token(name: str, world: World) -> None:
    route = ROUTES[name]
    if route.access is OPEN:
        assert MISSING not in world.ask(route, "own", {}).text
        return
    right: Kind = "refresh" if route.access.token == "refresh" else "access"
    wrong: Kind = "access" if right == "refresh" else "refresh"
    good = world.headers(right)["Authorization"]
    bad = {
        "nothing": {},
        "an empty header": {"Authorization": ""},
        "no token": {"Authorization": "Bearer "},
        "garbage": {"Authorization": "Bearer x"},
        "three parts": {"Authorization": "Bearer a.b.c"},
        "basic": {"Authorization": "Basic QWRtaW46QWRtaW4="},
        "a cut one": {"Authorization": good[:-4]},
        "one for something else": world.headers(wrong),
        "an expired one": world.headers(right, age=LIFETIME[right]),
    }
    before = world.root.store.revision()
    for what, headers in bad.items():
        answer = world.ask(route, "own", headers)
        assert answer.status_code == 401, f"{name} with {what}: {answer.text}"
        assert answer.json["message"], what
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.root.store.revision() == before


def test_both_forms_of_a_path_are_closed(world: World) -> None:
    for route in ROUTES.values():
        if route.access is not OPEN:
            assert world.root.request(route.method, route.path + "/").json == {"message": MISSING}


def test_every_route_says_what_a_body_may_look_like() -> None:
    for route in ROUTES.values():
        if route.body is not None and not route.body_is_optional:
            fit(msgspec.to_builtins(route.example or {}), route.body_form)
