"""Writes users and organizations, and keeps what holds between them: unique names, members who exist, a last Admin.

A caller whose scope is an organization sees its members alone, gives no role beyond `Caller.gives`, and has no power
over who is a member of other organizations too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, Forbidden, InvalidInput, NotFound
from mangrove.base.ids import NewId, is_id, new_id
from mangrove.model.documents import APPLICATIONS, META, ORGANIZATIONS, RESETS, USERS, Member, Organization, User
from mangrove.model.validation import shown
from mangrove.store.interface import ABSENT, Delete, Operation, Put, Store, Stored
from root_orchestrator.auth.rules import ADMIN, ROLES, Scope
from root_orchestrator.auth.users import ACCOUNTS, ROOT_ORGANIZATION, Caller, renewed
from root_orchestrator.writer import Writer

_T = TypeVar("_T")


class Accounts(Writer):
    """Every write also puts back the one document that says that there are accounts, so that none overlaps another."""

    def __init__(self, store: Store, clock: Clock, ids: NewId = new_id) -> None:
        super().__init__()
        self._store = store
        self._clock = clock
        self._new_id = ids

    def register(self, caller: Caller, name: str, email: str, password: str, roles: Sequence[str]) -> User:
        """A new user with these roles in the caller's organization. password: its hash.

        Raises Conflict, NotFound, Forbidden.
        """

        def write() -> tuple[User, list[Operation]]:
            if self._store.query(USERS, "name", name, limit=1):
                raise Conflict(f"name: there is a user {shown(name)} already; choose another name")
            home = self._organization(caller.organization)
            _check_roles(caller, (), roles)
            user = User(self._new_id(), name, email, password, self._clock.wall())
            joined = _with_roles(_as(Organization, home), user.id, roles)
            return user, [Put(USERS, user.id, msgspec.to_builtins(user), ABSENT), _put(ORGANIZATIONS, home, joined)]

        return self._written(write)

    def change_password(self, user: User, password: str) -> None:
        """Give a user, as they were when they proved the old one, a new password (its hash).

        Ends their refresh tokens. Raises Conflict when it was changed meanwhile, NotFound.
        """

        def write() -> tuple[None, list[Operation]]:
            stored = self._user(user.name)
            present = _as(User, stored)
            if (present.id, present.password) != (user.id, user.password):
                raise Conflict("your password was changed meanwhile; sign in again")
            return None, [_put(USERS, stored, renewed(present, password))]

        self._written(write)

    def change(
        self,
        caller: Caller,
        name: str,
        *,
        email: str | None = None,
        roles: Sequence[str] | None = None,
        password: str | None = None,
    ) -> User:
        """Change a user; None leaves a part as it is. roles: in the caller's organization.

        password: a hash; ends tokens. Raises NotFound, Conflict, Forbidden.
        """

        def write() -> tuple[User, list[Operation]]:
            stored, home = self._known(caller, name), self._organization(caller.organization)
            user = _as(User, stored)
            if password is not None or email not in (None, user.email):
                self._check_power(caller, user)
            if email is not None:
                user = msgspec.structs.replace(user, email=email)
            if password is not None:
                user = renewed(user, password)
            operations: list[Operation] = [_put(USERS, stored, user)]
            before = _as(Organization, home)
            # Clients send roles with every change: having none is no reason to make somebody a member.
            if roles is not None and (roles or before.roles_of(user.id) is not None):
                _check_roles(caller, before.roles_of(user.id) or (), roles)
                operations.append(_put(ORGANIZATIONS, home, _administered(_with_roles(before, user.id, roles))))
            return user, operations

        return self._written(write)

    def delete(self, caller: Caller, name: str) -> None:
        """Remove a user, from all organizations too, and end all of their tokens.

        Raises NotFound, Conflict, Forbidden.
        """

        def write() -> tuple[None, list[Operation]]:
            stored = self._known(caller, name)
            if stored.id == caller.id:
                raise Conflict("you cannot remove yourself; let another Admin do it")
            self._check_power(caller, _as(User, stored))
            if self._store.query(APPLICATIONS, "owner", name, limit=1):
                # A later user of the same name would find them theirs.
                raise Conflict(f"{shown(name)} still has applications; delete them first")
            operations: list[Operation] = [Delete(USERS, stored.id, stored.revision), Delete(RESETS, stored.id)]
            for home in self._store.load(ORGANIZATIONS):
                organization = _as(Organization, home)
                if organization.roles_of(stored.id) is not None:
                    rest = tuple(member for member in organization.members if member.user != stored.id)
                    left = _administered(msgspec.structs.replace(organization, members=rest))
                    operations.append(_put(ORGANIZATIONS, home, left))
            return None, operations

        self._written(write)

    def create_organization(self, name: str, members: Sequence[Member]) -> Organization:
        """A new organization. Raises Conflict when the name is taken, InvalidInput when a member does not exist."""

        def write() -> tuple[Organization, list[Operation]]:
            created = Organization(self._new_id(), name, tuple(members))
            self._check(created)
            return created, [Put(ORGANIZATIONS, created.id, msgspec.to_builtins(created), ABSENT)]

        return self._written(write)

    def change_organization(self, caller: Caller, id: str, name: str | None, members: Sequence[Member] | None) -> None:
        """Change an organization; None leaves a part as it is. Raises NotFound, Conflict, InvalidInput, Forbidden."""

        def write() -> tuple[None, list[Operation]]:
            stored = self._organization(id)
            if caller.scope < Scope.ALL and id != caller.organization:
                raise no_organization(id)
            before = _as(Organization, stored)
            after = msgspec.structs.replace(
                before,
                name=before.name if name is None else name,
                members=before.members if members is None else tuple(members),
            )
            if before.name == ROOT_ORGANIZATION != after.name:
                raise Conflict(f'name: "{ROOT_ORGANIZATION}" keeps its name; a login that names none means it')
            if caller.scope < Scope.ALL:
                _check_members(caller, before, after)
            self._check(after)
            return None, [_put(ORGANIZATIONS, stored, _administered(after))]

        self._written(write)

    def delete_organization(self, id: str) -> None:
        """Remove an organization without applications, and end the tokens given for it. Its members stay.

        Raises NotFound, Conflict.
        """

        def write() -> tuple[None, list[Operation]]:
            stored = self._organization(id)
            if _as(Organization, stored).name == ROOT_ORGANIZATION:
                raise Conflict(f'"{ROOT_ORGANIZATION}" cannot be removed; a login that names no organization means it')
            if any(each.document.get("organization") == id for each in self._store.load(APPLICATIONS)):
                raise Conflict(f"organization {id} still has applications; delete them first")
            return None, [Delete(ORGANIZATIONS, id, stored.revision)]

        self._written(write)

    def _written(self, write: Callable[[], tuple[_T, list[Operation]]]) -> _T:
        def once() -> _T:
            guard = self._store.get(META, ACCOUNTS)  # read before everything else, so that all is as it was then
            answer, operations = write()
            turn = Put(META, ACCOUNTS, guard.document, guard.revision) if guard else Put(META, ACCOUNTS, {}, ABSENT)
            self._store.apply([turn, *operations])
            return answer

        return self._retried(once)

    def _user(self, name: str) -> Stored:
        found = self._store.query(USERS, "name", name, limit=1)
        if not found:
            raise no_user(name)
        return found[0]

    def _known(self, caller: Caller, name: str) -> Stored:
        """A user whom the caller may know."""
        stored = self._user(name)
        if caller.scope < Scope.ALL:
            home = _as(Organization, self._organization(caller.organization))
            if home.roles_of(stored.id) is None:
                raise no_user(name)
        return stored

    def _check_power(self, caller: Caller, user: User) -> None:
        """Whether the caller may take that account over: who rules here alone must not act as somebody elsewhere."""
        if caller.scope == Scope.ALL or caller.id == user.id:
            return
        for stored in self._store.load(ORGANIZATIONS):
            organization = _as(Organization, stored)
            roles = organization.roles_of(user.id)
            if roles is not None and organization.id != caller.organization:
                raise Forbidden(
                    f"{shown(user.name)} is a member of other organizations too; an Admin of root may change that"
                )
            _check_roles(caller, roles or (), ())

    def _organization(self, id: str) -> Stored:
        stored = self._store.get(ORGANIZATIONS, id) if is_id(id) else None
        if stored is None:
            raise no_organization(id)
        return stored

    def _check(self, organization: Organization) -> None:
        """Whether the name is free and every member exists, once."""
        for other in self._store.query(ORGANIZATIONS, "name", organization.name):
            if other.id != organization.id:
                raise Conflict(f"name: there is an organization {shown(organization.name)} already; choose another")
        members = [member.user for member in organization.members]
        there = self._store.get_many(USERS, [id for id in members if is_id(id)])
        for index, id in enumerate(members):
            if id not in there:
                raise InvalidInput(f"member[{index}].user_id", f"is {shown(id)}, which is no user; GET /api/users")
            if id in members[:index]:
                raise InvalidInput(f"member[{index}].user_id", f"is {shown(id)}, which is a member twice; name it once")


def no_user(name: str) -> NotFound:
    """That there is none, or none that the caller may know."""
    return NotFound(f"there is no user {shown(name)}; GET /api/users lists them")


def no_organization(id: str) -> NotFound:
    """That there is none, or none that the caller may know."""
    return NotFound(f"there is no organization {shown(id)}; GET /api/organization lists them")


def _check_roles(caller: Caller, before: Sequence[str], after: Sequence[str]) -> None:
    """Whether the caller may give and take what differs."""
    for role in ROLES:
        if (role in before) != (role in after) and role not in caller.gives:
            raise Forbidden(f"You have not enough permissions! An Admin of root gives and takes the role {role}")


def _check_members(caller: Caller, before: Organization, after: Organization) -> None:
    """Whether a caller of that organization alone may change it so. Raises Forbidden, InvalidInput."""
    if before.name != after.name:
        raise Forbidden("You have not enough permissions! An Admin of root renames organizations")
    for index, member in enumerate(after.members):
        if before.roles_of(member.user) is None:
            # Whoever may not know that user gets the same answer as for one who is not there.
            raise InvalidInput(
                f"member[{index}].user_id",
                f"is {shown(member.user)}, which is no member; register a new user, or let an Admin of root add them",
            )
    for member in before.members:
        _check_roles(caller, member.roles, after.roles_of(member.user) or ())


def _as(form: type[_T], stored: Stored) -> _T:
    return stored.read(form)


def _put(collection: str, stored: Stored, changed: msgspec.Struct) -> Put:
    document: dict[str, Any] = msgspec.to_builtins(changed)
    return Put(collection, stored.id, document, stored.revision)


def _with_roles(organization: Organization, user: str, roles: Sequence[str]) -> Organization:
    """The organization with that user (an id) as a member who has exactly these roles."""
    member = Member(user, tuple(roles))
    if organization.roles_of(user) is None:
        return msgspec.structs.replace(organization, members=(*organization.members, member))
    members = tuple(member if each.user == user else each for each in organization.members)
    return msgspec.structs.replace(organization, members=members)


def _administered(organization: Organization) -> Organization:
    """The same, unless it is `root` and nobody would be Admin there any more."""
    if organization.name == ROOT_ORGANIZATION and not any(ADMIN in member.roles for member in organization.members):
        raise Conflict(f'nobody would be Admin in "{ROOT_ORGANIZATION}" any more; make somebody else Admin first')
    return organization
