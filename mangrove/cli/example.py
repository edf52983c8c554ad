"""The example application, fitted to this machine: as containers where a Docker engine answers, else as processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from examples.pulse.sla import application
from mangrove.base.errors import Unavailable
from mangrove.cli.setups import HOST, free_ports
from mangrove.client.http import HttpClient, parse_address

if TYPE_CHECKING:
    import docker

#: Seconds for the Docker engine to say that it is there, and for the longest that is asked of it: taking the image.
_ASK, _LONGEST = 5, 120

RuntimeName = Literal["docker", "process"]


@dataclass(frozen=True, slots=True)
class Example:
    """Sensors, an analyst and a board. why: it runs by this runtime. sla: declares it. board: the board's address."""

    runtime: RuntimeName
    why: str
    sla: dict[str, Any]
    board: str

    def ask(self) -> dict[str, Any]:
        """What the board shows. Raises Unavailable while it cannot be reached or knows nothing yet."""
        summary: dict[str, Any] = HttpClient(parse_address(self.board, 80), timeout=2.0).request("GET", "/api/summary")
        return summary

    def place(self, service: str, cluster: str) -> None:
        """Let a service run on this cluster alone."""
        for each in self.sla["applications"][0]["microservices"]:
            if each["microservice_name"] == service:
                each["constraints"] = [{"type": "direct", "cluster": cluster}]


def choose(wanted: RuntimeName | None) -> Example:
    """The example for `wanted`, or for what this machine has. Raises Unavailable when `wanted` is not there."""
    client, problem = (None, "") if wanted == "process" else _docker()
    if client is None and wanted == "docker":
        raise Unavailable(f"{problem}: `mangrove demo --runtime process` needs none")
    analyst = free_ports(2, host="")
    board = analyst + 1
    if client is None:
        sla = application("process", host=HOST, analyst_port=analyst, board_port=board)
        return Example("process", problem or "as you said", sla, f"{HOST}:{board}")
    try:
        sla = application("container", host=_gateway(client), analyst_port=analyst, board_port=board)
    finally:
        client.close()
    return Example("docker", "as you said" if wanted else "a Docker engine answers here", sla, f"{HOST}:{board}")


def ensure_image() -> bool:
    """Have the example's image in the engine; whether it had to be made. Raises Unavailable."""
    from docker.errors import DockerException

    from examples import image

    client, problem = _docker()
    if client is None:
        raise Unavailable(problem)
    try:
        return image.ensure_image(client)
    except (DockerException, RuntimeError, OSError) as error:
        raise Unavailable(f"no image of the example: {error}; `mangrove demo --runtime process` needs none") from None
    finally:
        client.close()


def _docker() -> tuple[docker.DockerClient | None, str]:
    """A client of this machine's Docker engine, or why there is none."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        return None, "the Docker SDK is not installed here"
    where = os.environ.get("DOCKER_HOST", "")
    if where and not where.startswith("unix://"):
        return None, f"the Docker engine at {where} is on another machine, as far as can be told"
    try:
        client = docker.from_env(version="auto", timeout=_ASK)
    except (DockerException, OSError):
        return None, "no Docker engine answers here"
    client.api.timeout = _LONGEST
    return client, ""


def _gateway(client: docker.DockerClient) -> str:
    """The address by which containers reach this machine."""
    try:
        for pool in client.networks.get("bridge").attrs["IPAM"]["Config"]:
            if "." in pool.get("Gateway", ""):
                return str(pool["Gateway"])
    except Exception as error:  # the SDK's, or an answer of another form
        raise Unavailable(f"Docker's network `bridge` cannot be used ({error}): try --runtime process") from None
    raise Unavailable("Docker's network `bridge` has no IPv4 gateway: try --runtime process")
