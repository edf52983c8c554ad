"""Users and organizations: who there is, what each may do, and the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import InvalidInput
from mangrove.base.ids import is_id, new_id
from mangrove.model.documents import META, ORGANIZATIONS, USERS, Member, Organization, User
from mangrove.model.validation import shown
from mangrove.store.interface import ABSENT, Put, RevisionConflict, Store
from root_orchestrator.auth.passwords import LONGEST, SHORTEST, Passwords, generated_password
from root_orchestrator.auth.rules import ADMIN, APPLICATION_PROVIDER, ORGANIZATION_ADMIN, ROLES, Scope

#: The organization that a login without a name of one means.
ROOT_ORGANIZATION = "root"

#: The document that says there are accounts: written first by one of several roots that start at once, and again with
#: every write of users and organizations.
ACCOUNTS = "accounts"

_DEFAULT_PASSWORD = "Admin"  # noqa: S105 - Oakestra's well-known default, used only when it was asked for


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. id: of the user; organization: an id; roles: theirs there, now.

    in_root: whether that organization is `root`. generation: of the user's password. scope: how far the rule of the
    route lets them go.
    """

    id: str
    name: str
    organization: str
    roles: tuple[str, ...]
    in_root: bool = True
    generation: int = 1
    scope: Scope = Scope.OWN

    @property
    def realm(self) -> str:
        """The organization as it stands in documents: its id, empty for `root`."""
        return "" if self.in_root else self.organization

    @property
    def gives(self) -> tuple[str, ...]:
        """Roles that this caller may give and take, with the power over accounts that their scope says.

        Nobody gives more than they have: Admin of `root` rules over everything, Infrastructure_Provider over clusters.
        """
        if self.scope == Scope.ALL or not self.in_root:
            return ROLES
        return ORGANIZATION_ADMIN, APPLICATION_PROVIDER

    def reaches(self, owner: str, realm: str) -> bool:
        """Whether what belongs to `owner` (a user name) in that organization is this caller's to see and change."""
        if self.scope == Scope.ALL:
            return True
        return realm == self.realm and (self.scope == Scope.ORGANIZATION or owner == self.name)


class Users:
    """Reads accounts from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def named(self, name: str) -> User | None:
        """The user of that name."""
        found = self._store.query(USERS, "name", name, limit=1)
        return found[0].read(User) if found else None

    def everybody(self) -> list[User]:
        """All users, by name."""
        users = (stored.read(User) for stored in self._store.load(USERS))
        return sorted(users, key=lambda user: user.name)

    def organizations(self) -> list[Organization]:
        """All organizations, by name."""
        found = (stored.read(Organization) for stored in self._store.load(ORGANIZATIONS))
        return sorted(found, key=lambda organization: organization.name)

    def organization(self, id: str) -> Organization | None:
        """The organization of that id."""
        found = self._store.get(ORGANIZATIONS, id) if is_id(id) else None
        return found.read(Organization) if found else None

    def organization_named(self, name: str) -> Organization | None:
        """The organization of that name."""
        found = self._store.query(ORGANIZATIONS, "name", name, limit=1)
        return found[0].read(Organization) if found else None

    def caller(self, user_id: str, name: str, organization_id: str) -> Caller | None:
        """The user as they stand now, or None when that account is gone."""
        found, organization = self._store.get(USERS, user_id), self.organization(organization_id)
        user = found.read(User) if found is not None else None
        if user is None or user.name != name or organization is None:
            return None
        roles = organization.roles_of(user.id) or ()
        in_root = organization.name == ROOT_ORGANIZATION
        return Caller(user.id, user.name, organization.id, roles, in_root, user.generation)

    def is_as_it_was(self, caller: Caller) -> bool:
        """Whether that account is what it was when its request came: what lasts longer asks again and again."""
        now = self.caller(caller.id, caller.name, caller.organization)
        return now is not None and (now.roles, now.generation) == (caller.roles, caller.generation)


def known_roles(sent: Sequence[str], field: str) -> tuple[str, ...]:
    """Those roles, each once, in the order of `ROLES`. Raises InvalidInput, naming the place in `field`."""
    for index, role in enumerate(sent):
        if role not in ROLES:
            raise InvalidInput(f"{field}[{index}]", f"is {shown(role)}; choose from {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in sent)


def password_in(file: Path | None) -> str:
    """The password that a file holds, empty without a file. Raises InvalidInput, OSError."""
    if file is None:
        return ""
    password = file.read_text(errors="replace").strip()
    if not SHORTEST <= len(password) <= LONGEST or not password.isprintable():
        raise InvalidInput(
            "--admin-password-file", f"{file} must hold a password of {SHORTEST} to {LONGEST} printable characters"
        )
    return password


def renewed(user: User, password: str) -> User:
    """The user with a new password (its hash), which ends all tokens given out before."""
    return msgspec.structs.replace(user, password=password, generation=user.generation + 1)


def is_default_login(name: str, password: str) -> bool:
    """Whether these are the credentials that everybody knows."""
    return name == ADMIN and password == _DEFAULT_PASSWORD


def ensure_admin(
    store: Store, clock: Clock, *, allow_default: bool, given: str = "", passwords: Passwords | None = None
) -> str | None:
    """Make the user Admin and the organization `root` at the very first start.

    Returns the password: Oakestra's default `Admin` with `allow_default`, else the one `given`, else a new one, to be
    shown once; None when the accounts were there already. Several roots may call it at once: one makes the accounts.
    """
    if store.get(META, ACCOUNTS) is not None:
        return None
    password = _DEFAULT_PASSWORD if allow_default else given or generated_password()
    hashed = (passwords or Passwords()).hash(password)
    admin = User(new_id(), ADMIN, "", hashed, clock.wall())
    root = Organization(new_id(), ROOT_ORGANIZATION, (Member(admin.id, ROLES),))
    try:
        store.apply(
            [
                Put(META, ACCOUNTS, {"created": clock.wall()}, ABSENT),
                Put(USERS, admin.id, msgspec.to_builtins(admin), ABSENT),
                Put(ORGANIZATIONS, root.id, msgspec.to_builtins(root), ABSENT),
            ]
        )
    except RevisionConflict:
        return None
    return password
