"""Who may do what at the root: one table of rules, role and reach. Each route names one of them.

A role is held in the organization that a token is for. The organization `root` is the installation's own: its Admin may
do everything, and only there Infrastructure_Provider means something, since clusters belong to the installation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import IntEnum

from mangrove.roles.routes import Access

ADMIN = "Admin"
ORGANIZATION_ADMIN = "Organization_Admin"
APPLICATION_PROVIDER = "Application_Provider"
INFRASTRUCTURE_PROVIDER = "Infrastructure_Provider"

#: Oakestra's four roles.
ROLES = (ADMIN, ORGANIZATION_ADMIN, APPLICATION_PROVIDER, INFRASTRUCTURE_PROVIDER)


class Scope(IntEnum):
    """How far a permission reaches; the wider ones hold the narrower ones."""

    NONE = 0
    OWN = 1  # one's own, in the organization of the token
    ORGANIZATION = 2  # what belongs to the organization of the token
    ALL = 3


@dataclass(frozen=True)
class Rule(Access):
    """How far each may go: who is merely signed in, and who has that role (`infrastructure`: in `root`).

    organization: Admin and Organization_Admin of the organization; admin: Admin of `root`.
    """

    member: Scope = Scope.NONE
    provider: Scope = Scope.NONE
    infrastructure: Scope = Scope.NONE
    organization: Scope = Scope.NONE
    admin: Scope = Scope.ALL

    def scope(self, roles: Collection[str], *, in_root: bool) -> Scope:
        """How far somebody with these roles may go; in_root: whether they are held in the organization `root`."""
        scopes = [self.member]
        if APPLICATION_PROVIDER in roles:
            scopes.append(self.provider)
        if INFRASTRUCTURE_PROVIDER in roles and in_root:
            scopes.append(self.infrastructure)
        if ADMIN in roles or ORGANIZATION_ADMIN in roles:
            scopes.append(self.organization)
        if ADMIN in roles and in_root:
            scopes.append(self.admin)
        return max(scopes)

    @property
    def needed(self) -> str:
        """The roles that let one through who is merely signed in and may not, for people."""
        *some, everything = [role for role, scope in self.columns[1:] if scope]
        return " or ".join(some if self.organization else [*some, everything])

    @property
    def columns(self) -> tuple[tuple[str, Scope], ...]:
        """Who may go how far, for people, in the order of the table."""
        return (
            ("everybody who is signed in", self.member),
            (APPLICATION_PROVIDER, self.provider),
            (f"{INFRASTRUCTURE_PROVIDER} in root", self.infrastructure),
            (f"{ORGANIZATION_ADMIN} or {ADMIN}", self.organization),
            (f"{ADMIN} in root", self.admin),
        )


def _rule(name: str, *scopes: Scope) -> Rule:
    rule = Rule(name, "", "access", *scopes)
    words = [f"{who}: {_WORDS[scope]}" for who, scope in rule.columns if scope > rule.member]
    everybody = [f"{rule.columns[0][0]}: {_WORDS[rule.member]}"] if rule.member else []
    return replace(rule, words="; ".join(everybody + words))


_WORDS = {Scope.OWN: "their own", Scope.ORGANIZATION: "their organization's", Scope.ALL: "all"}
_NO, _OWN, _HOME, _ALL = Scope.NONE, Scope.OWN, Scope.ORGANIZATION, Scope.ALL

#: For staying signed in.
REFRESH = Rule("refresh", "who has a refresh token", "refresh", member=_ALL)

# fmt: off
#                                                      member provider infrastr. organiz. admin
# Applications with their services and instances.
READ_APPLICATIONS = _rule("read applications",         _OWN,  _OWN,    _OWN,     _HOME,   _ALL)
CHANGE_APPLICATIONS = _rule("change applications",     _NO,   _OWN,    _NO,      _HOME,   _ALL)
# Clusters and nodes, and what lets them join.
READ_INFRASTRUCTURE = _rule("read infrastructure",     _ALL,  _ALL,    _ALL,     _ALL,    _ALL)
CHANGE_INFRASTRUCTURE = _rule("change infrastructure", _NO,   _NO,     _ALL,     _NO,     _ALL)
# Users, and the organizations that they are members of.
OWN_ACCOUNT = _rule("own account",                     _OWN,  _OWN,    _OWN,     _OWN,    _OWN)
READ_ACCOUNTS = _rule("read accounts",                 _OWN,  _OWN,    _OWN,     _HOME,   _ALL)
MANAGE_ACCOUNTS = _rule("manage accounts",             _NO,   _NO,     _NO,      _HOME,   _ALL)
# What concerns the whole installation.
ADMINISTER = _rule("administer",                       _NO,   _NO,     _NO,      _NO,     _ALL)
# fmt: on
