"""What a running node engine says of itself to people on its machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mangrove.model.attempt import Status, Usage
from mangrove.model.child import Capacity

#: Seconds without a new file after which the engine counts as not running.
STALE_AFTER = 30.0


class NodeStatus(msgspec.Struct, frozen=True):
    """written: wall-clock seconds. link: where the talk with the cluster stands; refused: why it turned us away."""

    written: float
    name: str
    node: str
    cluster: str
    link: str
    refused: str
    trouble: str
    capacity: Capacity
    usage: dict[str, Usage]
    attempts: list[Status]


def write_status(folder: Path, status: NodeStatus) -> None:
    """Replace the status file. It need not outlive a power cut, so it is not synced."""
    temporary = folder / "status.json.new"
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.replace(folder / "status.json")


def read_status(folder: Path) -> NodeStatus | None:
    """What was written last, or None when nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode((folder / "status.json").read_bytes(), type=NodeStatus)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
