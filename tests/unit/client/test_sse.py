"""Server-sent events are read as the standard says."""

from __future__ import annotations

import pytest

from mangrove.client.sse import ServerSentEvent, read_events


def events(text: str, last_id: str = "") -> list[ServerSentEvent | None]:
    return list(read_events((line.encode() for line in text.split("\n")), last_id))


def test_events_with_ids_kinds_and_several_lines() -> None:
    assert events("id: 7\nevent: placed\ndata: a\ndata:b\n\ndata: c\n\n") == [
        ServerSentEvent("7", "placed", "a\nb"),
        ServerSentEvent("7", "message", "c"),
    ]


def test_comments_are_told_and_what_is_unfinished_is_not() -> None:
    assert events(": still here\n\ndata: half") == [None]


@pytest.mark.parametrize("text", ["\n\n\n", "id: 3\n\n", "retry: 5\n\n", "nothing known: x\n\n"])
def test_without_data_there_is_no_event(text: str) -> None:
    assert events(text) == []


def test_the_id_lasts_and_begins_where_one_was() -> None:
    assert events("data\n\nid\ndata:x\n\nid: a\0b\ndata:y\n\n", "5") == [
        ServerSentEvent("5", "message", ""),
        ServerSentEvent("", "message", "x"),
        ServerSentEvent("", "message", "y"),
    ]


def test_what_is_no_text_and_what_never_ends_is_survived() -> None:
    assert list(read_events([b"data: \xff", b""])) == [ServerSentEvent("", "message", "�")]
    huge = [b"data: " + b"x" * 600_000] * 3 + [b""]
    (event,) = read_events(huge)
    assert event is not None
    assert len(event.data) < 1_300_000
