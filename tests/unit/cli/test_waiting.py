"""What a terminal shows while one waits."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from mangrove.cli import waiting
from mangrove.client.wait import Progress
from mangrove.model.pull import Pull


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Client:
    """Tells of one service that pulls its image, then runs."""

    def wait(self, *services: str, progress: Callable[[str, Progress], None], **_: object) -> None:
        progress("s", Progress(0, 2, "2 pulling, pulling web:2: 12 of 40 MiB", (Pull("web:2", 12, 40),)))
        progress("s", Progress(2, 2))


def test_bars_of_the_service_and_of_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := _Terminal())
    monkeypatch.setenv("COLUMNS", "150")
    waiting.wait_for(_Client(), {"shop.web": "s"}, "running", 1.0)  # type: ignore[arg-type] # plays one method
    last = terminal.getvalue().splitlines()
    assert any("shop.web" in line and "2/2" in line for line in last)
    assert "12 of 40" not in terminal.getvalue()
    assert any("web:2" in line and "12/40" in line and "MiB pulled" in line for line in last)
