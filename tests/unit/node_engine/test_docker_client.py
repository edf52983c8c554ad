"""Where a container engine is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_engine.runtimes.docker_client import engine_address
from node_engine.runtimes.docker_words import away, closed_to_us

PLACES = ["var/run/docker.sock", "run/podman/podman.sock", "own/docker.sock", "own/podman/podman.sock"]


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_one_there_counts(tmp_path: Path, first: int) -> None:
    for place in PLACES[first:]:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert engine_address({"XDG_RUNTIME_DIR": "/own"}, str(tmp_path)) == f"unix://{tmp_path}/{PLACES[first]}"


def test_what_the_environment_names_comes_before_all(tmp_path: Path) -> None:
    assert engine_address({"DOCKER_HOST": "tcp://192.0.2.1:2376"}, str(tmp_path)) == "tcp://192.0.2.1:2376"


def test_there_is_none(tmp_path: Path) -> None:
    assert engine_address({}, str(tmp_path)) == ""


def test_a_message_says_what_to_start() -> None:
    assert "(systemctl start podman.socket)" in away("unix:///run/podman/podman.sock")
    assert "(systemctl start docker)" in away("unix:///var/run/docker.sock")
    assert "Podman" in closed_to_us("/run/podman/podman.sock")
    assert "group docker" in closed_to_us("/var/run/docker.sock")
