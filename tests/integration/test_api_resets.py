"""Forgotten passwords: mailed links that work once, for three hours, for the right person; and word to the Admins."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from mangrove.model.documents import EVENTS, RESETS, USERS
from root_orchestrator.auth.resets import ASKED_PER_ADDRESS, LIFETIME, PAUSE, WINDOW, Post
from tests.root_api import Answer, RootApi

LINK = "https://dashboard.example/reset/"
NEW = "quite another one"


@dataclass
class Mailbox:
    """Mails as they were sent: address, subject, text."""

    mails: list[tuple[str, str, str]] = field(default_factory=list)

    def send(self, to: str, subject: str, text: str) -> None:
        self.mails.append((to, subject, text))

    def token(self) -> str:
        """Of the newest mail."""
        [link] = re.findall(r"https://\S+", self.mails[-1][2])
        assert link.startswith(LINK)
        token: str = link.removeprefix(LINK)
        return token


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def root(mailbox: Mailbox) -> RootApi:
    """With ada, who has an address."""
    root = RootApi(post=Post(LINK, mailbox.send))
    root.add_user("ada")
    return root


def ask(root: RootApi, name: str = "ada", **more: Any) -> Answer:
    """As the dashboard does."""
    return root.request("POST", "/api/user/", json={"username": name, "domain": "evil.example"}, **more)


def choose(root: RootApi, token: str, password: str = NEW) -> Answer:
    return root.request("PUT", "/api/user/", json={"token": token, "password": password})


def test_a_mailed_link_gives_a_new_password_once(root: RootApi, mailbox: Mailbox) -> None:
    before = root.as_user("ada")
    assert ask(root).status_code == 200
    [(to, _, text)] = mailbox.mails
    assert to == "ada@example.org"
    assert "evil.example" not in text
    token = mailbox.token()
    assert choose(root, token).status_code == 200
    assert root.login("ada", NEW).status_code == 200
    assert root.login("ada").status_code == 401
    assert root.request("GET", "/api/clusters", headers=before).status_code == 401  # tokens of before are void
    again = choose(root, token, "a third one")
    assert (again.status_code, again.json["field"]) == (422, "token")
    assert root.login("ada", NEW).status_code == 200


def test_nothing_of_the_token_is_kept(root: RootApi, mailbox: Mailbox) -> None:
    ask(root)
    secret = mailbox.token().partition(".")[2]
    assert len(secret) >= 43
    assert secret not in str([stored.document for stored in root.store.load(RESETS)])


def test_nobody_learns_who_there_is(root: RootApi, mailbox: Mailbox) -> None:
    answers = {ask(root, name).text for name in ("ada", "nobody", "", "a\nb", "Admin")}
    assert len(answers) == 1
    assert [to for to, _, _ in mailbox.mails] == ["ada@example.org"]


def test_a_token_that_is_not_good_changes_nothing(root: RootApi, mailbox: Mailbox) -> None:
    bob = root.add_user("bob")
    ask(root)
    token = mailbox.token()
    id, _, secret = token.partition(".")
    before = root.store.revision()
    for wrong in ("", ".", id, f"{id}.", f"{id}.x", f"{bob.id}.{secret}", secret, f"x.{secret}", "\ud800", "é" * 100):
        answer = root.request(
            "PUT", "/api/user/", data=f'{{"token": "{wrong}", "password": "{NEW}"}}'.encode("utf-8", "surrogatepass")
        )
        assert answer.status_code in (400, 422), wrong
    short = choose(root, token, "short")
    assert (short.status_code, short.json["field"]) == (422, "password")
    assert root.store.revision() == before
    assert choose(root, token).status_code == 200


def test_a_token_ends(root: RootApi, mailbox: Mailbox) -> None:
    ask(root)
    root.clock.advance_to(root.clock.now() + LIFETIME)
    assert choose(root, mailbox.token()).status_code == 422


@pytest.mark.parametrize("change", [{"password": "given by an Admin"}, {"email": "ada@new.example"}])
def test_what_was_changed_since_voids_it(root: RootApi, mailbox: Mailbox, change: dict[str, str]) -> None:
    ask(root)
    assert root.call("PUT", "/api/user/ada", json=change).status_code == 200
    assert choose(root, mailbox.token()).status_code == 422


def test_a_later_user_of_that_name_is_another(root: RootApi, mailbox: Mailbox) -> None:
    ask(root)
    assert root.call("DELETE", "/api/user/ada").status_code == 200
    root.add_user("ada")
    assert choose(root, mailbox.token()).status_code == 422
    assert root.store.load(RESETS) == []


def test_nobody_is_written_to_without_end(root: RootApi, mailbox: Mailbox) -> None:
    for _ in range(3):
        ask(root)
    assert len(mailbox.mails) == 1
    root.clock.advance_to(root.clock.now() + PAUSE)
    ask(root)
    assert len(mailbox.mails) == 2
    first, second = (re.findall(r"https://\S+", text)[0].removeprefix(LINK) for _, _, text in mailbox.mails)
    assert choose(root, first).status_code == 422  # the newer one counts
    assert choose(root, second).status_code == 200


def test_asking_without_end_is_slowed_down(root: RootApi) -> None:
    codes = [ask(root, f"user{number}").status_code for number in range(ASKED_PER_ADDRESS + 1)]
    assert codes == [200] * ASKED_PER_ADDRESS + [429]
    assert ask(root, environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code == 200
    root.clock.advance_to(root.clock.now() + WINDOW)
    assert ask(root).status_code == 200


def test_without_mail_the_admins_are_told() -> None:
    root = RootApi()
    ada = root.add_user("ada")
    answer = ask(root)
    assert answer.status_code == 200
    assert "Admins are told" in answer.json["message"]
    [event] = [stored.document for stored in root.store.load(EVENTS)]
    assert (event["kind"], event["subject"]) == ("password-wanted", ada.id)
    assert "PUT /api/user/ada" in event["text"]
    assert root.store.load(RESETS) == []
    ask(root)
    assert len(root.store.load(EVENTS)) == 1


def test_who_has_no_address_is_told_of_too(root: RootApi, mailbox: Mailbox) -> None:
    ask(root, "Admin")
    assert mailbox.mails == []
    assert [stored.document["kind"] for stored in root.store.load(EVENTS)] == ["password-wanted"]


def test_the_request_is_answered_before_anything_is_done(mailbox: Mailbox) -> None:
    later: list[Any] = []
    root = RootApi(post=Post(LINK, mailbox.send), later=later.append)
    root.add_user("ada")
    before = root.store.revision()
    ask(root)
    ask(root, "nobody")
    assert (len(later), mailbox.mails, root.store.revision()) == (2, [], before)
    for errand in later:
        errand()
    assert len(mailbox.mails) == 1


def test_two_who_use_one_token_at_once(root: RootApi, mailbox: Mailbox) -> None:
    ask(root)
    other = RootApi(root.store)
    token, inner = mailbox.token(), root.store.apply

    def beaten(*args: Any, **more: Any) -> int:
        root.store.apply = inner  # type: ignore[method-assign]
        assert choose(other, token, "the other one").status_code == 200
        return inner(*args, **more)

    root.store.apply = beaten  # type: ignore[method-assign]
    assert choose(root, token).status_code == 422
    assert root.login("ada", "the other one").status_code == 200
    assert len(root.store.load(USERS)) == 2
