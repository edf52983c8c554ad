"""The rules by hand: what each asker may reach, said apart from the table that the program reads."""

from __future__ import annotations

import pytest

from root_orchestrator.auth import rules
from root_orchestrator.auth.rules import Rule, Scope
from root_orchestrator.auth.users import Caller

NO, OWN, HOME, ALL = Scope

#: Roles, and whether they are held in `root`; then how far each rule lets them go, in the order of RULES.
RULES = (
    rules.READ_APPLICATIONS,
    rules.CHANGE_APPLICATIONS,
    rules.READ_INFRASTRUCTURE,
    rules.CHANGE_INFRASTRUCTURE,
    rules.OWN_ACCOUNT,
    rules.READ_ACCOUNTS,
    rules.MANAGE_ACCOUNTS,
    rules.ADMINISTER,
)
ASKERS: list[tuple[str, bool, tuple[Scope, ...]]] = [
    ("", True, (OWN, NO, ALL, NO, OWN, OWN, NO, NO)),
    ("", False, (OWN, NO, ALL, NO, OWN, OWN, NO, NO)),
    ("Application_Provider", True, (OWN, OWN, ALL, NO, OWN, OWN, NO, NO)),
    ("Application_Provider", False, (OWN, OWN, ALL, NO, OWN, OWN, NO, NO)),
    ("Infrastructure_Provider", True, (OWN, NO, ALL, ALL, OWN, OWN, NO, NO)),
    ("Infrastructure_Provider", False, (OWN, NO, ALL, NO, OWN, OWN, NO, NO)),
    ("Organization_Admin", True, (HOME, HOME, ALL, NO, OWN, HOME, HOME, NO)),
    ("Organization_Admin", False, (HOME, HOME, ALL, NO, OWN, HOME, HOME, NO)),
    ("Admin", True, (ALL, ALL, ALL, ALL, OWN, ALL, ALL, ALL)),
    ("Admin", False, (HOME, HOME, ALL, NO, OWN, HOME, HOME, NO)),
    ("Application_Provider Infrastructure_Provider", True, (OWN, OWN, ALL, ALL, OWN, OWN, NO, NO)),
    ("admin root King", True, (OWN, NO, ALL, NO, OWN, OWN, NO, NO)),
]


@pytest.mark.parametrize(("roles", "in_root", "scopes"), ASKERS)
def test_how_far_one_may_go(roles: str, in_root: bool, scopes: tuple[Scope, ...]) -> None:
    assert tuple(rule.scope(roles.split(), in_root=in_root) for rule in RULES) == scopes


def test_no_rule_is_left_out() -> None:
    named = {id(value) for value in vars(rules).values() if isinstance(value, Rule)}
    assert named == {id(rule) for rule in (*RULES, rules.REFRESH)}


@pytest.mark.parametrize(
    ("owner", "realm", "scope", "reached"),
    [
        ("ada", "lab", OWN, True),
        ("bob", "lab", OWN, False),
        ("ada", "", OWN, False),
        ("bob", "lab", HOME, True),
        ("ada", "", HOME, False),
        ("bob", "", HOME, False),
        ("bob", "", ALL, True),
    ],
)
def test_what_is_within_reach(owner: str, realm: str, scope: Scope, reached: bool) -> None:
    caller = Caller("1", "ada", "lab", (), in_root=False, scope=scope)
    assert caller.reaches(owner, realm) is reached


def test_nobody_gives_more_than_they_rule_over() -> None:
    def gives(in_root: bool, scope: Scope) -> set[str]:
        return set(Caller("1", "ada", "x", (), in_root=in_root, scope=scope).gives)

    assert gives(True, ALL) == set(rules.ROLES)
    assert gives(True, HOME) == {"Organization_Admin", "Application_Provider"}
    assert gives(False, HOME) == set(rules.ROLES)


def test_a_refusal_names_the_roles_that_help() -> None:
    assert rules.ADMINISTER.needed == "Admin in root"
    assert rules.CHANGE_INFRASTRUCTURE.needed == "Infrastructure_Provider in root or Admin in root"
    assert rules.CHANGE_APPLICATIONS.needed == "Application_Provider or Organization_Admin or Admin"
