"""The set-ups in compose/, built and started as they are by docker-compose in a real Docker engine.

What cannot be had without a registry is replaced: the base of the images by one made of this machine's own Python and
Mosquitto, MongoDB by a server that speaks its protocol and is a replica set from its start, and Prometheus' image by
one of the machine's own. Grafana is not to be had.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from mangrove.client.root import RootClient
from mangrove.model.phases import Phase
from tests.base_image import BASE, load_base
from tests.e2e.programs import eventually
from tests.e2e.tree import process
from tests.integration.runtimes import IMAGE, load_image

#: Building takes half a minute, and minutes on a machine that is busy with other things.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

_REPOSITORY = Path(__file__).parents[2]
_FILES = ("root.yml", "cluster.yml", "all-in-one.yml", "override.yml")
#: Seconds for any command: building takes 40 on two busy cores.
_PATIENCE = 400.0
#: Built instead of what is pulled.
_STAND_INS = {
    "mongo": f"""\
FROM {BASE}
COPY wheels /wheels
RUN python3 -m venv /opt/mongo && /opt/mongo/bin/pip install --quiet --no-index --find-links /wheels secantusdb
""",
    "prometheus": f"""\
FROM {BASE}
COPY wheels/prometheus /bin/
RUN mkdir /prometheus && chown 65534:65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
""",
}
_OVERRIDE = f"""\
services:
  mongo:
    image: mangrove-test-mongo:${{MANGROVE_TAG}}
    build: {{context: .., dockerfile: compose/mongo.Dockerfile}}
    command: [/opt/mongo/bin/secantusd-py, --host, 0.0.0.0, --storage-path, /data/db/data, --cache-size, 128M]
    healthcheck:
      test: [CMD, python3, -c, "import socket; socket.create_connection(('127.0.0.1', 27017), 1)"]
      interval: 1s
  mongo-set:
    image: {BASE}
    command: ["true"]
  prometheus:
    build: {{context: .., dockerfile: compose/prometheus.Dockerfile}}
  root: {{healthcheck: {{interval: 1s}}}}
  cluster: {{healthcheck: {{interval: 1s}}}}
"""


@dataclass(frozen=True)
class Project:
    """A set-up of its own in a copy of the repository."""

    folder: Path
    environment: dict[str, str]

    def compose(self, *arguments: str) -> str:
        """What docker-compose prints. Fails when it fails."""
        files = [word for name in _FILES for word in ("--file", name)]
        done = subprocess.run(
            ["docker-compose", *files, *arguments],
            cwd=self.folder / "compose",
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-4000:]}"
        return done.stdout


def copy_of_the_source(folder: Path) -> None:
    """What a checkout holds, and all libraries as wheels, so that building needs no index."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=_REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (_REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_REPOSITORY / name, folder / name)
    wanted = [f"{_REPOSITORY}[root,cluster,node,docker]", "setuptools>=68", "wheel", "secantusdb"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder / "wheels"), *wanted]
    subprocess.run(command, check=True, timeout=_PATIENCE)


