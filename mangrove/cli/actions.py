"""`mangrove scale`, `undeploy`, `wait`, `explain`, `events`, and `service update`."""

from __future__ import annotations

from typing import IO, Any

import click

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.cli import complete
from mangrove.cli.failures import printable
from mangrove.cli.nouns import service as service_group
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, confirm, confirm_option, output_option, print_json, print_json_line
from mangrove.cli.plan import declared_fields, one_service
from mangrove.cli.sla_files import read_sla
from mangrove.cli.waiting import timeout_option, wait_for, wait_option
from mangrove.client import names
from mangrove.client.documents import Event
from mangrove.client.root import RootClient
from mangrove.client.wait import CONDITIONS

#: Events that are looked through for those about one thing: the most that a root gives at once.
_MOST = 1000


@click.command()
@click.argument("name", shell_complete=complete.service)
@click.argument("instances", type=click.IntRange(0, 1000))
@wait_option
@timeout_option
@output_option
@root_options
def scale(root: RootOptions, name: str, instances: int, wait: bool, timeout: float, output: Format) -> None:
    """Run so many instances of a service.

    NAME is application.service. Instances that do not run are removed first, then those with the highest numbers.
    """
    client = root.connect()
    found = names.service(client, name)
    done = client.scale(found.id, instances)
    if output == "json":
        print_json(done)
    else:
        told = [
            f"{what} {_numbers(those)}" for what, those in (("added", done.added), ("removed", done.removed)) if those
        ]
        click.echo(f"{name}: {done.instances} wanted; {' and '.join(told) or 'nothing to do'}")
    if wait:
        wait_for(client, {name: found.id}, "running" if instances else "stopped", timeout)


@click.command()
@click.argument("name", shell_complete=complete.application_or_service)
@confirm_option
@wait_option
@timeout_option
@root_options
def undeploy(root: RootOptions, name: str, yes: bool, wait: bool, timeout: float) -> None:
    """Stop instances for good; what is declared stays.

    NAME is an application, application.service, or application.service.3 for one instance.
    """
    client = root.connect()
    services, number = _meant(client, name)
    if number is not None:
        [(service, id)] = services.items()
        client.undeploy(id, number)
        click.echo(f"{service}.{number} is stopped.", err=True)
        return
    confirm(yes, f"Stop all instances of {', '.join(services) or name}?")
    for id in services.values():
        client.scale(id, 0)
    click.echo(f"All instances of {name} are stopped.", err=True)
    if wait:
        wait_for(client, services, "stopped", timeout)


@click.command()
@click.argument("name", nargs=-1, required=True, shell_complete=complete.application_or_service)
@click.option(
    "--for",
    "condition",
    type=click.Choice(CONDITIONS),
    default="running",
    show_default=True,
    help="What to wait for: all instances run (by the newest specification), are completed or gone, or it is deleted.",
)
@timeout_option
@root_options
def wait(root: RootOptions, name: tuple[str, ...], condition: str, timeout: float) -> None:
    """Wait until services are as wanted.

    Each NAME is an application, or application.service. Ends with 6 when that took too long, and with 1 when it will
    not happen by itself, since a roll-out has stopped.
    """
    client = root.connect()
    services: dict[str, str] = {}
    for each in name:
        try:
            found, number = _meant(client, each)
        except NotFound:
            if condition != "deleted":
                raise
            continue
        if number is not None:
            raise InvalidInput("NAME", f"{each!r} is one instance: name its service")
        services |= found
    wait_for(client, services, condition, timeout)


