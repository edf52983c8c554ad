"""Logging: one line a record, to standard error or a bounded file, machine-readable when asked for.

What follows from a request carries its id, at all levels of the tree: `about` says so for what is logged meanwhile.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path

#: Bytes of a log file; beside it the one before is kept. Some 50,000 lines: weeks of a program that is well.
_FILE_SIZE = 5_000_000

_request: ContextVar[str] = ContextVar("request", default="")
#: Ids of requests that others may give: those of proxies and tracing tools are among these (a UUID has 36 characters).
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")


def request_id() -> str:
    """Id of the request that this thread works for just now; empty when it works for none."""
    return _request.get()


def is_request_id(text: str) -> bool:
    """Whether `text` may be the id of a request."""
    return _REQUEST_ID.fullmatch(text) is not None


@contextlib.contextmanager
def about(request: str) -> Iterator[None]:
    """Let all that this thread logs meanwhile carry the id of a request; an empty one is none."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def carrying(call: Callable[[], None]) -> Callable[[], None]:
    """`call`, about the request of now whenever and in whatever thread it is made."""
    request = request_id()

    def later() -> None:
        with about(request):
            call()

    return later if request else call


class _File(logging.FileHandler):
    """A log file that takes all that the process writes, so that the last words of a crash are bounded and kept too."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and self.stream.tell() > _FILE_SIZE:
            self.stream.close()
            with contextlib.suppress(OSError):
                os.replace(self.baseFilename, f"{self.baseFilename}.1")
            self.stream = self._open()
        super().emit(record)

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        for standard in (1, 2):
            os.dup2(stream.fileno(), standard)
        return stream


class _StandardError(logging.Handler):
    """Writes each line by one call of the system, which keeps it whole: threads need not wait for each other."""

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(2, f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        record.request = f"[{request_id()}] " if request_id() else ""
        return super().formatMessage(record)


class _JsonFormatter(logging.Formatter):
    """A record's `fields`, where it has them (`extra={"fields": …}`), stand beside what every line has."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id():
            line["request"] = request_id()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def text_formatter(program: str) -> logging.Formatter:
    """A line for people."""
    return _TextFormatter(f"%(asctime)s %(levelname)s {program} %(name)s: %(request)s%(message)s", "%Y-%m-%dT%H:%M:%S")


def json_formatter(program: str) -> logging.Formatter:
    """A line for programs."""
    return _JsonFormatter(program)


def set_up_logging(program: str, level: str = "INFO", *, json_lines: bool = False, file: Path | None = None) -> None:
    """Send all log records of this process to standard error; with `file`, these and both standard streams go there.

    `program` stands in each line; `level` is a name of the logging module; `json_lines` gives one JSON object a line.
    From now on SIGUSR1 writes there what each thread does just now. Raises OSError when the file cannot be written.
    """
    handler = _StandardError() if file is None else _File(file)
    handler.setFormatter(json_formatter(program) if json_lines else text_formatter(program))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    faulthandler.register(signal.SIGUSR1, file=2)


def announce(text: str) -> None:
    """A line on standard output, in one piece: where both standard streams go to one file, `print` may write the end of
    its line behind what another thread logs meanwhile."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
