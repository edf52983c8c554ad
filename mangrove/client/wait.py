"""Waiting for a condition, with an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from mangrove.base.errors import InvalidInput, MangroveError, NotFound, Unavailable
from mangrove.client.documents import Service
from mangrove.model.phases import Phase
from mangrove.model.pull import Pull, pull_in

_Value = TypeVar("_Value")

#: Phases in which an instance does what is wanted of it.
_WELL = frozenset({Phase.RUNNING, Phase.COMPLETED})

#: What `wait_for_services` can wait for.
CONDITIONS = ("running", "completed", "stopped", "deleted")


class TimedOut(MangroveError):
    """What was waited for did not happen in time."""


class Failed(MangroveError):
    """What was waited for will not happen by itself."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. done, total: instances. doing: what the others do, for a person. pulls: images on their way."""

    done: int
    total: int
    doing: str = ""
    pulls: tuple[Pull, ...] = ()


def wait_until(
    condition: Callable[[], _Value], timeout: float, *, what: str, interval: float = 0.1, longest: float = 1.0
) -> _Value:
    """Ask `condition` until it gives something true, and return that.

    timeout: seconds in all. what: what is waited for, for the message. The pause between two questions grows from
    `interval` to `longest` seconds. While a parent is unavailable it is asked again. Raises TimedOut.
    """
    deadline = monotonic() + timeout
    last = ""
    while True:
        try:
            value = condition()
            if value:
                return value
            last = ""
        except Unavailable as error:
            last = f" ({error.message})"
        left = deadline - monotonic()
        if left <= 0:
            raise TimedOut(f"waited {timeout:g} s for {what}{last}")
        sleep(min(interval, left))
        interval = min(interval * 1.5, longest)


def wait_for_services(
    look: Callable[[str], Service],
    services: Iterable[str],
    condition: str,
    *,
    timeout: float,
    progress: Callable[[str, Progress], None] = lambda service, progress: None,
) -> None:
    """Wait until services are as wanted. look: gives the service with an id; services: their ids.

    condition: `running`: all wanted instances run, or have completed, by the newest specification; `completed`: all
    have completed; `stopped`: it has no instance any more; `deleted`: it is not there any more. timeout: seconds.
    progress: told of each service at each look. Raises TimedOut with what the instances do, Failed when a roll-out has
    stopped by itself, NotFound, InvalidInput for another condition.
    """
    if condition not in CONDITIONS:
        raise InvalidInput("condition", f"{condition!r} is none of {', '.join(CONDITIONS)}")
    waiting = dict.fromkeys(services, Progress(0, 0))

    def there() -> bool:
        for id in list(waiting):
            try:
                service = look(id)
            except NotFound:
                if condition != "deleted":
                    raise
                progress(id, Progress(1, 1))
                del waiting[id]
                continue
            waiting[id] = now = progress_of(service, condition)
            progress(id, now)
            if condition in ("running", "completed") and service.rollout.state == "stopped":
                raise Failed(f"the roll-out of {service.name} has stopped: {service.rollout.reason}")
            if condition != "deleted" and now.done == now.total and (now.total > 0 or condition == "stopped"):
                del waiting[id]
        return not waiting

    try:
        wait_until(there, timeout, what=f"all to be {condition}")
    except TimedOut as error:
        left = "; ".join(f"{each.done} of {each.total} are, {each.doing}".rstrip(", ") for each in waiting.values())
        raise TimedOut(f"{error.message}: {left}") from None


def progress_of(service: Service, condition: str = "running") -> Progress:
    """How many of a service's instances are as wanted, and what the others do."""
    instances = service.instances
    if condition in ("stopped", "deleted"):
        return Progress(0, len(instances), f"{len(instances)} are still there") if instances else Progress(0, 0)
    well = {Phase.COMPLETED} if condition == "completed" else _WELL
    good = [each for each in instances if each.phase in well]
    done = len(good)
    if service.rollout.total:
        done = min(done, service.rollout.updated)
    counted = Counter(each.phase.value for each in instances if each.phase not in well)
    doing = [f"{count} {phase}" for phase, count in sorted(counted.items())]
    reasons = {each.reason for each in instances if each.phase not in well and each.reason}
    pulls = tuple(pull for reason in sorted(reasons) if (pull := pull_in(reason)) is not None)
    if len(reasons) == 1:
        doing.append(next(iter(reasons)))
    return Progress(done, len(instances), ", ".join(doing), pulls)
