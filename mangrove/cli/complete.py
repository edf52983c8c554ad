"""What a shell offers for a name that is being typed: what the root has, when it answers at once, else nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mangrove.cli import contexts, setups
from mangrove.cli.options import RootOptions
from mangrove.client.root import RootClient

#: Seconds that a root has to answer somebody who has pressed a key.
_PATIENCE = 1.5

_Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _applications(root: RootClient) -> Iterable[str]:
    return (each.name for each in root.applications())


def _services(root: RootClient) -> Iterable[str]:
    names = {each.id: each.name for each in root.applications()}
    return (f"{names[each.application]}.{each.name}" for each in root.services() if each.application in names)


def _instances(root: RootClient) -> Iterable[str]:
    names = {each.id: each.name for each in root.applications()}
    services = {each.id: f"{names.get(each.application)}.{each.name}" for each in root.services()}
    return (f"{services[each.service]}.{each.number}" for each in root.instances() if each.service in services)


def _both(root: RootClient) -> Iterable[str]:
    return [*_applications(root), *_services(root)]


def _clusters(root: RootClient) -> Iterable[str]:
    return (each.name for each in root.clusters())


def _nodes(root: RootClient) -> Iterable[str]:
    return (each.name for each in root.nodes())


def _from_root(find: Callable[[RootClient], Iterable[str]]) -> _Complete:
    def complete(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            client = _options(ctx).quiet_client(_PATIENCE)
            return _fitting(find(client), typed) if client is not None else []
        except Exception:  # whatever it is: a message in the middle of somebody's typing helps nobody
            return []

    return complete


def _from_contexts(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    try:
        return _fitting(contexts.load().contexts, typed)
    except Exception:  # as above
        return []


application, service, instance = _from_root(_applications), _from_root(_services), _from_root(_instances)
application_or_service, cluster, node = _from_root(_both), _from_root(_clusters), _from_root(_nodes)
context: _Complete = _from_contexts


def _options(ctx: click.Context) -> RootOptions:
    """What has been typed so far of the root to talk to."""
    given = ctx.params
    folder = given.get("folder")
    return RootOptions(
        given.get("root"),
        given.get("user"),
        given.get("password"),
        folder if isinstance(folder, Path) else setups.DEFAULT_FOLDER.expanduser(),
        given.get("context"),
    )


def _fitting(names: Iterable[str], typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(typed)]
