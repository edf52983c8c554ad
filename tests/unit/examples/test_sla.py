"""The SLA fits the two ways to run it, and the root reads it as it is meant."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from examples.image import IMAGE
from examples.pulse.sla import ROOT, application
from mangrove.model.specification import Port, Specification
from root_orchestrator.api.oakestra.sla import read_sla


def specifications(sla: object) -> dict[str, Specification]:
    (declared,) = read_sla(sla)
    return {service.name: service.specification for service in declared.services}


def test_as_processes_they_run_by_this_python_and_listen_where_they_are_found() -> None:
    services = specifications(application("process", host="127.0.0.1", analyst_port=5001, board_port=5002))
    for name, service in services.items():
        assert service.runtime == "process"
        assert service.command == (sys.executable, "-m", f"examples.pulse.{name}")
        assert f"PYTHONPATH={ROOT}" in service.environment
    assert "ANALYST_URL=http://127.0.0.1:5001" in services["sensor"].environment
    assert "ANALYST_URL=http://127.0.0.1:5001" in services["board"].environment
    assert {"HOST=127.0.0.1", "PORT=5001"} <= set(services["analyst"].environment)
    assert services["analyst"].ports == (Port(5001, 5001),)
    assert services["board"].ports == (Port(5002, 5002),)
    assert services["sensor"].ports == ()
    assert (ROOT / "examples/pulse/sensor.py").is_file()


def test_as_containers_they_run_from_the_image_and_publish_their_ports() -> None:
    services = specifications(application("container", host="192.0.2.1", analyst_port=5001, board_port=5002))
    for name, service in services.items():
        assert service.runtime == "docker"
        assert service.image == IMAGE
        assert service.command == ("python3", "-m", f"examples.pulse.{name}")
        assert not any(entry.startswith("PYTHONPATH") for entry in service.environment)
    assert "ANALYST_URL=http://192.0.2.1:5001" in services["board"].environment
    assert services["analyst"].ports == (Port(5001, 8080),)
    assert services["board"].ports == (Port(5002, 8080),)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("sla.json")), ids=lambda file: file.parent.name)
def test_each_sla_file_is_valid_as_it_is(file: Path) -> None:
    assert read_sla(json.loads(file.read_text()))
