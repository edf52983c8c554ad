"""What single fields of an SLA mean: ports, variables, volumes, platforms."""

from __future__ import annotations

import posixpath
import re

from mangrove.base.errors import InvalidInput
from mangrove.model.specification import Port, Volume
from mangrove.model.validation import shown

_RUNTIMES = {"container": "docker"}

_PORT = re.compile(r"(?P<host>[0-9]{1,5})(:(?P<container>[0-9]{1,5}))?(/(?P<protocol>tcp|udp))?")
_ARCHITECTURE = re.compile(r"[a-z0-9_]{1,20}")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}

#: What Oakestra's clients write for a folder of the node itself.
_HOST_DRIVERS = frozenset({"", "host", "hostpath", "host-path", "local"})


def runtime_of(virtualization: str) -> str:
    """The name of the runtime that an SLA asks for."""
    return _RUNTIMES.get(virtualization, virtualization)


def ports_of(text: str, path: str) -> tuple[Port, ...]:
    """Ports from `host[:container][/tcp|udp]`, separated by `;`; one number stands for both."""
    ports: list[Port] = []
    for part in (part.strip() for part in text.split(";")):
        if not part:
            continue
        match = _PORT.fullmatch(part)
        if match is None:
            raise InvalidInput(path, f"{shown(part)} is not a port; write `host:container`, or `host:container/udp`")
        host, container = int(match["host"]), int(match["container"] or match["host"])
        for number in (host, container):
            if not 1 <= number <= 65535:
                raise InvalidInput(path, f"{shown(part)}: {number} is no port number; choose one from 1 to 65535")
        port = Port(host, container, "udp" if match["protocol"] == "udp" else "tcp")
        if any((other.host, other.protocol) == (port.host, port.protocol) for other in ports):
            raise InvalidInput(path, f"host port {host}/{port.protocol} is named twice; choose another one")
        ports.append(port)
    return tuple(ports)


def variable_of(text: str, path: str) -> str:
    """An environment variable, `KEY=value`."""
    name, equals, _ = text.partition("=")
    if not equals or not name or name != name.strip():
        raise InvalidInput(path, f"{shown(text)} is not a variable; write `KEY=value`")
    return text


def volume_of(source: str, driver: str, target: str, config: dict[str, str], path: str) -> Volume:
    """A folder of the node; volumes of a CSI driver are refused."""
    if driver not in _HOST_DRIVERS:
        raise InvalidInput(
            f"{path}.csi_driver",
            f"{shown(driver)} is not supported; leave it empty and name a folder of the node in volume_id",
        )
    for field, value in (("volume_id", source), ("mount_path", target)):
        if not value.startswith("/") or ".." in value.split("/"):
            raise InvalidInput(f"{path}.{field}", f"is {shown(value)}; write an absolute path without `..`")
    return Volume(
        posixpath.normpath(source), posixpath.normpath(target), config.get("read_only", "").lower() in ("true", "1")
    )


def platform_of(text: str, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Systems and architectures from `linux/arm64`, as container images have it; empty for any."""
    if not text.strip():
        return (), ()
    system, _, rest = text.strip().lower().partition("/")
    if _ARCHITECTURE.fullmatch(system) is None:
        raise InvalidInput(path, f"{shown(text)} is no platform; write for example `linux/arm64`")
    return (system,), (architecture_of(rest.partition("/")[0], path),) if rest else ()


def architecture_of(name: str, path: str) -> str:
    """An architecture by the name that nodes report: `amd64`, `arm64`, …"""
    known = _ARCHITECTURES.get(name.lower(), name.lower())
    if _ARCHITECTURE.fullmatch(known) is None:
        raise InvalidInput(path, f"{shown(name)} is no architecture; write for example `amd64` or `arm64`")
    return known
