"""Which runtimes a node has."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mangrove.base.errors import InvalidInput
from node_engine.network import Network
from node_engine.runtimes.docker_client import engine_address
from node_engine.runtimes.interface import Runtime
from node_engine.runtimes.process import ProcessRuntime

KINDS = ("docker", "process", "simulated")


def choose_runtimes(
    wanted: str, folder: Path, installation: str, node: str, network: Network | None = None
) -> dict[str, Runtime]:
    """Runtimes by name. wanted: `docker,process`, or empty for those that this machine has. folder: for processes.
    network: between services, if the node may take part.

    An engine (Docker, Podman) that is there but does not answer is kept: it may come back. Raises InvalidInput.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise InvalidInput("--runtimes", f"{name!r} is not one of {', '.join(KINDS)}")
    if not names:
        names = ["docker", "process"] if _engine_is_there() else ["process"]
    return {name: _make(name, folder, installation, node, network) for name in dict.fromkeys(names)}


def _engine_is_there() -> bool:
    return importlib.util.find_spec("docker") is not None and bool(engine_address())


def _make(name: str, folder: Path, installation: str, node: str, network: Network | None) -> Runtime:
    if name == "docker":
        from node_engine.runtimes.docker import DockerRuntime  # 15 MB that a node without Docker does not pay for

        return DockerRuntime(installation, node, network=network)
    if name == "simulated":
        from node_engine.runtimes.simulated import SimulatedRuntime

        return SimulatedRuntime()
    return ProcessRuntime(folder, installation, node, network=network)
