"""What a container engine has beside, as add-ons."""

from __future__ import annotations

from typing import Any

import pytest

from node_engine.runtimes.docker_addons import addons_of

INFO = {
    "Runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "/usr/bin/nvidia-container-runtime"}},
    "Plugins": {"Volume": ["local", "vieux/sshfs:latest"], "Network": ["bridge"], "Authorization": None, "Log": ["x"]},
}


def test_runtimes_and_drivers_have_names_that_a_constraint_can_ask_for() -> None:
    assert addons_of(INFO) == (
        "network-driver/bridge",
        "oci-runtime/nvidia",
        "oci-runtime/runc",
        "volume-driver/local",
        "volume-driver/vieux/sshfs:latest",
    )


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"Runtimes": None, "Plugins": []},
        {"Runtimes": ["runc"], "Plugins": {"Volume": "local", "Network": [None, 3, "", "a b", "c=d", "e" * 101]}},
    ],
)
def test_what_is_not_as_it_should_be_is_passed_over(info: dict[str, Any]) -> None:
    assert addons_of(info) == ()


def test_no_more_are_told_than_a_parent_believes() -> None:
    assert len(addons_of({"Runtimes": {f"r{number}": {} for number in range(100)}})) == 32
