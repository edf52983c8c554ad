"""`mangrove deploy` and `diff`: an SLA in a file, and what the root has of it."""

from __future__ import annotations

from typing import IO, Any

import click

from mangrove.cli.failures import Code
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_json
from mangrove.cli.plan import ApplicationPlan, Change, Declared, ServicePlan, declared_in, one_service, plan_for
from mangrove.cli.sla_files import read_sla
from mangrove.cli.waiting import timeout_option, wait_for, wait_option
from mangrove.client.documents import Application
from mangrove.client.root import RootClient
from mangrove.model.validation import shown

file_argument = click.argument("file", type=click.File("rb"))


@click.command()
@file_argument
@click.option("--prune", is_flag=True, help="Delete services of these applications that FILE does not declare.")
@wait_option
@timeout_option
@output_option
@root_options
def deploy(root: RootOptions, file: IO[bytes], prune: bool, wait: bool, timeout: float, output: Format) -> None:
    """Run what an SLA declares.

    FILE is JSON or YAML; `-` reads it from standard input. Applications and services that are not there are created,
    those that FILE declares otherwise are changed, their instances replaced one after another. A service that has no
    instance gets one; the number of instances stays as it is otherwise. A system service (`mode: global`) gets one on
    each node that it matches, by itself. `mangrove diff` shows first what would change.
    """
    sla = read_sla(file)
    client = root.connect()
    plans = plan_for(client, sla)
    deployed: dict[str, str] = {}
    results = []
    for plan, declared in zip(plans, declared_in(sla), strict=True):
        application = _carry_out(client, plan, declared, sla)
        services = {(each.name, each.namespace): each.id for each in client.services(application.id)}
        started = []
        for each in plan.services:
            id = services[each.name, each.namespace]
            deployed[f"{plan.name}.{each.name}"] = id
            if each.instances == 0 and not each.everywhere:
                client.scale(id, 1)
                started.append(each.name)
            if output == "table":
                click.echo(f"{plan.name}.{each.name}: {_said(each, each.name in started)}")
        results.append(
            {"name": plan.name, "id": application.id, "action": plan.action, "services": services_of(plan, services)}
        )
        for each in plan.left:
            if prune:
                client.delete_service(each.id)
            if output == "table":
                said = "deleted" if prune else "not in the file; it stays (--prune deletes it)"
                click.echo(f"{plan.name}.{each.name}: {said}")
    if wait:
        wait_for(client, deployed, "running", timeout)
    if output == "json":
        print_json(results)
    elif not wait:
        click.echo("`mangrove instance list` shows what becomes of it, `mangrove wait` waits for it.", err=True)


@click.command()
@file_argument
@click.option("--exit-code", is_flag=True, help="End with 7 when something would change.")
@output_option
@root_options
def diff(root: RootOptions, file: IO[bytes], exit_code: bool, output: Format) -> None:
    """Show what `deploy` would change.

    FILE is JSON or YAML; `-` reads it from standard input.
    """
    plans = plan_for(root.connect(), read_sla(file))
    if output == "json":
        print_json(plans)
    else:
        for plan in plans:
            for line in _lines(plan):
                click.echo(line)
        if all(plan.is_empty for plan in plans):
            click.echo("Nothing would change.", err=True)
    if exit_code and not all(plan.is_empty for plan in plans):
        raise click.exceptions.Exit(Code.DIFFERENT)


def services_of(plan: ApplicationPlan, ids: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    """What became of the services of a plan, as JSON."""
    return [
        {"name": each.name, "id": ids[each.name, each.namespace], "action": each.action, "changes": each.changes}
        for each in plan.services
    ]


def _carry_out(client: RootClient, plan: ApplicationPlan, declared: Declared, sla: dict[str, Any]) -> Application:
    """Create or change an application and its services; nothing is started."""
    if plan.action == "create":
        [made] = client.create_applications({**sla, "applications": [declared.raw]})
        return made
    if plan.changes:
        client.change_application(plan.id, {each.field: each.after for each in plan.changes})
    application = client.application(plan.id)
    for each, raw in zip(plan.services, declared.services, strict=True):
        if each.action == "create":
            client.add_services(one_service(application, raw))
        elif each.action == "change":
            client.update_service(each.id, one_service(application, raw))
    return application


def _said(plan: ServicePlan, started: bool) -> str:
    what = {
        "create": "created",
        "change": f"changed ({', '.join(each.field for each in plan.changes)})",
        "none": "unchanged",
    }[plan.action]
    if plan.action == "change" and plan.instances:
        what += f"; {'1 instance is' if plan.instances == 1 else f'{plan.instances} instances are'} replaced"
    if plan.action == "create" and plan.everywhere:
        what += "; each node that it matches gets an instance"
    return f"{what}; instance requested" if started else what


def _lines(plan: ApplicationPlan) -> list[str]:
    sign = {"create": "+", "change": "~", "none": " "}
    lines = [f"{sign[plan.action]} {plan.name}", *_changes(plan.changes)]
    for each in plan.services:
        lines += [f"{sign[each.action]} {plan.name}.{each.name}", *_changes(each.changes)]
    lines += [f"  {plan.name}.{each.name} (not in the file; it stays)" for each in plan.left]
    return lines if not plan.is_empty or plan.left else []


def _changes(changes: tuple[Change, ...]) -> list[str]:
    return [f"    {each.field}: {shown(each.before)} → {shown(each.after)}" for each in changes]