@pytest.fixture(scope="module")
def project(
    docker_host: str, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    prometheus = shutil.which("prometheus")
    if shutil.which("docker-compose") is None or prometheus is None:
        pytest.skip("docker-compose or prometheus is not installed")
    folder = tmp_path_factory.mktemp("compose")
    copy_of_the_source(folder)
    shutil.copy2(prometheus, folder / "wheels")
    for name, text in _STAND_INS.items():
        (folder / "compose" / f"{name}.Dockerfile").write_text(text)
    with contextlib.closing(docker.APIClient(base_url=docker_host, version="auto", timeout=120)) as api:
        load_base(api, pytest.MonkeyPatch())
    load_image(docker_host)
    (folder / "compose" / "override.yml").write_text(_OVERRIDE)
    subprocess.run(["sh", "compose/prepare.sh"], cwd=folder, check=True)
    ports = ("MANGROVE_ROOT_PORT", "MANGROVE_ROOT_MQTT_PORT", "MANGROVE_CLUSTER_PORT", "MANGROVE_CLUSTER_MQTT_PORT")
    socket = docker_host.removeprefix("unix://")
    environment = {
        "DOCKER_HOST": docker_host,
        "COMPOSE_PROJECT_NAME": f"mangrovetest{os.getpid()}",
        "MANGROVE_TAG": f"test{os.getpid()}",
        "BASE": BASE,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/source/wheels",
        "MANGROVE_BIND": "127.0.0.1",
        "MANGROVE_ROOT_STORE": "mongodb://mongo:27017/mangrove_root?directConnection=true",
        "MANGROVE_CLUSTER_STORE": "mongodb://mongo:27017/mangrove_cluster?directConnection=true",
        "PROMETHEUS_IMAGE": f"mangrove-test-prometheus:test{os.getpid()}",
        "PROMETHEUS_PORT": str(free_port()),
        "DOCKER_SOCKET": socket,
        "DOCKER_GID": str(os.stat(socket).st_gid),
        **{name: str(free_port()) for name in ports},
    }
    made = Project(folder, environment)
    try:
        made.compose("build", "--quiet")
        yield made
    finally:
        profiles = ("--profile", "node", "--profile", "metrics")
        made.compose(*profiles, "down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.DockerClient(base_url=docker_host, timeout=60)) as client:
        yield client


def test_a_root_a_cluster_and_a_node(project: Project, engine: docker.DockerClient) -> None:
    project.compose("--profile", "node", "up", "--detach")

    client = RootClient(f"127.0.0.1:{project.environment['MANGROVE_ROOT_PORT']}")
    password = (project.folder / "compose/secrets/admin_password").read_text()

    def logged_in() -> bool:
        client.login("Admin", password)
        return True

    eventually(logged_in, "the root to answer")

    def live() -> bool:
        return [node.state for node in client.nodes()] == ["live"]

    eventually(live, "the node", 60)
    service = dict(process("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"), virtualization="container", code=IMAGE)
    application = {
        "applicationID": "",
        "application_name": "app",
        "application_namespace": "test",
        "application_desc": "",
        "microservices": [service],
    }
    [made] = client.create_applications({"sla_version": "v2.0", "customerID": "Admin", "applications": [application]})
    client.deploy(made.services[0])

    def containers() -> list[str]:
        return [str(found.id) for found in engine.containers.list(filters={"label": "mangrove.node"})]

    running = eventually(containers, "the instance to run", 60)

    # All of it starts anew, with the same identities; the instance is no part of it.
    project.compose("restart", "--timeout", "20", "mongo", "root", "cluster", "node")
    eventually(logged_in, "the root to answer again")
    eventually(live, "the node to be there again", 60)
    eventually(
        lambda: client.service(made.services[0]).instances[0].phase is Phase.RUNNING, "the instance to run still"
    )
    assert containers() == running

    client.delete_application(made.id)
    eventually(lambda: not containers(), "the instance to be gone")


def test_prometheus_hears_them(project: Project) -> None:
    project.compose("--profile", "metrics", "up", "--detach", "root", "cluster", "prometheus")

    def asked(path: str) -> Any:
        address = f"http://127.0.0.1:{project.environment['PROMETHEUS_PORT']}/api/v1/{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]
        return {}

    def heard() -> bool:
        targets = asked("targets").get("activeTargets", [])
        return {each["labels"]["job"] for each in targets if each["health"] == "up"} >= {
            "mangrove-root",
            "mangrove-cluster",
        }

    eventually(heard, "Prometheus to hear root and cluster", 90)
    # A target is up a moment before what was read of it can be asked for.
    query = "query?query=mangrove_store_writable%7Bjob=%22mangrove-root%22%7D"
    [written] = eventually(lambda: asked(query).get("result"), "figures")
    assert written["value"][1] == "1"
    [group] = asked("rules")["groups"]
    assert len(group["rules"]) > 10


def test_what_the_images_hold(project: Project, engine: docker.DockerClient) -> None:
    for name in ("root", "cluster", "node"):
        image = engine.images.get(f"mangrove-{name}:{project.environment['MANGROVE_TAG']}")
        assert image.attrs["Config"]["User"] == "10001:10001"
        assert image.attrs["Config"]["StopSignal"] == "SIGTERM"
        assert image.attrs["Config"]["Healthcheck"]["Test"]
        found = engine.containers.run(image, ["-c", "ls /opt/mangrove/bin; id -u"], entrypoint="sh", remove=True)
        words = found.decode().split()
        assert f"mangrove-{name}" in words
        assert words[-1] == "10001"
        assert not {"pip", "pip3"} & set(words)
    packages = engine.containers.run(
        image, ["-c", "ls /opt/mangrove/lib/*/site-packages"], entrypoint="sh", remove=True
    )
    assert not {"numpy", "flask", "pymongo", "cryptography"} & set(packages.decode().split())


def test_services_are_closed_in(project: Project) -> None:
    """As a whole, whatever else is added: all that runs for long is limited, and has its files read-only."""
    services = yaml.safe_load(project.compose("--profile", "node", "--profile", "metrics", "config"))["services"]
    for name, service in services.items():
        assert service["read_only"], name
        assert service["init"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"] == "10m", name
        secret = [key for key in service.get("environment", {}) if "PASSWORD" in key and not key.endswith("__FILE")]
        assert not secret, "secrets are files"
