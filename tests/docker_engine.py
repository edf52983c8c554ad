"""A Docker engine for tests: one of our own, apart from the machine's, so that nothing of the machine's is touched."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

#: Networks for bridges: kept for documentation (RFC 5737), so that hardly any machine has them. Those that this machine
#: has a route to all the same are passed over.
NETWORKS = [
    network
    for block in ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
    for network in ipaddress.IPv4Network(block).subnets(new_prefix=28)
]

#: Seconds for an engine to answer, and to stop: measured 1 to 3 on two busy cores.
PATIENCE = 60.0


def machine_engine() -> str:
    """URL of the engine that the environment names or the machine has, or empty when none answers."""
    url = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    return url if _answers(url) else ""


def can_start() -> bool:
    """Whether an engine of our own can be started here."""
    return os.geteuid() == 0 and shutil.which("dockerd") is not None and shutil.which("ip") is not None


class Engine:
    """A Docker engine of our own that keeps everything in `folder`.

    Ports are published by its proxy alone: it writes no firewall rules. bridge: the one of its containers, which else
    have no network. more: options, such as `--live-restore`, with which what runs in it goes on without it. namespace:
    the network namespace that it runs in; empty for that of the tests.
    """

    def __init__(self, folder: Path, *more: str, bridge: str = "none", namespace: str = "") -> None:
        self._folder = folder
        # A socket's path may have 107 characters at most.
        self.url = f"unix://{folder}/docker.sock"
        self._command = [
            *(("nsenter", f"--net=/run/netns/{namespace}") if namespace else ()),
            "dockerd",
            f"--host={self.url}",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            *more,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError with the end of its log."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self._process, self.url, self._folder / "log")

    def kill(self) -> None:
        """SIGKILL to the engine; its containerd follows by itself, and has to be gone before another start."""
        if self._process is not None:
            containerd = psutil.Process(self._process.pid).children()
            self._process.kill()
            self._process.wait(PATIENCE)
            psutil.wait_procs(containerd, PATIENCE)

    def end(self) -> None:
        """Stop it, with all that still runs in it unless that goes on without it."""
        if self._process is None:
            return
        end(self._process, self._folder)
        # One that is killed while it makes a container forgets about the process that it has started for it.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if f"{self._folder}/exec/containerd/containerd.sock" in process.cmdline():
                    process.kill()


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[str]:
    """Start an engine that keeps everything in `folder` and gives its URL; stops it and all of its containers."""
    with bridge() as (name, _):
        engine = Engine(folder, bridge=name)
        try:
            engine.start()
            yield engine.url
        finally:
            engine.end()


def wait_for(engine: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until the engine that was just started answers at `url`. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + PATIENCE
    while not _answers(url):
        if engine.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log}: the engine did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def end(engine: subprocess.Popen[bytes], folder: Path) -> None:
    """Stop the engine, and unmount what it mounted in its folder."""
    engine.terminate()
    try:
        engine.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait(PATIENCE)
    for mount in reversed(psutil.disk_partitions(all=True)):
        if mount.mountpoint.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mount.mountpoint], check=False)


def _answers(url: str) -> bool:
    """Whether an engine answers there (`unix://` or `tcp://`). The SDK leaves its socket open when none does."""
    where = urlsplit(url)
    try:
        with socket.socket(socket.AF_UNIX if where.scheme == "unix" else socket.AF_INET) as connection:
            connection.settimeout(5)
            connection.connect(where.path if where.scheme == "unix" else (where.hostname, where.port))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(4096)
    except OSError:
        return False


@contextlib.contextmanager
def bridge() -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    """A bridge of our own and its network, whose first address it has; no bridge of the machine is touched."""
    taken = _routes()
    for number, network in enumerate(NETWORKS):
        name = f"mangrovetest{number}"
        if any(network.overlaps(other) for other in taken):
            continue
        if subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False).returncode:
            continue  # another run of the tests has just taken it
        try:
            subprocess.run(["ip", "address", "add", f"{network[1]}/28", "dev", name], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            yield name, network
        finally:
            subprocess.run(["ip", "link", "delete", name], check=False)
        return
    raise RuntimeError("no network is free for a Docker engine; are bridges left over (ip link delete mangrovetest0)?")


def _routes() -> list[ipaddress.IPv4Network]:
    """Where this machine's routes lead, but for the default route."""
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        # Hexadecimal, in the byte order of the machine.
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), sys.byteorder) for i in (1, 7))
        if mask:
            found.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return found
