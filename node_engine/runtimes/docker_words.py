"""What the container engine says, in words for the person who deployed something."""

from __future__ import annotations

import re

from node_engine.runtimes.interface import RuntimeFault

#: What engines say (Docker 20.10 to 28, Podman 4.3), what it means, and whether trying again is in vain.
_MEANINGS: tuple[tuple[str, str, bool], ...] = (
    (
        r":(\d+)(?: failed)?: (?:port is already allocated|.*address already in use)",
        "port {0} on this node is in use",
        False,
    ),
    (r"no space left on device", "no space left on this node's disk for Docker", False),
    (r"bind source path does not exist: (\S+)", "volume {0} does not exist on this node", False),
    (r'exec: "?([^":]+)"?:.*(?:not found|no such file)', "executable {0} not found in image {image}", False),
    (r'exec: "?([^":]+)"?:.*permission denied', "{0} in image {image} is not an executable", False),
    (r'gathering device information.*"(/dev/[^"]+)"', "device {0} does not exist on this node", False),
    (
        r"could not select device driver.*gpu",
        "Docker cannot give GPUs: install nvidia-container-toolkit on this node",
        False,
    ),
    (
        r"unable to set memory limit to (\d+) \(current usage",
        "memory: a limit of {0} bytes is less than a container needs to start",
        True,
    ),
    (r"[Mm]inimum memory limit allowed is (\w+)", "memory: Docker needs a limit of at least {0}", True),
    (r"[Rr]ange of CPUs is from (\S+) to (\S+?),", "vcpus: Docker on this node can give {0} to {1}", True),
    (r"invalid reference format|invalid repository name", "image {image} is not a valid image name", True),
    (r"manifest unknown|manifest for .* not found", "image {image} not found", False),
    (r"pull access denied|unauthorized|denied:", "image {image} not found, or it needs a login", False),
    (
        r"unknown blob|blob unknown|layer verification failed|reading blob .*404 ",
        "image {image} is not whole in its registry",
        False,
    ),
    (r"no matching manifest for (\S+)", "image {image} is not made for {0}", False),
    (
        r"dial tcp|no such host|connection refused|timeout|TLS handshake|\bEOF\b|request canceled|connection reset",
        "image {image} is not on this node, and its registry cannot be reached",
        False,
    ),
    (r"toomanyrequests", "the registry of image {image} answers only later: too many requests", False),
    (r"No such image", "image {image} not found", False),
)
#: Characters of an unknown message that are shown: some of them carry whole stack traces of runc.
_SHOWN = 300


def fault_of(said: str, image: str = "", engine: str = "Docker") -> RuntimeFault:
    """The fault for what the engine called `engine` said about an instance of `image`."""
    line = " ".join(said.split())
    for pattern, meaning, permanent in _MEANINGS:
        if found := re.search(pattern, line):
            return RuntimeFault(meaning.format(*found.groups(), image=image), permanent=permanent)
    return RuntimeFault(f"{engine or 'Docker'}: {line[:_SHOWN]}")


def away(address: str) -> str:
    """That the engine at `address` does not answer, and what to do."""
    name, unit = ("Podman", "podman.socket") if "podman" in address else ("Docker", "docker")
    return (
        f"the {name} engine does not answer at {address}: start it (systemctl start {unit}), "
        "or say where it is (DOCKER_HOST)"
    )


def closed_to_us(path: str) -> str:
    """That we may not use the engine's socket at `path`, and what to do."""
    if "podman" in path:
        return f"no permission to use Podman's socket {path}: run as root, or as the user whose Podman it is"
    return f"no permission to use Docker's socket {path}: run as root, or as a member of the group docker"
