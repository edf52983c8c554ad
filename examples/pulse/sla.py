"""The SLA of the application: sla.json, fitted to where and how it shall run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

#: What has to be on Python's path for `python -m examples.pulse.sensor`.
ROOT = Path(__file__).parents[2]


def application(
    virtualization: Literal["container", "process"], *, host: str, analyst_port: int, board_port: int
) -> dict[str, Any]:
    """An SLA (v2.0) of sensor, analyst and board that find each other at `host` by the published ports.

    container: each runs from the image that `examples.image` makes. host: an address of the machine that containers
    reach, such as their bridge's (172.17.0.1 with Docker's own settings); 127.0.0.1 in a container is itself.
    process: each runs by this very Python on this machine, and listens at `host` alone.
    """
    sla: dict[str, Any] = json.loads(Path(__file__).with_name("sla.json").read_text())
    published = {"analyst": analyst_port, "board": board_port}
    for service in sla["applications"][0]["microservices"]:
        environment = dict(entry.split("=", 1) for entry in service["environment"])
        if "ANALYST_URL" in environment:
            environment["ANALYST_URL"] = f"http://{host}:{analyst_port}"
        port = published.get(service["microservice_name"])
        if virtualization == "process":
            service["virtualization"] = "process"
            service["code"] = sys.executable
            service["cmd"] = [sys.executable, *service["cmd"][1:]]
            environment["PYTHONPATH"] = str(ROOT)
            if port:
                environment |= {"HOST": host, "PORT": str(port)}
        if port:
            service["port"] = f"{port}:{environment['PORT']}"
        service["environment"] = [f"{name}={value}" for name, value in environment.items()]
    return sla
