"""What Podman, behind Docker's interface, does differently without saying so.

The rest is where it shows: its words in `docker_words`, its names for events in `docker_events`, its status for a name
that is taken in `docker_client`.
"""

from __future__ import annotations

import os

from node_engine.runtimes.interface import RuntimeFault, Workload

#: What `engine` begins with.
NAME = "Podman"


def check(workload: Workload, *, local: bool) -> None:
    """Refuse what Podman 4.3 would take and do wrongly. local: whether its files are those that we see.

    Raises RuntimeFault.
    """
    specification = workload.specification
    if workload.gpus:
        # It drops the request, and runs the container without them.
        raise RuntimeFault("Podman cannot give GPUs through Docker's interface: use Docker on this node")
    if local:
        for volume in specification.volumes:
            # Docker refuses; Podman makes an empty folder, as root.
            if not os.path.lexists(volume.source):
                raise RuntimeFault(f"volume {volume.source} does not exist on this node")
