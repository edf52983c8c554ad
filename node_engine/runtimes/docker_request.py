"""What the Docker engine is asked to make of a workload: the body of its `POST /containers/create`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_engine.runtimes.environment import environment_of
from node_engine.runtimes.interface import LABEL_ATTEMPT, Workload
from node_engine.runtimes.output import ROTATE_AT

#: The service's name and the instance's number, for people who look with Docker's own tools.
LABEL_SERVICE, LABEL_NUMBER = "mangrove.service", "mangrove.number"

#: Docker's name for a network namespace of its own with nothing in it.
NO_NETWORK = "none"

_MIB = 1024 * 1024
#: Docker gives no less than this many thousandths of a core.
_SMALLEST_CPU = 10
#: What Oakestra's `privileged` gives, and all it gives: the device that file systems in user space need.
_FUSE = "/dev/fuse"


def container_name(attempt: str) -> str:
    return f"mangrove-{attempt}"


def request_of(workload: Workload, labels: Mapping[str, str], resolv: str = "") -> dict[str, Any]:
    """The request in the engine's own words. resolv: path of a resolv.conf, for who gets its network from the
    netmanager, ports and all, and none from Docker. Raises RuntimeFault for an environment that is none.
    """
    specification = workload.specification
    resources = specification.resources
    published: dict[str, list[dict[str, str]]] = {}
    for port in specification.ports:
        published.setdefault(f"{port.container}/{port.protocol}", []).append({"HostPort": str(port.host)})
    request: dict[str, Any] = {
        "Image": specification.image,
        "Env": [f"{key}={value}" for key, value in environment_of(workload).items()],
        "Labels": {
            **labels,
            LABEL_ATTEMPT: workload.attempt,
            LABEL_SERVICE: specification.name,
            LABEL_NUMBER: str(workload.number),
        },
        "ExposedPorts": {port: {} for port in published},
        "HostConfig": {
            "PortBindings": published,
            "Mounts": [
                {"Type": "bind", "Source": volume.source, "Target": volume.target, "ReadOnly": volume.read_only}
                for volume in specification.volumes
            ],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": str(ROTATE_AT), "max-file": "2"}},
            # Starting again is the node engine's part: it counts, waits longer each time, and tells.
            "RestartPolicy": {"Name": "no"},
        },
    }
    host = request["HostConfig"]
    if resolv:
        request["ExposedPorts"] = host["PortBindings"] = {}
        host["NetworkMode"] = NO_NETWORK
        host["Mounts"].append({"Type": "bind", "Source": resolv, "Target": "/etc/resolv.conf", "ReadOnly": True})
    if specification.command:
        # As entry point, since it stands for all arguments of the process, those of the image's entry point included.
        request["Entrypoint"] = list(specification.command)
    if resources.cpu > 0:
        host["NanoCpus"] = max(resources.cpu, _SMALLEST_CPU) * 1_000_000
    if resources.memory > 0:
        # The second is memory and swap together: the same amount, so no swap.
        host["Memory"] = host["MemorySwap"] = resources.memory * _MIB
    if specification.privileged:
        host["Devices"] = [{"PathOnHost": _FUSE, "PathInContainer": _FUSE, "CgroupPermissions": "rwm"}]
    if workload.gpus:
        host["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": list(workload.gpus), "Capabilities": [["gpu"]], "Options": {}}
        ]
    return request
