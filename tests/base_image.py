"""What images are built from in tests, where no registry is reached: Python, Mosquitto and a shell of this machine.

It stands for `python:3.11-slim-bookworm`, with which it has in common what compose/Dockerfile uses of that. Mosquitto
is in it already, since it has no package manager.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

import docker
import pytest

from examples import image
from mangrove.link.brokers import mosquitto

BASE = "mangrove-test/base:1"
#: Shared libraries that every Debian has, and wheels count on.
_LIBRARIES = (
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6", "libresolv.so.2"),
    *("libgcc_s.so.1", "libstdc++.so.6"),
)
_APPLETS = ("sh", "mkdir", "chmod", "chown", "test", "cat", "rm", "env", "sleep", "true", "id", "ls", "touch")
#: Of the standard library, what an image for examples does without and building needs.
_LEFT_OUT = image.LEFT_OUT - {"ensurepip", "venv", "distutils"}


def load_base(api: docker.APIClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put it into the engine: its name."""
    with monkeypatch.context() as patch:
        patch.setattr(image, "LEFT_OUT", _LEFT_OUT)
        patch.setattr(image, "_examples", dict)
        layer = io.BytesIO()
        image._write(layer)
    broker, busybox = Path(mosquitto.find()), shutil.which("busybox")
    if busybox is None or not broker.name:
        pytest.skip("busybox or Mosquitto is not installed (busybox-static, mosquitto)")
    layer.seek(0)
    with tarfile.open(fileobj=layer, mode="a") as tar:
        there = set(tar.getnames())
        files = {"usr/sbin/mosquitto": broker, "bin/busybox": Path(busybox)} | image._shared_libraries([broker])
        system = files[f"{image.LIBRARIES}/libc.so.6"].parent
        files |= {f"{image.LIBRARIES}/{name}": system / name for name in _LIBRARIES}
        for name, path in files.items():
            for folder in reversed(PurePosixPath(name).parents[:-1]):
                if str(folder) not in there:
                    there.add(str(folder))
                    _add(tar, str(folder), tarfile.DIRTYPE)
            if name not in there:
                tar.add(path.resolve(), name)
        for applet in _APPLETS:
            _add(tar, f"bin/{applet}", tarfile.SYMTYPE, "busybox")
        _add(tar, "run", tarfile.DIRTYPE)
    layer.seek(0)
    environment = [f"ENV PATH=/{image.PREFIX}/bin:/usr/sbin:/bin", f"ENV LD_LIBRARY_PATH=/{image.LIBRARIES}"]
    answer = api.import_image_from_data(layer.getvalue(), changes=environment)
    repository, tag = BASE.split(":")
    api.tag(json.loads(answer.splitlines()[-1])["status"], repository, tag)
    return BASE


def _add(tar: tarfile.TarFile, name: str, kind: bytes, target: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, target, 0o755
    tar.addfile(entry)
