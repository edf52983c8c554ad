"""The client's reading of logs goes on behind the last line, whatever the answers do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from mangrove.base.errors import Conflict, MangroveError, NotFound, Unavailable
from mangrove.client import logs
from mangrove.client.logs import LogLine, read_logs
from mangrove.client.root import RootClient


class Root:
    """Gives one prepared answer after the other: numbers of lines, empty for a beat, text for a break, or an error."""

    def __init__(self, *answers: list[int | str | MangroveError]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, list[str]]] = []

    def lines(self, path: str, *, accept: str) -> Iterator[bytes]:
        assert (urlsplit(path).path, accept) == ("/api/v1/instances/s.0/logs", "application/x-ndjson")
        self.asked.append(parse_qs(urlsplit(path).query))
        for item in self.answers.pop(0):
            if isinstance(item, MangroveError):
                raise item
            if item == "":
                yield b""
            elif isinstance(item, str):
                yield msgspec.json.encode(LogLine(1.0, "mangrove", item, ""))
            else:
                yield msgspec.json.encode(LogLine(1.0, "stdout", f"line {item}", f"p{item}"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "sleep", lambda seconds: None)


def read(root: Root, *, follow: bool = False, patience: float = 60.0) -> list[int]:
    lines = read_logs(cast(RootClient, root), "s.0", tail=9, since="1h", follow=follow, patience=patience)
    return [int(line.line[5:]) for line in lines]


def test_what_is_there_is_read_once() -> None:
    root = Root([1, "", 2])
    assert read(root) == [1, 2]
    assert root.asked == [{"tail": ["9"], "since": ["1h"]}]


@pytest.mark.parametrize("broken", ["it broke", Unavailable("it broke")])
def test_a_break_is_gone_on_behind(broken: str | MangroveError) -> None:
    root = Root([1, 2, broken], [Unavailable("not yet")], [3])
    assert read(root) == [1, 2, 3]
    assert root.asked[1:] == [{"since": ["p2"]}] * 2


def test_following_ends_when_the_end_is_said_twice() -> None:
    root = Root([1], [2], [])
    assert read(root, follow=True) == [1, 2]
    assert root.asked[1] == {"since": ["p1"], "follow": ["true"]}


@pytest.mark.parametrize("gone", [NotFound("no such instance"), Conflict("it runs nowhere")])
def test_following_ends_with_the_instance(gone: MangroveError) -> None:
    assert read(Root([1], [gone]), follow=True) == [1]


def test_in_trouble_it_waits_for_an_instance_that_runs_nowhere_for_a_moment() -> None:
    assert read(Root([1, "it broke"], [Conflict("nowhere yet")], [2], []), follow=True) == [1, 2]
    assert read(Root([1, "it broke"], [NotFound("removed")]), follow=True) == [1]


def test_the_first_answer_must_come() -> None:
    for error in (Unavailable("down"), NotFound("no"), Conflict("nowhere")):
        with pytest.raises(type(error), match=error.message):
            read(Root([error]))


def test_patience_ends() -> None:
    with pytest.raises(Unavailable, match="it broke"):
        read(Root([1, "it broke"]), patience=-1.0)
