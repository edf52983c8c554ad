"""The page that shows the API, in a real browser that can reach nothing but the root."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.e2e.programs import PATIENCE
from tests.e2e.tree import Tree


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[str]:
    """Where a root without any clusters answers."""
    tree = Tree(tmp_path_factory.mktemp("tree"), free_port).start()
    yield f"http://{tree.root.address}"
    tree.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (Debian's package of that name)")
    # Chromium's own sandbox cannot be made as root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of the root. elsewhere: what it wanted from others; complaints: of the browser."""

    page: Page
    elsewhere: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser, root: str) -> Iterator[Visit]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    visit = Visit(page)

    def answer(route: Route, request: Request) -> None:
        if request.url.startswith((root, "data:")):
            route.continue_()
        else:
            visit.elsewhere.append(request.url)
            route.abort()

    page.route("**/*", answer)
    page.on("console", lambda said: visit.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    yield visit
    page.close()


def test_it_shows_all_of_the_api_and_needs_nobody_else(visit: Visit, root: str) -> None:
    visit.page.goto(f"{root}/api/docs/")
    operations = visit.page.locator(".opblock")
    expect(operations.filter(has_text="/api/auth/login").first).to_be_visible()
    paths = visit.page.request.get(f"{root}/docs/openapi.json").json()["paths"]
    expect(operations).to_have_count(sum(len(methods) for methods in paths.values()))
    assert (visit.elsewhere, visit.complaints) == ([], [])


def test_one_can_sign_in_and_ask_with_it(visit: Visit, root: str) -> None:
    page = visit.page
    page.goto(f"{root}/api/docs/")

    def ask(path: str, body: str = "") -> str:
        """The answer to a request that is made with the page's own buttons."""
        operation = page.locator(".opblock").filter(has=page.locator(f'[data-path="{path}"]')).first
        operation.locator(".opblock-summary").click()
        operation.get_by_role("button", name="Try it out").click()
        if body:
            operation.locator("textarea.body-param__text").fill(body)
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table .response")
        expect(answer).to_contain_text("200")
        return answer.locator("pre.microlight").first.inner_text()

    tokens = json.loads(ask("/api/auth/login", '{"username": "Admin", "password": "Admin"}'))
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".dialog-ux")
    dialog.locator("input").first.fill(tokens["token"])
    dialog.get_by_role("button", name="Apply credentials").first.click()
    dialog.get_by_role("button", name="Close").first.click()
    assert '"Admin"' in ask("/api/v1/me")
    assert visit.elsewhere == []
