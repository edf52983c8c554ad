"""How far an image is on its way to a node: one sentence for people, which programs can read back."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SENTENCE = re.compile(r"pulling (?P<image>\S+): (?P<done>\d{1,9}) of (?P<total>\d{1,9}) MiB")


@dataclass(frozen=True, slots=True)
class Pull:
    """An image that is being pulled. done, total: MiB, as far as the engine knows them yet."""

    image: str
    done: int
    total: int

    def __str__(self) -> str:
        return f"pulling {self.image}: {self.done} of {self.total} MiB"


def pull_in(reason: str) -> Pull | None:
    """The pull that a status tells of, if its reason is one's sentence."""
    found = _SENTENCE.fullmatch(reason)
    return Pull(found["image"], int(found["done"]), int(found["total"])) if found else None
