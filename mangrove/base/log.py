"""Logging: one line a record, to standard error, machine-readable when asked for."""

from __future__ import annotations

import json
import logging
import sys


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


def set_up_logging(program: str, level: str = "INFO", *, json_lines: bool = False) -> None:
    """Send all log records of this process to standard error.

    `program` stands in each line; `level` is a name of the logging module; `json_lines` gives one JSON object a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    if json_lines:
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)s {program} %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
