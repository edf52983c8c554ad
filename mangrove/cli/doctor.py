"""`mangrove doctor`: what keeps Mangrove from working here, and what to do."""

from __future__ import annotations

from importlib.util import find_spec

import click

from mangrove.base.errors import MangroveError
from mangrove.cli import checks
from mangrove.cli.checks import Finding
from mangrove.cli.failures import Code, printable
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_json, print_table

#: How each state is shown.
_SHOWN = {"well": "[green]ok[/]", "note": "[yellow]note[/]", "trouble": "[red]trouble[/]"}


@click.command()
@click.option("--offline", is_flag=True, help="Look at this machine alone, and ask no root.")
@output_option
@root_options
def doctor(root: RootOptions, offline: bool, output: Format) -> None:
    """Look for what keeps Mangrove from working here, and say what to do.

    Looks at this machine (broker, ports, kernel, container engines, disk, memory) and at the root that commands would
    talk to (reachable, clock, broker, login). Ends with 1 when there is trouble; notes are no trouble.
    """
    found = list(checks.of_machine(root.folder))
    if not offline:
        found += _of_root(root)
    if output == "json":
        print_json(found)
    else:
        _print(found)
    if any(each.state == "trouble" for each in found):
        raise click.exceptions.Exit(Code.FAILED)


def _of_root(root: RootOptions) -> list[Finding]:
    try:
        place = root.place()
        found = list(checks.of_root(place.client(), place.session is not None))
        if place.assumed and found[0].state == "trouble":
            advice = "`mangrove up` makes one here; `mangrove login ADDRESS` names another"
            return [Finding("root", "note", f"none is known, and none answers at {place.root}", advice)]
        return found
    except MangroveError as error:
        return [Finding("root", "trouble", error.message, "mangrove login")]


def _print(found: list[Finding]) -> None:
    if find_spec("rich") is None:  # a device has no need of tables, but of a doctor
        for each in found:
            said = (each.check, each.state, each.found, each.advice)
            click.echo(printable(": ".join(filter(None, said))))
        return
    from mangrove.cli.tables import plain, table

    shown = table("", "check", "state", "found", "what to do")
    for each in found:
        shown.add_row(each.check, _SHOWN[each.state], plain(each.found), plain(each.advice))
    print_table(shown)
