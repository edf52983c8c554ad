"""`mangrove app`, `service` and `instance`: what users declared, and what became of it."""

from __future__ import annotations

from typing import Any

import click

from mangrove.cli import complete
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, confirm, confirm_option, output_option, print_json, print_list, print_table
from mangrove.client import names
from mangrove.client.documents import Application, Instance, Service
from mangrove.client.root import RootClient
from mangrove.model.network import ServiceAddress

application_option = click.option(
    "--app", "of", metavar="NAME", shell_complete=complete.application, help="Of this application alone."
)


@click.group()
def app() -> None:
    """List, show and delete applications."""


@app.command("list")
@output_option
@root_options
def list_applications(root: RootOptions, output: Format) -> None:
    """List the applications that you may see."""
    client = root.connect()

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import applications_table

        return applications_table(client.read(list[Application], found))

    empty = "There is no application yet: `mangrove deploy FILE` makes one, `mangrove init` writes a FILE."
    print_list(output, client.documents("applications"), shown, empty)


@app.command("show")
@click.argument("name", shell_complete=complete.application)
@output_option
@root_options
def show_application(root: RootOptions, name: str, output: Format) -> None:
    """Show the application NAME and what its services do."""
    client = root.connect()
    found = names.application(client, name)
    if output == "json":
        print_json(client.document("applications", found.id))
        return
    from mangrove.cli.tables import applications_table, services_table

    print_table(applications_table([found]))
    services = list(client.services(found.id))
    if services:
        click.echo()
        print_table(services_table(services, {found.id: found}))


@app.command("delete")
@click.argument("name", shell_complete=complete.application)
@confirm_option
@root_options
def delete_application(root: RootOptions, name: str, yes: bool) -> None:
    """Delete the application NAME with its services, and stop all that runs of it."""
    client = root.connect()
    found = names.application(client, name)
    confirm(yes, f"Delete {found.name} with its {len(found.services)} services?")
    client.delete_application(found.id)
    click.echo(f"{found.name} is deleted.", err=True)


@click.group()
def service() -> None:
    """List, show, scale, update and delete services."""


@service.command("list")
@application_option
@output_option
@root_options
def list_services(root: RootOptions, of: str | None, output: Format) -> None:
    """List services, and how many of their instances run."""
    client = root.connect()
    filters = {"application": names.application(client, of).id} if of else {}

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import services_table

        applications = {each.id: each for each in client.applications()}
        return services_table(client.read(list[Service], found), applications)

    print_list(output, client.documents("services", **filters), shown, "There is no service yet.")


@service.command("show")
@click.argument("name", shell_complete=complete.service)
@output_option
@root_options
def show_service(root: RootOptions, name: str, output: Format) -> None:
    """Show the service NAME: what it runs, and its instances.

    NAME is application.service, or the beginning of its id.
    """
    client = root.connect()
    found = names.service(client, name)
    if output == "json":
        print_json(client.document("services", found.id))
        return
    from mangrove.cli.tables import Row, facts, instances_table

    whole = client.service(found.id)
    parent = client.application(whole.application)
    addresses = " ".join(_address_words(each) for each in client.service_network(found.id).addresses)
    print_table(facts({**_facts_of(whole, parent), "addresses": addresses}))
    if whole.instances:
        click.echo()
        print_table(instances_table(Row(parent, whole, each) for each in whole.instances))


@service.command("delete")
@click.argument("name", shell_complete=complete.service)
@confirm_option
@root_options
def delete_service(root: RootOptions, name: str, yes: bool) -> None:
    """Delete the service NAME, and stop its instances."""
    client = root.connect()
    found = names.service(client, name)
    confirm(yes, f"Delete {name} ({found.id}) with all of its instances?")
    client.delete_service(found.id)
    click.echo(f"{name} is deleted.", err=True)


@click.group()
def instance() -> None:
    """List and show instances."""


