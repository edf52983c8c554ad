"""The image made from this machine's Python, in a real Docker engine: it runs the example, and is made only once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from examples import image
from examples.image import IMAGE, ensure_image
from examples.pulse.sla import application
from mangrove.client.wait import wait_until
from tests.integration.test_pulse import PATIENCE, ask

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    """A client of an engine that has the image."""
    client = docker.DockerClient(base_url=docker_host, timeout=60)
    ensure_image(client)
    yield client
    client.close()


def printed(engine: docker.DockerClient, code: str) -> str:
    """What Python code prints in a container of the image."""
    output: bytes = engine.containers.run(IMAGE, ["python3", "-c", code], remove=True, network_mode="none")
    return output.decode().strip()


def test_its_python_is_this_one_with_all_its_parts_and_not_root(engine: docker.DockerClient) -> None:
    parts = "bz2, ctypes, decimal, hashlib, http.server, json, lzma, socket, sqlite3, ssl, urllib.request, zlib"
    code = f"import os, sys, {parts}; print(json.dumps([*sys.version_info[:3], sys.prefix, os.getuid()]))"
    assert json.loads(printed(engine, code)) == [*sys.version_info[:3], "/usr/local", 65534]
    assert engine.images.get(IMAGE).attrs["Size"] < 150e6


def test_it_is_made_once_and_anew_when_a_file_changes(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = engine.images.get(IMAGE).id
    assert not ensure_image(engine)

    addition = tmp_path / "addition.py"
    addition.write_text("ANSWER = 42\n")
    files = {**image._examples(), "addition.py": addition}
    with monkeypatch.context() as patch:
        patch.setattr(image, "_examples", lambda: files)
        assert ensure_image(engine)
        assert not ensure_image(engine)
        assert printed(engine, "from examples.addition import ANSWER; print(ANSWER)") == "42"
    assert ensure_image(engine)
    # Nothing of those before is left.
    assert len(engine.images.list(all=True, filters={"label": image.LABEL})) == 1
    assert first not in [one.id for one in engine.images.list(all=True)]


def test_containers_find_each_other_by_published_ports(
    engine: docker.DockerClient, free_port: Callable[[], int]
) -> None:
    gateway = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    board_port = free_port()
    sla = application("container", host=gateway, analyst_port=free_port(), board_port=board_port)
    started: list[Container] = []

    def figures() -> dict[str, dict[str, float]]:
        status, body = ask(f"http://127.0.0.1:{board_port}/api/summary")
        sources = json.loads(body)["sources"] if status == 200 else {}
        metrics: dict[str, dict[str, float]] = sources.get("sensor-0", {}).get("metrics", {})
        return metrics if "cpu" in metrics else {}

    try:
        for service in sla["applications"][0]["microservices"]:
            host_port, _, port = service.get("port", "").partition(":")
            started.append(
                engine.containers.run(
                    service["code"],
                    service["cmd"],
                    detach=True,
                    hostname=f"{service['microservice_name']}-0",
                    environment=service["environment"],
                    ports={f"{port}/tcp": int(host_port)} if port else {},
                    mem_limit=f"{service['memory']}m",
                )
            )
        found = wait_until(figures, PATIENCE, what="the board to show what the sensor measures")
        assert found["threads"]["newest"] > 30  # the host's: three containers have a handful
        for container in started:
            container.stop(timeout=int(PATIENCE))
            assert container.wait(timeout=PATIENCE)["StatusCode"] == 0
            assert b"Traceback" not in container.logs()
    finally:
        for container in started:
            container.remove(force=True)
