"""A container image of the examples, made from this machine's own Python: no registry and no Dockerfile is needed.

    python -m examples.image        makes it in the Docker engine that the environment names

It holds the interpreter with its standard library, the shared libraries that they need, and this folder: 45 MB with
Debian's Python 3.11, 70 to 80 MB with one that pyenv built.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import IO

import docker
from docker.errors import APIError, DockerException, ImageNotFound

IMAGE = "mangrove-example:latest"

#: Of the image: a digest of all that went into it. As long as it stays the same nothing is made anew.
LABEL = "mangrove.example.content"

#: Where things are in the image. Python finds its library from where its program is; shared libraries, which come from
#: all over the machine, are found by LD_LIBRARY_PATH.
PREFIX, LIBRARIES, APPLICATION = "usr/local", "usr/local/lib/shared", "app"

#: Parts of the standard library that no service needs.
LEFT_OUT = {
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter"),
    *("turtledemo", "ensurepip", "distutils", "pydoc_data", "venv"),
}
LEFT_OUT_NAMES = re.compile(r"config-\d.*|(_test|_ctypes_test|_tkinter|_xx|xx).*\.so|.*\.(a|o|exe|opt-\d\.pyc)")


def ensure_image(client: docker.DockerClient) -> bool:
    """Have `IMAGE` in the engine: whether it had to be made (a few seconds; about 0.1 s if it is there).

    Raises RuntimeError when this machine's Python cannot be packed, and docker.errors.DockerException.
    """
    content = _content_digest()
    old = None
    with contextlib.suppress(ImageNotFound):
        old = client.images.get(IMAGE)
    if old is not None and old.labels.get(LABEL) == content:
        return False
    repository, tag = IMAGE.split(":")
    changes = [
        f"ENV PATH=/{PREFIX}/bin",
        f"ENV LD_LIBRARY_PATH=/{LIBRARIES}",
        f"ENV PYTHONPATH=/{APPLICATION}",
        "ENV PYTHONUNBUFFERED=1",
        f"LABEL {LABEL}={content}",
        "WORKDIR /",
        "USER 65534:65534",
        'CMD ["python3", "-m", "examples.pulse.sensor"]',
    ]
    with tempfile.TemporaryFile() as file:
        _write(file)
        file.seek(0)
        answer = client.api.import_image_from_data(file, repository=repository, tag=tag, changes=changes)
    errors = [line["error"] for line in map(json.loads, answer.splitlines()) if "error" in line]
    if errors:
        raise RuntimeError(f"the engine did not take the image: {errors[0]}")
    if old is not None and old.id is not None:
        with contextlib.suppress(APIError):  # a container still runs from it
            client.images.remove(old.id)
    return True


def _content_digest() -> str:
    """Changes whenever the image would: by names, sizes and times of what is Python's, and the examples' own bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [_interpreter(), *_standard_library()]:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    for name, path in _examples().items():
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _write(file: IO[bytes]) -> None:
    """The image's file system, as a tar."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library, standard = _library(), _standard_library()
    extensions = [path for path in standard if path.suffix == ".so"]
    contents = {f"{PREFIX}/bin/python3": _interpreter()}
    contents |= {f"{PREFIX}/{sys.platlibdir}/{python}/{path.relative_to(library)}": path for path in standard}
    contents |= _shared_libraries([_interpreter(), *extensions])
    contents |= {f"{APPLICATION}/examples/{name}": path for name, path in _examples().items()}
    with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
        folders = {str(folder) for name in contents for folder in PurePosixPath(name).parents} - {"."}
        for folder in sorted(folders | {"tmp"}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for name, path in contents.items():
            with path.open("rb") as content:
                entry = tar.gettarinfo(arcname=name, fileobj=content)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                tar.addfile(entry, content)


def _interpreter() -> Path:
    """The program itself, behind a virtual environment's and other links."""
    return Path(sys.executable).resolve()


def _library() -> Path:
    """The folder of the standard library; in a virtual environment it is the one that the environment was made from."""
    return Path(sysconfig.get_path("stdlib")).resolve()


def _standard_library() -> list[Path]:
    found = []
    for folder, folders, files in os.walk(_library()):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not LEFT_OUT_NAMES.fullmatch(name))
        found += [Path(folder, name) for name in sorted(files) if not LEFT_OUT_NAMES.fullmatch(name)]
    return found


def _examples() -> dict[str, Path]:
    """All files of this folder that a service may need, by their names below it."""
    here = Path(__file__).parent
    found = sorted(path for kind in ("*.py", "*.json") for path in here.rglob(kind))
    return {str(path.relative_to(here)): path for path in found}


def _shared_libraries(programs: list[Path]) -> dict[str, Path]:
    """What the dynamic linker loads for `programs`: names in the image, and where it is here."""
    ldd = shutil.which("ldd")
    if ldd is None:
        raise RuntimeError("an image of this machine's Python cannot be made: there is no ldd here")
    listed = subprocess.run(
        [ldd, *map(str, programs)], capture_output=True, text=True, env={"LC_ALL": "C"}, timeout=60, check=False
    ).stdout
    found = {}
    for line in listed.splitlines():
        # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f…)", and the linker, which each program names by its path:
        # "/lib64/ld-linux-x86-64.so.2 (0x7f…)".
        if match := re.fullmatch(r"\s+(?:(\S+) => )?(/\S+) \(0x[0-9a-f]+\)", line):
            name, path = match.groups()
            found[f"{LIBRARIES}/{name}" if name else path.removeprefix("/")] = Path(path).resolve()
    return found


def main() -> None:
    begun = time.monotonic()
    client = docker.from_env(timeout=120)
    try:
        made = ensure_image(client)
        size = client.images.get(IMAGE).attrs["Size"] / 1e6
    except (DockerException, RuntimeError) as error:
        raise SystemExit(f"no image: {error}") from None
    finally:
        client.close()
    print(f"{IMAGE}: {'made' if made else 'is there'}, {size:.0f} MB, {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
