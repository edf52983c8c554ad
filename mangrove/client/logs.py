"""What instances print, line by line, through whatever breaks on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from urllib.parse import quote, urlencode

import msgspec

from mangrove.base.errors import Conflict, NotFound, Unavailable
from mangrove.client.root import RootClient

MEDIA_TYPE = "application/x-ndjson"

#: Seconds for which a log that broke off is asked for again before that counts as an error: root, cluster and node can
#: all be restarted in that time.
PATIENCE = 300.0
#: Seconds before the first repetition, doubled up to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.25, 5.0


class LogLine(msgspec.Struct, frozen=True):
    """A line of an instance.

    time: wall-clock seconds of its node. stream: `stdout`, `stderr`, or `mangrove` for what is said in place of lines
    that are not there any more. position: from where to go on behind it.
    """

    time: float
    stream: str
    line: str
    position: str


_decoder = msgspec.json.Decoder(LogLine)


def read_logs(
    client: RootClient,
    instance: str,
    *,
    tail: int | None = None,
    since: str = "",
    follow: bool = False,
    patience: float = PATIENCE,
    on_break: Callable[[str], None] = lambda why: None,
) -> Iterator[LogLine]:
    """The lines of an instance (its id), each once. When the answer breaks off, it goes on behind the last line.

    tail: at most the last so many that are there. since: `10m`, wall-clock seconds, or a line's position. follow: also
    what comes, until the instance has ended for good. on_break: told each time why it broke. Raises as
    RootClient does; after the first line only when `patience` seconds have brought nothing.
    """
    pause, failed_at, begun = _FIRST_PAUSE, 0.0, False
    while True:
        broke, news = "", False
        try:
            for text in client.lines(_path(instance, tail, since, follow), accept=MEDIA_TYPE):
                begun = True
                if not text:  # a beat
                    continue
                line = _decoder.decode(text)
                if not line.position:
                    broke = line.line
                    continue
                news, since, tail = True, line.position, None
                pause, failed_at = _FIRST_PAUSE, 0.0
                yield line
        except (Conflict, NotFound, Unavailable) as error:
            if not begun:
                raise
            # It was there before: it was removed, or has ended and runs nowhere; but in trouble that may change again.
            if isinstance(error, NotFound) or (isinstance(error, Conflict) and not failed_at):
                return
            broke = error.message
        if not broke:
            # The root ends an answer when it ends itself; that an instance has ended is said again when asked again.
            if not follow or not news:
                return
            continue
        failed_at = failed_at or monotonic()
        if monotonic() - failed_at > patience:
            raise Unavailable(broke)
        on_break(broke)
        sleep(pause)
        pause = min(2 * pause, _LAST_PAUSE)


def _path(instance: str, tail: int | None, since: str, follow: bool) -> str:
    query = {"tail": tail, "since": since or None, "follow": "true" if follow else None}
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return f"/api/v1/instances/{quote(instance, safe='')}/logs" + (f"?{asked}" if asked else "")
