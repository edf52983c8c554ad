"""What Docker engines were heard to say, in our words."""

from __future__ import annotations

import pytest

from node_engine.runtimes.docker_words import fault_of

HEARD = [
    (
        "driver failed programming external connectivity on endpoint mangrove-b3 (71e5): "
        "Bind for 0.0.0.0:18080 failed: port is already allocated",
        "port 18080 on this node is in use",
        False,
    ),
    (
        "driver failed programming external connectivity on endpoint x (5b): Error starting userland proxy: "
        "listen tcp4 0.0.0.0:8080: bind: address already in use",
        "port 8080 on this node is in use",
        False,
    ),
    (
        "mkdir /var/lib/docker/overlay2/x: no space left on device",
        "no space left on this node's disk for Docker",
        False,
    ),
    (
        'invalid mount config for type "bind": bind source path does not exist: /nope',
        "volume /nope does not exist on this node",
        False,
    ),
    (
        "failed to create shim: OCI runtime create failed: runc create failed: unable to start container process: "
        'exec: "nosuch": executable file not found in $PATH: unknown',
        "executable nosuch not found in image app:1",
        False,
    ),
    (
        'OCI runtime create failed: exec: "/x": stat /x: no such file or directory: unknown',
        "executable /x not found in image app:1",
        False,
    ),
    ('exec: "/etc": permission denied: unknown', "/etc in image app:1 is not an executable", False),
    (
        'error gathering device information while adding custom device "/dev/fuse": no such file or directory',
        "device /dev/fuse does not exist on this node",
        False,
    ),
    (
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        "Docker cannot give GPUs: install nvidia-container-toolkit on this node",
        False,
    ),
    ("Minimum memory limit allowed is 6MB", "memory: Docker needs a limit of at least 6MB", True),
    (
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        "vcpus: Docker on this node can give 0.01 to 2.00",
        True,
    ),
    ("invalid reference format", "image app:1 is not a valid image name", True),
    ("manifest for app:1 not found: manifest unknown: manifest unknown", "image app:1 not found", False),
    (
        "pull access denied for app, repository does not exist or may require 'docker login'",
        "image app:1 not found, or it needs a login",
        False,
    ),
    (
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
        "image app:1 is not on this node, and its registry cannot be reached",
        False,
    ),
    ("unknown blob", "image app:1 is not whole in its registry", False),
    ("No such image: app:1", "image app:1 not found", False),
    ("something\n  nobody foresaw", "Docker: something nobody foresaw", False),
]


@pytest.mark.parametrize(("said", "message", "permanent"), HEARD, ids=[message for _, message, _ in HEARD])
def test_words(said: str, message: str, permanent: bool) -> None:
    fault = fault_of(said, "app:1")

    assert (fault.message, fault.permanent) == (message, permanent)


def test_what_is_not_understood_is_shown_in_part() -> None:
    assert len(fault_of("x" * 10_000).message) < 400


def test_braces_in_what_was_said_do_no_harm() -> None:
    assert fault_of("bind source path does not exist: /{0}{nope}").message == (
        "volume /{0}{nope} does not exist on this node"
    )


def test_who_said_what_is_not_known() -> None:
    assert fault_of("a b\n c", engine="Podman").message == "Podman: a b c"
