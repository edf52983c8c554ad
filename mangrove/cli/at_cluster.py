"""Options of commands that ask the cluster on their machine, as its operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mangrove.client.cluster import DEFAULT_PORT, ClusterClient, operator_token_in

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _options(data_dir: dict[str, Any], address: str) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        command = click.option("--address", default=f"127.0.0.1:{DEFAULT_PORT}", show_default=True, help=address)(
            command
        )
        return click.option("--data-dir", type=click.Path(path_type=Path), **data_dir)(command)

    return add


#: Of commands that ask a cluster and never a root.
cluster_here = _options(
    {
        "default": "/var/lib/mangrove/cluster",
        "show_default": True,
        "help": "Its folder, which holds the operator's token.",
    },
    "Where it listens.",
)

#: Of commands that ask a root, unless a cluster's folder is named.
or_cluster_here = _options(
    {"help": "Ask the cluster itself, whose data folder this is, and no root: on its machine, as its user."},
    "With --data-dir: where it is.",
)


def connect(data_dir: Path, address: str) -> ClusterClient:
    """Talk to the cluster that these options name. Raises InvalidInput."""
    return ClusterClient(address, operator_token_in(data_dir))
