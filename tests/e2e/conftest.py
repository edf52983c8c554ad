"""What tests with real processes share: trees that end with their tests, and their logs when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import tree as trees
from tests.e2e.oak_cli import installed
from tests.e2e.tree import Tree

MakeTree = Callable[..., Tree]

#: Characters of each program's log that a failing test shows.
_SHOWN = 6000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the logs of all trees that stand into the report of a test that failed."""
    report = yield
    if report.failed:
        for tree in trees.STANDING:
            for program in tree.programs:
                if program.log.exists():
                    report.sections.append((f"log of {program.name}", program.log.read_text()[-_SHOWN:]))
    return report


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[MakeTree]:
    """Makes trees, not started yet, that end with the module at the latest."""
    made: list[Tree] = []

    def make(**options: Any) -> Tree:
        made.append(Tree(tmp_path_factory.mktemp("tree"), free_port, **options))
        return made[-1]

    yield make
    for tree in made:
        tree.close()


@pytest.fixture(scope="session")
def oak_executable(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oakestra's own command line."""
    cached = pytestconfig.pluginmanager.hasplugin("cacheprovider")
    return installed(pytestconfig.cache.mkdir("oak-cli") if cached else tmp_path_factory.mktemp("oak"))