@click.command()
@click.argument("name", required=False, shell_complete=complete.service)
@click.option("-f", "--file", type=click.File("rb"), metavar="FILE", help="An SLA that is not deployed yet.")
@click.option(
    "-n", "--instances", type=click.IntRange(1, 1000), default=1, show_default=True, help="Of each service in FILE."
)
@output_option
@root_options
def explain(root: RootOptions, name: str | None, file: IO[bytes] | None, instances: int, output: Format) -> None:
    """Say why the instances of a service are where they are, or nowhere.

    NAME is application.service. With --file, say where the services of an SLA would run, beside what runs already, and
    what does not fit; nothing is deployed. FILE is JSON or YAML; `-` reads it from standard input.
    """
    if (name is None) == (file is None):
        raise InvalidInput("NAME", "name a service, or a file by --file: one of them")
    client = root.connect()
    if file is not None:
        told = client.try_out(read_sla(file), instances)
        lines = tried(told)
    else:
        told = client.explain(names.service(client, name or "").id)
        lines = explained(name or "", told)
    if output == "json":
        print_json(told)
        return
    for line in lines:
        click.echo(printable(line))


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on, and show events as they happen.")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many to begin with."
)
@click.option("--about", metavar="NAME", help="Of this service, instance, cluster or node alone.")
@click.option("--kind", metavar="KIND", default="", help="Of this kind alone, such as placed or moved.")
@output_option
@root_options
def events(root: RootOptions, follow: bool, lines: int, about: str | None, kind: str, output: Format) -> None:
    """Show what has happened, the newest last.

    With `-o json` each event is one line.
    """
    client = root.connect()
    subject = _subject(client, about) if about else ""
    newest = client.events(limit=_MOST if subject else lines, kind=kind)
    for event in [each for each in newest if _is_about(each, subject)][-lines:]:
        _show(event, output)
    if follow:
        for event in client.follow_events(after=newest[-1].id if newest else "", kind=kind):
            if _is_about(event, subject):
                _show(event, output)


@service_group.command("update")
@click.argument("name", shell_complete=complete.service)
@click.option("--code", metavar="TEXT", help="The image, or a process's executable.")
@click.option("--memory", type=int, metavar="MIB", help="MiB that each instance gets.")
@click.option("--vcpus", type=int, metavar="CORES", help="Cores that are reserved for each instance.")
@click.option("--priority", type=int, metavar="NUMBER", help="How important it is, from -100 to 100.")
@click.option("--port", metavar="PORTS", help="Published ports, as host:container; several separated by `;`.")
@click.option(
    "--env", multiple=True, metavar="KEY=VALUE", help="Set a variable; `KEY=` alone takes it away. Repeatable."
)
@wait_option
@timeout_option
@root_options
def update(
    root: RootOptions,
    name: str,
    code: str | None,
    memory: int | None,
    vcpus: int | None,
    priority: int | None,
    port: str | None,
    env: tuple[str, ...],
    wait: bool,
    timeout: float,
) -> None:
    """Change the service NAME, and replace its instances one after another.

    It stops at the first new instance that does not run. `mangrove deploy FILE` does the same from a file.
    """
    given = {"code": code, "memory": memory, "vcpus": vcpus, "priority": priority, "port": port}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if not changes and not env:
        raise InvalidInput("", "nothing to change is named: see `mangrove service update --help`")
    client = root.connect()
    found = names.service(client, name)
    declared = declared_fields(client.declaration(found.id))
    if env:
        changes["environment"] = with_variables(declared.get("environment", []), env)
    client.update_service(found.id, one_service(client.application(found.application), {**declared, **changes}))
    click.echo(f"{name} is changed; its instances are replaced one after another.", err=True)
    if wait:
        wait_for(client, {name: found.id}, "running", timeout)


service_group.add_command(scale)


def with_variables(before: list[str], given: tuple[str, ...]) -> list[str]:
    """Environment variables with some set or, by an empty value, taken away. Raises InvalidInput."""
    kept = dict(each.partition("=")[::2] for each in before)
    for each in given:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise InvalidInput("--env", f"{each!r} is not KEY=VALUE")
        kept.pop(name, None)
        if value:
            kept[name] = value
    return [f"{name}={value}" for name, value in kept.items()]


