"""What a command says when it fails, and the code that it ends with. The codes are promised: scripts rely on them."""

from __future__ import annotations

import os
from enum import IntEnum

import click

from mangrove.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)

#: In the environment, lets a fault of ours be seen whole.
DEBUG = "MANGROVE_DEBUG"


class Code(IntEnum):
    """What a command can end with."""

    OK = 0
    FAILED = 1  # what was asked for did not come about, or a fault of ours
    USAGE = 2  # the command line, a file or a value in it is wrong
    NOT_FOUND = 3  # something that was named is not there, or is not yours to see
    REFUSED = 4  # not logged in, not allowed, or against what is there (a name that is taken)
    UNAVAILABLE = 5  # it cannot be done now: no root answers in time, what answers is none, a port is taken
    TIMED_OUT = 6  # what was waited for did not come about in time
    DIFFERENT = 7  # `diff --exit-code` has found a difference
    INTERRUPTED = 130  # Ctrl-C, as shells count it


def code_of(error: MangroveError) -> Code:
    """The code that says what kind of error it is."""
    from mangrove.client.http import UnexpectedAnswer
    from mangrove.client.wait import TimedOut

    match error:
        case InvalidInput():
            return Code.USAGE
        case NotFound():
            return Code.NOT_FOUND
        case Conflict() | Forbidden() | Refused() | Unauthorized():
            return Code.REFUSED
        case Unavailable() | UnexpectedAnswer():
            return Code.UNAVAILABLE
        case TimedOut():
            return Code.TIMED_OUT
    return Code.FAILED


class Failure(click.ClickException):
    """An error with its code; printed by click as one sentence on standard error."""

    def __init__(self, message: str, code: Code = Code.FAILED) -> None:
        super().__init__(message)
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has it for a whole class
        return int(self.code)


def failure_of(error: MangroveError) -> Failure:
    """An error as the command line tells it: with the request's id when the fault is at the other side."""
    from mangrove.client.http import UnexpectedAnswer

    message = printable(error.message)
    if isinstance(error, UnexpectedAnswer) and error.request_id:
        message += f" (request {error.request_id}, by which its log names it)"
    return Failure(message, code_of(error))


def fault(error: Exception) -> Failure:
    """A fault of ours, without a traceback unless that is asked for. Raises it when `MANGROVE_DEBUG` is set."""
    if os.environ.get(DEBUG):
        raise error
    said = printable(f"{type(error).__name__}: {error}")
    return Failure(f"this is a fault in mangrove ({said}); with {DEBUG}=1 it shows where, which helps to mend it")


def printable(text: str) -> str:
    """What others have written, so that a terminal shows it and does nothing else."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
