"""What `mangrove doctor` looks at: each check says how it found things, and what to do when they are not well."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from mangrove.base.errors import MangroveError
from mangrove.cli import contexts, setups
from mangrove.client.cluster import DEFAULT_PORT as CLUSTER_PORT
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.root import DEFAULT_PORT, RootClient
from mangrove.link.brokers import mosquitto, nats

#: well: as it should be. note: good to know. trouble: something will not work.
State = Literal["well", "note", "trouble"]

#: Where a parent's MQTT broker is, as seen from its HTTP port, unless it was told otherwise.
_BROKER_AFTER = 1

#: Seconds that anything on this machine gets to answer, and what a root elsewhere gets for a TCP connection.
_LOCAL, _REMOTE = 1.0, 3.0

#: Bytes below which disk space will not last for images and logs, and below which databases stop.
_DISK_LOW, _DISK_OUT = 1024**3, 128 * 1024**2

#: Bytes of free memory below which a root, a cluster and a node (100 MB and less in all) leave nothing for services.
_MEMORY_LOW, _MEMORY_OUT = 512 * 1024**2, 128 * 1024**2

#: Seconds that clocks may differ: tokens carry times, and a Date header has no more than whole seconds.
_CLOCK = 5.0

#: Open files and connections: a root keeps one for each connection, and stops accepting some hundred.
_FILES = 1024


class Finding(msgspec.Struct, frozen=True):
    """How one check found things. advice: what to do, empty where nothing is to be done."""

    check: str
    state: State
    found: str
    advice: str = ""


def of_machine(folder: Path) -> Iterator[Finding]:
    """All checks of this machine. folder: of a set-up, whose root may listen here, and whose disk is looked at."""
    yield python()
    yield broker()
    yield from ports(folder)
    yield kernel()
    yield containers()
    yield disk(folder)
    yield memory()
    yield open_files()
    yield privacy()


def python() -> Finding:
    missing = [each for each in ("flask", "psutil") if find_spec(each) is None]
    version = ".".join(map(str, sys.version_info[:3]))
    if missing:
        lacks = f"Python {version} without {' and '.join(missing)}"
        return Finding(
            "python", "note", lacks, "to run programs here, pip install 'mangrove[all]'; a client needs none"
        )
    return Finding("python", "well", f"Python {version}")


def broker() -> Finding:
    for name, find in (("Mosquitto", mosquitto.find), ("nats-server", nats.find)):
        if path := find():
            return Finding("broker", "well", f"{name} is there ({path})")
    advice = "a root or cluster needs one: apt-get install mosquitto, or pip install 'mangrove[broker]'"
    return Finding("broker", "note", "no MQTT broker is installed", advice)


def ports(folder: Path) -> Iterator[Finding]:
    """The usual ports, and whether what has them is ours."""
    setup = setups.load(folder)
    wanted = {"root": DEFAULT_PORT if setup is None else setup.port, "cluster": CLUSTER_PORT}
    for program, port in wanted.items():
        taken = [each for each in (port, port + _BROKER_AFTER) if not setups.is_free(each, host="")]
        if not taken:
            yield Finding(f"ports of a {program}", "well", f"{port} and {port + _BROKER_AFTER} are free")
            continue
        name = _mangrove_at(port)
        shown = " and ".join(map(str, taken))
        if name:
            yield Finding(f"ports of a {program}", "well", f"{shown}: the {name} of Mangrove listens here")
        else:
            advice = "stop what listens there (`ss -ltnp` names it), or choose others: --port, --mqtt-port"
            yield Finding(f"ports of a {program}", "note", f"{shown}: in use by something else", advice)


def kernel() -> Finding:
    """Whether limits of processes can be kept."""
    if not sys.platform.startswith("linux"):
        return Finding("kernel", "trouble", f"this is {sys.platform}", "programs of Mangrove run on Linux")
    release = os.uname().release
    groups = Path("/sys/fs/cgroup")
    version = 2 if (groups / "cgroup.controllers").exists() else 1 if (groups / "memory").exists() else 0
    if not version:
        return Finding("kernel", "note", f"Linux {release} without control groups", "processes get no limits here")
    if os.geteuid() != 0:
        found = f"Linux {release}, control groups version {version}, but not root"
        return Finding("kernel", "note", found, "a node keeps the limits of processes only as root; containers always")
    return Finding("kernel", "well", f"Linux {release}, control groups version {version}")


def containers() -> Finding:
    """Whether an engine answers that can run containers."""
    refused = []
    for path in _sockets():
        try:
            if _pings(path):
                if find_spec("docker") is None:
                    advice = "pip install 'mangrove[docker]'"
                    return Finding("containers", "note", f"an engine answers at {path}, its SDK is missing", advice)
                return Finding("containers", "well", f"an engine answers at {path}")
        except PermissionError:
            refused.append(path)
        except (OSError, HTTPException):
            continue
    if refused:
        advice = (
            f"become a member of the group that may: sudo usermod -aG {_group_of(refused[0])} $USER, and log in anew"
        )
        return Finding("containers", "note", f"{refused[0]} may not be used by you", advice)
    advice = "services run as processes only; for containers, apt-get install docker.io, or podman and its socket"
    return Finding("containers", "note", "neither Docker nor Podman answers here", advice)


def disk(folder: Path) -> Finding:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if free < _DISK_OUT:
        return Finding("disk", "trouble", found, "make room: databases stop when the disk is full")
    if free < _DISK_LOW:
        return Finding("disk", "note", found, "images and logs may need more")
    return Finding("disk", "well", found)


def memory(table: Path = Path("/proc/meminfo")) -> Finding:
    try:
        words = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
        free = int(words["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return Finding("memory", "note", "the kernel does not say how much is free")
    found = f"{free / 1024**2:.0f} MiB available"
    if free < _MEMORY_OUT:
        return Finding("memory", "trouble", found, "end something: programs of Mangrove may be killed")
    if free < _MEMORY_LOW:
        return Finding("memory", "note", found, "enough for Mangrove, but not for much beside it")
    return Finding("memory", "well", found)


def open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        return Finding("open files", "note", f"at most {soft}", f"ulimit -n {_FILES} before a root or cluster starts")
    return Finding("open files", "well", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")


def privacy() -> Finding:
    """Whether the tokens that are kept are one's own."""
    path = contexts.path()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Finding("logins", "well", "none is kept here")
    if mode & 0o077:
        return Finding("logins", "trouble", f"others may read {path} (mode {mode:o})", f"chmod 600 {path}")
    return Finding("logins", "well", f"kept in {path}, for you alone")


