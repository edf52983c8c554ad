"""Getting an image from its registry, with progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mangrove.base.clock import Clock
from mangrove.model.pull import Pull
from node_engine.runtimes.docker_words import fault_of
from node_engine.runtimes.interface import Progress

if TYPE_CHECKING:
    import docker

#: Seconds without a word from the engine after which a pull is given up. The engine itself tries a broken download
#: five times, for less than a minute in all; unpacking a large layer on a slow card takes minutes without a word.
_STALLED = 600.0
#: Shortest time between two lines of progress, in seconds: a person reads no faster.
_PROGRESS_EVERY = 1.0
_MIB = 1024 * 1024


class _Bytes(msgspec.Struct):
    current: int = 0
    total: int = 0


class _Line(msgspec.Struct):
    """One line of the engine's answer."""

    status: str = ""
    id: str = ""
    error: str = ""
    progress: _Bytes = msgspec.field(name="progressDetail", default_factory=_Bytes)


_decoder = msgspec.json.Decoder(_Line)


def pull(client: docker.APIClient, image: str, progress: Progress, clock: Clock) -> None:
    """Get `image`. Raises RuntimeFault when it cannot be had, and what requests raises when the engine goes away."""
    from docker import auth, utils

    repository, tag = utils.parse_repository_tag(image)
    # The SDK's own pull waits forever.
    registry, _ = auth.resolve_repository_name(repository)
    login = auth.get_config_header(client, registry)
    answer = client.post(
        f"{client.base_url}/v{client.api_version}/images/create",
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": login} if login else {},
        stream=True,
        timeout=_STALLED,
    )
    with answer:
        if answer.status_code != 200:
            raise fault_of(answer.text, image)
        progress(said := f"pulling {image}")
        layers: dict[str, _Bytes] = {}
        told = clock.now()
        for text in answer.iter_lines(chunk_size=None):
            line = _decoder.decode(text)
            if line.error:
                raise fault_of(line.error, image)
            if line.status == "Downloading":
                layers[line.id] = line.progress
            elif line.status in ("Download complete", "Pull complete") and line.id in layers:
                layers[line.id].current = layers[line.id].total
            if layers and clock.now() - told >= _PROGRESS_EVERY:
                told = clock.now()
                done = sum(layer.current for layer in layers.values()) // _MIB
                total = sum(layer.total for layer in layers.values()) // _MIB
                if (news := str(Pull(image, done, total))) != said:
                    progress(said := news)
