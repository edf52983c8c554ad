"""What single fields of an SLA mean: ports, variables, volumes, platforms, disconnection."""

from __future__ import annotations

import math
import posixpath
import re
from typing import Literal, get_args

from mangrove.base.errors import InvalidInput
from mangrove.model.documents import Mode
from mangrove.model.specification import (
    CLOCK_ERROR,
    KILL_TIME,
    USUAL,
    Disconnect,
    OnReturn,
    Port,
    PreemptionPolicy,
    Volume,
)
from mangrove.model.validation import shown
from root_orchestrator.api.oakestra import sla_form as form

_RUNTIMES = {"container": "docker"}

_PORT = re.compile(r"(?P<host>[0-9]{1,5})(:(?P<container>[0-9]{1,5}))?(/(?P<protocol>tcp|udp))?")
_ARCHITECTURE = re.compile(r"[a-z0-9_]{1,20}")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}

#: What Oakestra's clients write for a folder of the node itself.
_HOST_DRIVERS = frozenset({"", "host", "hostpath", "host-path", "local"})

_DURATION = re.compile(r"(?P<count>[0-9]{1,9}(\.[0-9]{1,6})?)(?P<unit>[smh])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: Seconds of a year: who means to wait longer means `never`.
_LONGEST = 31_536_000.0


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


def preemption_policy_of(text: str, path: str) -> PreemptionPolicy:
    """Whether a service displaces what is less important."""
    policy: PreemptionPolicy | None = next((name for name in get_args(PreemptionPolicy) if name == text), None)
    if policy is None:
        known = ", ".join(f"`{name}`" for name in get_args(PreemptionPolicy))
        raise InvalidInput(path, f"{shown(text)} is not known; there are {known}")
    return policy


def disconnect_of(wish: form.Disconnect, path: str, soonest_stop: float) -> Disconnect:
    """What becomes of an instance while its child is not heard. soonest_stop: seconds, of which beats need at least as
    many to go from a node to the root. Raises InvalidInput."""
    lost_after: float | Literal["never"] | None = (
        "never" if wish.lost_after == "never" else _seconds(wish.lost_after, 0.0, f"{path}.lost_after")
    )
    stop_after = _seconds(wish.stop_on_child_after, 0.0, f"{path}.stop_on_child_after")
    if stop_after is not None and stop_after < soonest_stop:
        raise InvalidInput(
            f"{path}.stop_on_child_after",
            f"is {shown(wish.stop_on_child_after)}, and must be at least {soonest_stop:g} s: the newest word that a "
            "node knows the root to have heard is as old as its own beats and its cluster's, so it would be stopped "
            "between two of them; choose that or more, or a shorter --lease of root and clusters",
        )
    on_return = next((name for name in get_args(OnReturn) if name == wish.on_return), None)
    if on_return is None:
        known = ", ".join(f"`{name}`" for name in get_args(OnReturn))
        raise InvalidInput(f"{path}.on_return", f"{shown(wish.on_return)} is not known; there are {known}")
    policy = Disconnect(lost_after, stop_after, wish.act_on_gone, on_return)
    if lost_after == "never" and wish.act_on_gone:
        problem = 'is "never", and `act_on_gone` asks to replace it at once; leave one of them out'
        raise InvalidInput(f"{path}.lost_after", problem)
    if isinstance(lost_after, float) and lost_after < policy.stopped_after:
        raise InvalidInput(
            f"{path}.lost_after",
            f"is {shown(wish.lost_after)}, and `stop_on_child_after` is {shown(wish.stop_on_child_after)}: an instance "
            f"is known to have stopped only {policy.stopped_after:g} s after its node was heard last ({CLOCK_ERROR:.1%}"
            f" for clocks, {KILL_TIME:g} s to stop it); choose that or more, or leave `lost_after` out",
        )
    return USUAL if policy == USUAL else policy


def mode_of(service: form.Microservice, path: str) -> Mode:
    """How many instances it has. Raises InvalidInput, also for what means nothing to a system service."""
    if service.mode in ("", "replicated"):
        return "replicated"
    if service.mode != "global":
        raise InvalidInput(f"{path}.mode", f"{shown(service.mode)} is not known; there are `replicated` and `global`")
    if service.placement:
        problem = "stands beside `mode: global`, where there is nothing to choose: it runs on each node; leave it out"
        raise InvalidInput(f"{path}.placement", problem)
    for index, wish in enumerate(service.constraints):
        if wish.type == "latency":
            problem = (
                "is `latency`, which is measured: instances of a system service (`mode: global`) would come and go"
            )
            raise InvalidInput(f"{path}.constraints[{index}].type", f"{problem}; use `geo`, `label` or `direct`")
    return "global"


def _seconds(value: float | str | None, least: float, path: str) -> float | None:
    """A duration in seconds. Raises InvalidInput."""
    if value is None:
        return None
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        seconds = float(match["count"]) * _SECONDS[match["unit"]] if match is not None else math.nan
    else:
        seconds = float(value)
    if not least <= seconds <= _LONGEST:
        either = ', or "never"' if path.endswith("lost_after") else ""
        raise InvalidInput(
            path,
            f"is {shown(value)}; write seconds from {least:g} to {_LONGEST:.0f}, "
            f'or text such as "30s", "5m", "1h"{either}',
        )
    return seconds