@instance.command("list")
@application_option
@click.option("--service", "of_service", metavar="NAME", shell_complete=complete.service, help="Of this service alone.")
@click.option("--node", metavar="NAME", shell_complete=complete.node, help="On this node alone.")
@click.option("--cluster", metavar="NAME", shell_complete=complete.cluster, help="On this cluster alone.")
@click.option("--phase", metavar="PHASE", help="In this phase alone, such as running or pending.")
@output_option
@root_options
def list_instances(
    root: RootOptions,
    of: str | None,
    of_service: str | None,
    node: str | None,
    cluster: str | None,
    phase: str | None,
    output: Format,
) -> None:
    """List instances: whether they run, where, and why not."""
    client = root.connect()
    filters = {
        "application": names.application(client, of).id if of else "",
        "service": names.service(client, of_service).id if of_service else "",
        "node": names.node(client, node).id if node else "",
        "cluster": names.cluster(client, cluster).id if cluster else "",
        "phase": phase.lower() if phase else "",
    }

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import instances_table

        return instances_table(rows(client, client.read(list[Instance], found)))

    print_list(output, client.documents("instances", **filters), shown, "There is no such instance.")


@instance.command("show")
@click.argument("name", shell_complete=complete.instance)
@output_option
@root_options
def show_instance(root: RootOptions, name: str, output: Format) -> None:
    """Show the instance NAME and the attempts before it.

    NAME is application.service.0, with the instance's number.
    """
    client = root.connect()
    found = names.instance(client, name)
    if output == "json":
        print_json(client.document("instances", found.id))
        return
    from mangrove.cli.tables import facts, history_table

    print_table(facts(_facts_of_instance(found, name)))
    if found.history:
        click.echo()
        print_table(history_table(found.history))


def rows(client: RootClient, instances: list[Instance]) -> list[Any]:
    """Instances with what they are called."""
    from mangrove.cli.tables import Row

    applications = {each.id: each for each in client.applications()}
    services = {each.id: each for each in client.services()}
    found = []
    for each in instances:
        of = services.get(each.service)
        parent = applications.get(of.application) if of is not None else None
        if of is not None and parent is not None:  # else it was deleted between two answers
            found.append(Row(parent, of, each))
    return found


def _address_words(address: ServiceAddress) -> str:
    """An address, and how it chooses where that is not in turn."""
    how = f"instance {address.number}" if address.policy == "instance" else address.policy.replace("_", " ")
    return address.address if address.policy == "round_robin" else f"{address.address} ({how})"


def _importance(runs: dict[str, Any]) -> str:
    """How important a service is, when that was said."""
    words = [str(runs["priority"])] if runs.get("priority") else []
    return " ".join([*words, "displaces nobody"] if runs.get("preemption_policy") == "never" else words)


def _facts_of(service: Service, parent: Application) -> dict[str, str]:
    runs = service.specification
    return {
        "service": f"{parent.name}.{service.name}",
        "id": service.id,
        "namespace": service.namespace,
        "owner": service.owner,
        "runs": " ".join([str(runs.get("image", "")), *map(str, runs.get("command", ()))]).strip(),
        "runtime": str(runs.get("runtime", "")),
        "priority": _importance(runs),
        "mode": "global: one on each node that it matches" if service.mode == "global" else service.mode,
        "roll-out": f"{service.rollout.state} {service.rollout.reason}".strip(),
    }


def _facts_of_instance(found: Instance, name: str) -> dict[str, str]:
    from mangrove.cli.tables import moment

    return {
        "instance": name,
        "id": found.id,
        "status": found.phase.value.upper(),
        "since": moment(found.since),
        "reason": found.reason,
        "cluster": found.cluster.name if found.cluster else "",
        "node": found.node.name if found.node else "",
        "address": found.address or "",
        "own address": " ".join(filter(None, (found.ipv4, found.ipv6))),
        "attempt": found.attempt or "",
        "restarts": str(found.restarts),
        "exit code": "" if found.exit_code is None else str(found.exit_code),
    }
