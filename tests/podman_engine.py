"""A Podman engine for tests: one of our own, apart from the machine's, behind Docker's interface."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import docker_engine

#: What the port mapping of CNI leaves in the machine's firewall: where each chain is entered, and the chains.
_ENTRIES = [
    ["PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"],
    ["OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"],
    *(["POSTROUTING", "-m", "comment", "--comment", "CNI portfwd requiring masquerade", "-j", "CNI-HOSTPORT-MASQ"],),
]
_CHAINS = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"]


def cannot_start() -> str:
    """Why no engine of our own can be started here; empty when one can."""
    missing = [program for program in ("podman", "ip", "iptables") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Podman's engine for tests is started as root only"


@contextlib.contextmanager
def own_engine(folder: Path, registry_port: int) -> Iterator[str]:
    """Start an engine that keeps everything in `folder` and gives its URL; stops it and all of its containers.

    registry_port: on loopback, of a registry without encryption.
    """
    url = f"unix://{folder}/podman.sock"
    environment = os.environ | {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
    }
    command = [
        "podman",
        f"--root={folder}/data",
        f"--runroot={folder}/run",
        f"--tmpdir={folder}/passing",
        "--cgroup-manager=cgroupfs",
    ]
    with _firewall_as_before(), docker_engine.bridge() as (bridge, network), (folder / "log").open("wb") as log:
        _write_settings(folder, bridge, str(network), registry_port)
        engine = subprocess.Popen(
            [*command, "system", "service", "--time=0", url],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=folder,  # where conmon leaves a file when memory ran out
        )
        try:
            docker_engine.wait_for(engine, url, folder / "log")
            yield url
        finally:
            subprocess.run([*command, "rm", "--all", "--force", "--time=0"], env=environment, stdout=log, check=False)
            docker_engine.end(engine, folder)


def _write_settings(folder: Path, bridge: str, network: str, registry_port: int) -> None:
    (folder / "containers.conf").write_text(
        # Machines for tests may not let Podman raise limits. Version 4.3 confuses soft and hard ones: let them agree.
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[engine]\nevents_logger = "file"\nlock_type = "file"\n'
        f'[network]\nnetwork_backend = "cni"\nnetwork_config_dir = "{folder}/networks"\n'
    )
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "127.0.0.1:{registry_port}"\ninsecure = true\n')
    (folder / "networks").mkdir()
    addresses = {"type": "host-local", "dataDir": f"{folder}/addresses", "ranges": [[{"subnet": network}]]}
    plugins = [
        {"type": "bridge", "bridge": bridge, "isGateway": True, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    settings = {"cniVersion": "0.4.0", "name": "podman", "plugins": plugins}
    (folder / "networks" / "87-podman.conflist").write_text(json.dumps(settings))


@contextlib.contextmanager
def _firewall_as_before() -> Iterator[None]:
    """Take CNI's chains away afterwards, unless they were there before."""
    there = _nat("--list-rules", _CHAINS[0])
    yield
    if there:
        return
    for entry in _ENTRIES:
        _nat("--delete", *entry)
    for action in ("--flush", "--delete-chain"):
        for chain in _CHAINS:
            _nat(action, chain)


def _nat(*arguments: str) -> bool:
    """Whether iptables could do that."""
    command = ["iptables", "--wait", "--table", "nat", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