def of_root(client: RootClient, logged_in: bool) -> Iterator[Finding]:
    """Whether a root can be reached and used. logged_in: the client has a login to try."""
    address = client.address
    try:
        said = client.version()
    except MangroveError as error:
        yield Finding("root", "trouble", error.message, "`mangrove up` starts one here; `mangrove login` names another")
        return
    yield Finding("root", "well", f"{address} answers: {said['program']} {said['name']}, version {said['software']}")
    yield clock(HttpClient(address), time.time())
    yield _mqtt(address.host, address.port + _BROKER_AFTER)
    if logged_in:
        try:
            client.access_token()
            yield Finding("login", "well", "is valid")
        except MangroveError as error:
            yield Finding("login", "trouble", error.message, "mangrove login")


def clock(http: HttpClient, now: float) -> Finding:
    """How far this machine's clock, which says `now`, is from the root's."""
    try:
        told = parsedate_to_datetime(http.date()).timestamp()
    except (ValueError, TypeError, MangroveError):
        return Finding("clock", "note", "the root does not tell the time")
    off = now - told
    if abs(off) <= _CLOCK:
        return Finding("clock", "well", "agrees with the root's")
    where = "ahead of" if off > 0 else "behind"
    return Finding(
        "clock", "trouble", f"{abs(off):.0f} s {where} the root's", "set both by NTP: timedatectl set-ntp true"
    )


def _mqtt(host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), timeout=_REMOTE).close()
    except OSError as error:
        advice = "only clusters need it: open the port to them, unless the root has another one (--mqtt-port)"
        return Finding("broker of the root", "note", f"{host}:{port}: {error.strerror or error}", advice)
    return Finding("broker of the root", "well", f"{host}:{port} accepts connections")


def _mangrove_at(port: int) -> str:
    try:
        client = HttpClient(parse_address(f"127.0.0.1:{port}", port), timeout=_LOCAL)
        return str(client.request("GET", "/api/v1/version", form=dict)["program"])
    except (MangroveError, KeyError):
        return ""


def _sockets() -> Sequence[Path]:
    """Where engines listen that can run containers, the one that is asked for first."""
    host = os.environ.get("DOCKER_HOST", "")
    named = [Path(host.removeprefix("unix://"))] if host.startswith("unix://") else []
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    usual = (
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        "/run/podman/podman.sock",
        f"{runtime}/podman/podman.sock",
    )
    return [*named, *map(Path, usual)]


def _pings(path: Path) -> bool:
    """Whether an engine says that it is well. Raises OSError, HTTPException."""
    connection = HTTPConnection("localhost", timeout=_LOCAL)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(_LOCAL)
        connection.sock.connect(str(path))
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        return answer.status == 200 and answer.read(64) == b"OK"
    finally:
        connection.close()


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "docker"
