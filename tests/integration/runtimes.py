"""Tools for tests of runtimes: workloads, an image, and a registry to pull from."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from mangrove.model.specification import Specification
from node_engine.runtimes.interface import Runtime, Workload
from node_engine.runtimes.printed import Reading, Wish

#: The image that tests run: busybox and nothing else.
IMAGE = "mangrove-test/busybox:1"
#: Of this test process alone: others use the same Docker engine and the same tree of control groups.
INSTALLATION = f"test{os.getpid()}"
_PROGRAMS = ("cat", "dd", "echo", "head", "httpd", "ls", "sh", "sleep", "test", "touch", "tr", "true")


def workload(
    attempt: str, *command: str, added: tuple[str, ...] = (), gpus: tuple[str, ...] = (), **specification: Any
) -> Workload:
    """Of a process that runs `command`, unless `specification` says something else. added: the engine's environment."""
    given = {"name": "app.test.web.test", "runtime": "process", "command": command} | specification
    return Workload(attempt, "service1", 0, 1, Specification(**given), added, gpus)


def say_nothing(line: str) -> None:
    """A Progress."""


def run(runtime: Runtime, work: Workload) -> None:
    """All steps up to running."""
    runtime.prepare(work, say_nothing)
    runtime.attach(work)
    runtime.start(work)


def output_of(runtime: Runtime, attempt: str, tail: int | None = None) -> bytes:
    """What an instance has output_of, or its last lines."""
    wish = Wish(tail=tail)
    return b"".join(line.text + b"\n" for lines in runtime.logs(attempt, wish, Reading()) for line in lines)


def remove_all(runtime: Runtime) -> None:
    """Everything that it made."""
    for instance in runtime.list():
        runtime.remove(instance.attempt)


def busybox_layer() -> bytes:
    """The file system of IMAGE as a tar."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("busybox is not installed (busybox-static)")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(os.path.realpath(program), "bin/busybox")
        for name in _PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    return layer.getvalue()


def tar_of(name: str, content: bytes) -> bytes:
    """A layer with one file."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        file = tarfile.TarInfo(name)
        file.size = len(content)
        tar.addfile(file, io.BytesIO(content))
    return layer.getvalue()


def load_image(host: str, name: str = IMAGE, *changes: str) -> str:
    """Put an image of busybox into the container engine at `host`; changes: as of `docker import --change`."""
    repository, _, tag = name.rpartition(":")
    with contextlib.closing(docker.APIClient(base_url=host, version="auto", timeout=60)) as api:
        answer = api.import_image_from_data(busybox_layer(), changes=list(changes) or None)
        api.tag(json.loads(answer)["status"], repository, tag)  # Podman's import knows no tags
    return name


@dataclass
class Registry:
    """An image registry on loopback (the Docker registry's HTTP API V2, as much as a pull needs).

    asked: paths that were asked for. images: manifest by `name/reference`; blobs: by digest. hurry: while it is not
    set, of what is larger than 1 MiB the first half is sent slowly, and the rest not at all.
    """

    images: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    hurry: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hurry.set()

    def add(self, name: str, tag: str, *layers: bytes) -> str:
        """Add an image made of tars; returns what to pull."""
        packed = [gzip.compress(layer, 1) for layer in layers]
        system = {"layers": "", "type": "layers", "diff_ids": [_digest(layer) for layer in layers]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": system}).encode()
        kind = "application/vnd.docker."
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}distribution.manifest.v2+json",
            "config": self._blob(f"{kind}container.image.v1+json", config),
            "layers": [self._blob(f"{kind}image.rootfs.diff.tar.gzip", layer) for layer in packed],
        }
        text = json.dumps(manifest).encode()
        self.images[f"{name}/{tag}"] = self.images[f"{name}/{_digest(text)}"] = text
        return f"127.0.0.1:{self.port}/{name}:{tag}"

    def _blob(self, kind: str, content: bytes) -> dict[str, object]:
        self.blobs[_digest(content)] = content
        return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextlib.contextmanager
def registry(port: int) -> Iterator[Registry]:
    """A registry that is empty at first."""
    shelf = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            shelf.asked.append(self.path)
            parts = self.path.strip("/").split("/")
            kind, found = "application/json", b"{}" if parts == ["v2"] else None
            if "manifests" in parts:
                at = parts.index("manifests")
                found = shelf.images.get(f"{'/'.join(parts[1:at])}/{parts[at + 1]}")
                kind = "application/vnd.docker.distribution.manifest.v2+json"
            elif "blobs" in parts:
                found, kind = shelf.blobs.get(parts[-1]), "application/octet-stream"
            status = 200
            if found is None:
                status, found = 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(found)))
            self.send_header("Docker-Content-Digest", _digest(found))
            self.end_headers()
            if body:
                sent = 0
                while len(found) > 2**20 and sent < len(found) // 2 and not shelf.hurry.wait(0.1):
                    sent += self.wfile.write(found[sent : sent + 2**16])
                if len(found) > 2**20:
                    shelf.hurry.wait(60)
                self.wfile.write(found[sent:])

        def log_message(self, format: str, *args: object) -> None:
            """Not to the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    shelf.port = port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield shelf
    finally:
        shelf.hurry.set()
        server.shutdown()
        thread.join()
        server.server_close()


def write_whole(path: Path, text: str) -> None:
    """So that a reader sees all of it or nothing."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)
