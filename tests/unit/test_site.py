"""The documentation builds as a site without a warning, and the site needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = r'<(?:script|img|iframe)[^>]+src="?https?:[^">]*|<link[^>]+href="?https?:[^">]*|url\(["\']?https?:[^)]*'
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 20
    assert [found for page in pages for found in re.findall(loaded, page.read_text())] == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("cli", "mangrove cluster token"),
        ("client", "Log in; everything else is asked as this user from now on."),
        ("api", "PUT /api/v1/services/<service>/scale"),
        ("sla", "memory integer, 0 to 1,000,000,000 0 MiB: reserved, and the limit of what it may use"),
        ("configuration", "--admin-password-file"),
        ("events", "cluster-silent cluster It was not heard for longer than its lease."),
    ],
)
def test_reference_says_what_the_code_says(site: Path, page: str, said: str) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", (site / f"reference/{page}.html").read_text()))
    assert said in " ".join(text.split())
