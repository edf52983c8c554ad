"""The errors a user may meet. Each message names the field or thing, the value, and the way out."""

from __future__ import annotations


class MangroveError(Exception):
    """Base of all errors that carry a message for a person.

    request_id: by which a parent's log names the request that met it; empty when there was none.
    """

    request_id = ""

    @property
    def message(self) -> str:
        return str(self)


class InvalidInput(MangroveError):
    """What was sent is wrong. `field` is the path of the offending field, such as `applications[0].name`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class NotFound(MangroveError):
    """Something named by the caller is not there, or not the caller's to see."""


class Conflict(MangroveError):
    """The write contradicts what is there now: a name is taken, or a revision has moved on."""


class Unauthorized(MangroveError):
    """No valid credential came with the request."""


class Forbidden(MangroveError):
    """The credential is valid but does not allow this."""


class Refused(MangroveError):
    """A parent turned a child away, and says why."""


class Unavailable(MangroveError):
    """It cannot be done now; trying again later may work."""


class CorruptFile(MangroveError):
    """A state file cannot be read. It is set aside, never overwritten silently."""
