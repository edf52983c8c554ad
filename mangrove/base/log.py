"""Logging: one line a record, to standard error or a bounded file, machine-readable when asked for."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from io import TextIOWrapper
from pathlib import Path

#: Bytes of a log file; beside it the one before is kept. Some 50,000 lines: weeks of a program that is well.
_FILE_SIZE = 5_000_000


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


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(program: str, level: str = "INFO", *, json_lines: bool = False, file: Path | None = None) -> None:
    """Send all log records of this process to standard error; with `file`, these and both standard streams go there.

    `program` stands in each line; `level` is a name of the logging module; `json_lines` gives one JSON object a line.
    Raises OSError when the file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else _File(file)
    if json_lines:
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)s {program} %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
