"""Which commands there are, and where each is: known without loading one, so that `mangrove --help` is quick.

What belongs to a program, or to somebody's plug-in, comes as an entry point of the group `mangrove.commands` instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

#: The group of entry points.
GROUP = "mangrove.commands"

#: Commands that are extras of the package too.
EXTRAS = ("root", "cluster", "node", "net")

#: Modules that come with the extra `cli`, which a device that only joins and runs does without.
OF_CLI = ("rich", "yaml")

#: The section of what is not in the table.
OTHERS = "More"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    target: `module:attribute`, empty when it comes with a program. help: its first line, which a test holds against
    the command's own.
    """

    section: str
    target: str
    help: str


def _section(title: str, **commands: tuple[str, str]) -> dict[str, Entry]:
    return {name: Entry(title, target, help) for name, (target, help) in commands.items()}


_HERE = "mangrove.cli."

#: By name, in the order in which they are listed.
COMMANDS: dict[str, Entry] = {
    **_section(
        "On this machine",
        demo=(_HERE + "demo:demo", "Show it all on this machine, with a node that dies."),
        up=(_HERE + "up:up", "Start a root, clusters and nodes in the background of this machine."),
        down=(_HERE + "up:down", "Stop the set-up in the folder, and all that its nodes run."),
        doctor=(_HERE + "doctor:doctor", "Look for what keeps Mangrove from working here, and say what to do."),
    ),
    **_section(
        "What shall run",
        init=(_HERE + "init:init", "Write a commented SLA to begin with."),
        deploy=(_HERE + "deploy:deploy", "Run what an SLA declares."),
        diff=(_HERE + "deploy:diff", "Show what `deploy` would change."),
        scale=(_HERE + "actions:scale", "Run so many instances of a service."),
        undeploy=(_HERE + "actions:undeploy", "Stop instances for good; what is declared stays."),
        wait=(_HERE + "actions:wait", "Wait until services are as wanted."),
    ),
    **_section(
        "What runs",
        app=(_HERE + "nouns:app", "List, show and delete applications."),
        service=(_HERE + "actions:service_group", "List, show, scale, update and delete services."),
        instance=(_HERE + "nouns:instance", "List and show instances."),
        top=(_HERE + "top:top", "Watch the tree: clusters, their nodes, and what runs there."),
        logs=(_HERE + "logs:logs", "Read what instances print."),
        events=(_HERE + "actions:events", "Show what has happened, the newest last."),
        adopted=(
            _HERE + "adopted:adopted",
            "List what runs though a restored store did not know it; keep or drop it.",
        ),
        rebalance=(_HERE + "rebalance:rebalance", "Move what runs to better places."),
        explain=(_HERE + "actions:explain", "Say why the instances of a service are where they are, or nowhere."),
    ),
    **_section(
        "Which root, and as whom",
        login=(_HERE + "access:login", "Log in to a root and remember it as a context."),
        logout=(_HERE + "access:logout", "Forget the login to a root."),
        context=(_HERE + "access:context", "Choose among several roots."),
        token=(_HERE + "access:token", "Print an access token for the REST API."),
        user=(_HERE + "people:user", "List, create, change and delete users."),
        org=(_HERE + "people:org", "List, create and delete organizations."),
    ),
    **_section(
        "Programs",
        root=("", "Run a root orchestrator."),
        cluster=("", "List clusters, let one join, run one."),
        node=("", "List nodes; join, run and look at the one on this machine."),
        net=("", "Look at the network between services, from this node and as a whole, and run the netmanager."),
    ),
    **_section(
        "The command itself",
        completion=(_HERE + "completion:completion", "Print what completes commands in a shell."),
        version=(_HERE + "access:version", "Show the versions of this command and of the root."),
    ),
}


def walk(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, each with its path. Loads what it meets, and nothing else."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1] if path else None)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from walk(below, *path, name)
