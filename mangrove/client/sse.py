"""Server-sent events (WHATWG HTML, 9.2), as far as a client of the root needs them: lines in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: The media type to ask for.
MEDIA_TYPE = "text/event-stream"

#: Characters of the largest event that is put together: one is a sentence with its id.
_MAX_DATA = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. id: by which the stream is resumed behind it; empty as long as none was given."""

    id: str
    kind: str
    data: str


def read_events(lines: Iterable[bytes], last_id: str = "") -> Iterator[ServerSentEvent | None]:
    """The events in a stream's lines; None for each comment, by which a quiet server shows that it is there.

    What is unfinished when the lines end is dropped, as is data beyond a bound.
    """
    kind, data, size = "", list[str](), 0
    for raw in lines:
        line = raw.decode("utf-8", "replace")
        if not line:
            if data:
                yield ServerSentEvent(last_id, kind or "message", "\n".join(data))
            kind, data, size = "", [], 0
            continue
        if line.startswith(":"):
            yield None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data" and size + len(value) <= _MAX_DATA:
            data.append(value)
            size += len(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
