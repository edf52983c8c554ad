"""What benchmarks run, as a process and as a container; and a Docker engine for that."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.docker_engine import can_start, machine_engine, own_engine

PROCESS = ["sleep", "1000000"]
IMAGE = "mangrove-benchmark:latest"
#: As the first process of its container a shell without a trap would sit SIGTERM out.
CONTAINER = ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; /bin/busybox sleep 1000000 & wait"]


@contextlib.contextmanager
def docker_engine(folder: Path, wanted: bool) -> Iterator[str]:
    """URL of a Docker engine that has `IMAGE`: the machine's, or one of our own in `folder`.

    Empty when none is `wanted` or to be had, or this machine lacks the `docker` command or a busybox for the image.
    """
    if not (wanted and shutil.which("docker") and shutil.which("busybox")):
        yield ""
    elif url := machine_engine():
        import_image(url, IMAGE)
        try:
            yield url
        finally:
            run_docker(url, "rmi", "--force", IMAGE)
    elif can_start():
        own = folder / "docker"
        own.mkdir()
        with own_engine(own) as url:
            import_image(url, IMAGE)
            yield url
    else:
        yield ""


def import_image(host: str, name: str) -> None:
    """Make an image of nothing but busybox (a static one), so that none has to be fetched. Raises RuntimeError."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", dereference=True) as archive:
        archive.add(shutil.which("busybox") or "", "bin/busybox")
    run_docker(host, "import", "-", name, input=tar.getvalue())


def run_docker(host: str, *arguments: str, input: bytes = b"") -> str:
    """What the `docker` command prints. Raises RuntimeError when it fails."""
    done = subprocess.run(
        ["docker", *arguments], env={**os.environ, "DOCKER_HOST": host}, input=input, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip()
