"""Declare an application, wait until it runs, scale it, and remove it again."""

from __future__ import annotations

from examples.client.login import logged_in
from mangrove.base.errors import MangroveError
from mangrove.client import names
from mangrove.client.wait import Progress

SLA = {
    "sla_version": "v2.0",
    "customerID": "Admin",
    "applications": [
        {
            "application_name": "example",
            "application_namespace": "client",
            "microservices": [
                {
                    "microservice_name": "sleeper",
                    "microservice_namespace": "client",
                    "virtualization": "process",
                    "code": "sleep",
                    "cmd": ["sleep", "1000"],
                    "memory": 16,
                }
            ],
        }
    ],
}


def tell(service: str, progress: Progress) -> None:
    print(f"{progress.done} of {progress.total} run {progress.doing}".strip())


def main() -> None:
    root = logged_in()
    [application] = root.create_applications(SLA)
    try:
        sleeper = names.service(root, "example.sleeper")
        root.scale(sleeper.id, 1)
        root.wait(sleeper.id, timeout=60, progress=tell)
        root.scale(sleeper.id, 3)
        root.wait(sleeper.id, timeout=60, progress=tell)
    except MangroveError as error:
        print(f"that did not work: {error.message}")
    finally:
        root.delete_application(application.id)


if __name__ == "__main__":
    main()
