"""Adds the reference pages to the site when MkDocs builds it. None of them lies in the checkout, so none can be old."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# MkDocs loads this file by its path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.reference.pages import PAGES


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """MkDocs calls this once it has listed what lies in `docs/`."""
    for name, text in PAGES.items():
        files.append(File.generated(config, name, content=text()))
    return files