def explained(name: str, told: dict[str, Any]) -> list[str]:
    """What the root says of where instances of a service are, as lines for a person."""
    lines = []
    for slot in told["slots"]:
        lines.append(f"{name}.{slot['number']}  {slot['phase'].upper()}  {slot['text']}")
        if slot["choice"] is not None:
            lines += [f"  {line}" for line in _choice(slot["choice"])]
    if told.get("without"):
        lines += ["Nodes without one:", *(f"  {_node(each)}: {each['text']}" for each in told["without"])]
    if told.get("mode") == "global":
        return lines or [f"{name} is a system service, and no cluster has a node yet"]
    lines += ["One more instance:", *(f"  {line}" for line in _choice(told["choice"]))]
    return [*lines, *(f"  {line}" for line in _displaces(told.get("displaces", [])))]


def _node(told: dict[str, Any]) -> str:
    return f"{told['node']} of {told['cluster']}" if told["node"] else str(told["cluster"])


def tried(told: dict[str, Any]) -> list[str]:
    """What the root says of where services would run, as lines for a person."""
    lines = []
    for service in told["services"]:
        where = ", ".join(f"{each['instances']} on {each['name']}" for each in service["clusters"])
        fits = f"{service['placed']} of {service['wanted']} would run"
        lines.append(f"{service['name']}  {fits}{where and f': {where}'}")
        lines += [f"  {line}" for line in _choice(service["missing"] or service["choice"])]
        if service.get("displacing"):
            lines.append(f"  {service['displacing']} of them only if what is less important makes room")
        lines += [f"  {line}" for line in _displaces(service.get("displaces", []))]
    return [*lines, told["note"][0].upper() + told["note"][1:] + "."]


def _displaces(displaced: list[dict[str, Any]]) -> list[str]:
    """Who would make room."""
    return [
        f"would displace {_whom(each)} (priority {each['priority']}) from {each['node']} of {each['cluster']}"
        for each in displaced
    ]


def _whom(displaced: dict[str, Any]) -> str:
    return f"{displaced['name']}.{displaced['number']}" if displaced["name"] else "an instance of somebody else"


def _choice(choice: dict[str, Any]) -> list[str]:
    """What placement would do, one condition after the other."""
    lines = [f"{each['condition']} rules out {each['ruled_out']}: {each['text']}" for each in choice["conditions"]]
    best = ", ".join(f"{each['name']} ({each['score']:.3g})" for each in choice["best"])
    return [
        *lines,
        f"{choice['passed']} of {choice['clusters']} clusters could take it" + (f"; best: {best}" if best else ""),
    ]


def _meant(client: RootClient, name: str) -> tuple[dict[str, str], int | None]:
    """Services (ids by name) that a name stands for, and the number when it names one instance."""
    parts = name.split(".")
    if parts[-1].isdecimal() and len(parts) > 1 and len(parts[-1]) <= 9:
        service = names.service(client, ".".join(parts[:-1]))
        return {".".join(parts[:-1]): service.id}, int(parts[-1])
    if len(parts) == 1:
        try:
            application = names.application(client, name)
        except NotFound:
            pass
        else:
            return {f"{application.name}.{each.name}": each.id for each in client.services(application.id)}, None
    return {name: names.service(client, name).id}, None


def _subject(client: RootClient, about: str) -> str:
    """The id of what is named so, of whatever kind it is."""
    for find in (names.instance, names.service, names.cluster, names.node):
        try:
            return find(client, about).id
        except NotFound:
            continue
    raise NotFound(f"there is no service, instance, cluster or node {about!r}")


def _is_about(event: Event, subject: str) -> bool:
    """Whether an event is about a thing, or about an instance of it; about all when none is named."""
    return not subject or event.subject == subject or event.subject.startswith(f"{subject}.")


def _show(event: Event, output: Format) -> None:
    if output == "json":
        print_json_line(event)
        return
    from mangrove.cli.tables import console, event_line

    console().print(event_line(event), soft_wrap=True)


def _numbers(those: tuple[int, ...]) -> str:
    return ", ".join(map(str, those))
