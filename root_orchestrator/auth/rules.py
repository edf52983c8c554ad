"""Who may do what at the root: the rules that routes name."""

from __future__ import annotations

from dataclasses import dataclass

from mangrove.roles.routes import Access


@dataclass(frozen=True)
class Rule(Access):
    """A rule of the root."""

    admin_only: bool = False


#: For staying signed in.
REFRESH = Rule("refresh", "who has a refresh token", token="refresh")  # noqa: S106 - a kind of token
SIGNED_IN = Rule("signed in", "everybody who is signed in")
#: Applications, their services and instances: what there is, and what became of it.
READ_APPLICATIONS = Rule("read applications", "the owner, and Admin")
CHANGE_APPLICATIONS = Rule("change applications", "the owner, and Admin")
#: Clusters, nodes and what lets them join.
READ_INFRASTRUCTURE = Rule("read infrastructure", "everybody who is signed in")
CHANGE_INFRASTRUCTURE = Rule("change infrastructure", "Admin", admin_only=True)
#: Accounts.
OWN_ACCOUNT = Rule("own account", "that user alone")
READ_ACCOUNTS = Rule("read accounts", "that user, and Admin")
MANAGE_ACCOUNTS = Rule("manage accounts", "Admin", admin_only=True)
#: What concerns everybody.
ADMINISTER = Rule("administer", "Admin", admin_only=True)
