"""What the examples share: a client that is logged in."""

from __future__ import annotations

import os

from mangrove.client.root import RootClient


def logged_in() -> RootClient:
    """A client of the root in the environment."""
    root = RootClient(os.environ.get("MANGROVE_ROOT", "127.0.0.1"))
    root.login(os.environ.get("MANGROVE_USER", "Admin"), os.environ["MANGROVE_PASSWORD"])
    return root
