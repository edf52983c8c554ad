"""What a page tells its reader to type, and what it says will be answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Stands for anything in what a page shows as answer.
ANYTHING = "…"


@dataclass(frozen=True)
class Step:
    """One command, the machine at which it is typed, and the lines that its answer holds, in this order."""

    machine: str
    command: str
    answer: tuple[str, ...]


def steps(page: Path) -> list[Step]:
    """All commands of a page, in their order.

    They stand in blocks of the language `console`, after a prompt such as `one$ `; lines below that begin with `> ` go
    on with the command, all others are its answer.
    """
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [step for block in blocks for step in _steps_of(block)]


def _steps_of(block: str) -> Iterator[Step]:
    for part in re.split(r"^(?=\w+\$ )", block, flags=re.MULTILINE):
        if not part:
            continue
        machine, _, rest = part.partition("$ ")
        first, *others = rest.rstrip("\n").split("\n")
        more = [line.removeprefix("> ") for line in others if line.startswith("> ")]
        answer = tuple(line for line in others if not line.startswith("> ") and line.strip() not in ("", ANYTHING))
        yield Step(machine, "\n".join([first, *more]), answer)


def missing(step: Step, written: str) -> str:
    """The first line of the answer that was not written where the page has it; empty when all were.

    Runs of blanks count as one, and `…` stands for anything.
    """
    lines = iter(" ".join(line.split()) for line in written.splitlines())
    for expected in step.answer:
        parts = [re.escape(" ".join(part.split())) for part in expected.split(ANYTHING)]
        pattern = r".*?".join(parts)
        if not any(re.search(pattern, line) for line in lines):
            return expected
    return ""
