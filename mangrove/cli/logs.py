"""`mangrove logs`: what instances print, one or many at once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import SimpleQueue
from typing import Literal

import click
import msgspec

from mangrove.base.errors import MangroveError, NotFound
from mangrove.cli import complete
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import output_option
from mangrove.client import names
from mangrove.client.logs import LogLine, read_logs
from mangrove.client.root import RootClient

#: Instances that are read at once: as many streams as the root gives one user.
_AT_ONCE = 8
#: Of the prefixes, one after the other.
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")


class _Named(msgspec.Struct, frozen=True):
    """An instance. name: for people."""

    id: str
    name: str


class _JsonLine(msgspec.Struct):
    """A line as a document: that of the API, and whose it is."""

    instance: str
    time: float
    stream: str
    line: str
    position: str


@click.command()
@click.argument("instance", shell_complete=complete.instance)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on, until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(0, 1_000_000), help="Only the last so many lines that are there.")
@click.option("--since", default="", metavar="TIME", help="Only lines since then: `10m`, `2h`, or a line's position.")
@click.option("-t", "--timestamps", is_flag=True, help="Say when each line was there.")
@output_option
@root_options
def logs(
    root: RootOptions,
    instance: str,
    follow: bool,
    tail: int | None,
    since: str,
    timestamps: bool,
    output: Literal["table", "json"],
) -> None:
    """Read what instances print.

    INSTANCE is `application.service` or `service` for all instances of a service, `application.service.NUMBER` or
    `service.NUMBER` for one of them, or the id of an instance.
    """
    client = root.connect()
    wanted = _wanted(client, instance)
    if len(wanted) > _AT_ONCE:
        click.echo(f"There are {len(wanted)} instances; these are the first {_AT_ONCE}.", err=True)
        wanted = wanted[:_AT_ONCE]

    def read(one: _Named, show: Callable[[LogLine], None]) -> None:
        def broke(why: str) -> None:
            click.echo(f"{one.name}: {why}; trying again", err=True)

        for line in read_logs(client, one.id, tail=tail, since=since, follow=follow, on_break=broke):
            show(line)

    try:
        if len(wanted) == 1:
            read(wanted[0], _shower(wanted[0], output, timestamps, prefix=""))
        else:
            _all_at_once(wanted, output, timestamps, read)
    except BrokenPipeError:  # as with `| head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _all_at_once(
    wanted: Sequence[_Named],
    output: Literal["table", "json"],
    timestamps: bool,
    read: Callable[[_Named, Callable[[LogLine], None]], None],
) -> None:
    """Read all of them, each in a thread, and show their lines as they come. Raises the last error when all failed."""
    lines: SimpleQueue[Callable[[], None] | MangroveError | None] = SimpleQueue()
    room = threading.BoundedSemaphore(1000)  # lines that wait to be shown: a slow terminal holds up what is read
    width = max(len(one.name) for one in wanted)

    def run(one: _Named, show: Callable[[LogLine], None]) -> None:
        def put(line: LogLine) -> None:
            room.acquire()
            lines.put(lambda: show(line))

        try:
            read(one, put)
            lines.put(None)
        except MangroveError as error:
            click.echo(f"{one.name}: {error.message}", err=True)
            lines.put(error)

    for number, one in enumerate(wanted):
        prefix = click.style(f"{one.name:<{width}} | ", fg=_COLOURS[number % len(_COLOURS)])
        shower = _shower(one, output, timestamps, prefix)
        threading.Thread(target=run, args=(one, shower), daemon=True).start()
    left, errors = len(wanted), list[MangroveError]()
    while left:
        item = lines.get()
        if item is None or isinstance(item, MangroveError):
            left -= 1
            errors += [] if item is None else [item]
        else:
            room.release()
            item()
    if len(errors) == len(wanted):
        raise errors[-1]


def _shower(one: _Named, output: Literal["table", "json"], timestamps: bool, prefix: str) -> Callable[[LogLine], None]:
    def as_json(line: LogLine) -> None:
        document = _JsonLine(one.id, line.time, line.stream, line.line, line.position)
        click.echo(msgspec.json.encode(document))

    def as_text(line: LogLine) -> None:
        when = f"{datetime.fromtimestamp(line.time).astimezone():%Y-%m-%d %H:%M:%S.%f%z} " if timestamps else ""
        text = click.style(line.line, dim=True) if line.stream == "mangrove" else line.line
        click.echo(f"{prefix}{when}{text}")

    return as_json if output == "json" else as_text


def _wanted(client: RootClient, text: str) -> list[_Named]:
    """The instances that are meant. Raises NotFound, Conflict."""
    _, dot, number = text.rpartition(".")
    if dot and number.isdecimal():
        return [_Named(names.instance(client, text).id, text)]
    service = names.service(client, text)
    whole = f"{client.application(service.application).name}.{service.name}"
    found = client.service(service.id).instances
    if not found:
        raise NotFound(f"no instance of {whole} is wanted: `mangrove service scale` changes how many are")
    return [_Named(f"{service.id}.{each.number}", f"{whole}.{each.number}") for each in found]
