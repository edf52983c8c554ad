"""`mangrove cluster` and `node`: `cordon` and `drain`, and to undo them."""

from __future__ import annotations

import pytest

from mangrove.model.documents import IDENTITIES, Identity
from tests.root_api import CLUSTER, NODE, RootApi
from tests.unit.cli.conftest import CommandLine

#: What is typed, and whether it is then cordoned and drained.
CASES = [
    (("cordon",), (True, False)),
    (("drain",), (True, True)),
    (("cordon", "--undo"), (False, False)),
    (("drain", "--undo"), (False, False)),
]


@pytest.fixture
def root(root: RootApi) -> RootApi:
    root.add_cluster("alpha")
    root.add_node("n1")
    root.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha", cordoned=True))
    root.fleet.answer = {"message": "ok"}
    return root


@pytest.mark.parametrize(("words", "marked"), CASES, ids=lambda value: "-".join(map(str, value)))
def test_a_cluster(cli: CommandLine, root: RootApi, words: tuple[str, ...], marked: tuple[bool, bool]) -> None:
    said = cli("cluster", words[0], "alpha", *words[1:])
    assert said.code == 0, said.error
    stored = root.store.get(IDENTITIES, CLUSTER)
    assert stored is not None
    identity = stored.read(Identity)
    assert (identity.cordoned, identity.drained) == marked
    assert said.error == f"alpha is {'' if marked[0] else 'no longer '}{words[0]}ed.\n"


@pytest.mark.parametrize(("words", "marked"), CASES, ids=lambda value: "-".join(map(str, value)))
def test_a_node_by_its_cluster(
    cli: CommandLine, root: RootApi, words: tuple[str, ...], marked: tuple[bool, bool]
) -> None:
    said = cli("node", words[0], "n1", *words[1:])
    assert said.code == 0, said.error
    wish = {"node": NODE, "cordoned": marked[0], "drain": marked[1]}
    assert root.fleet.calls == [(CLUSTER, "cordon_node", wish)]
    assert said.error == f"n1 is {'' if marked[0] else 'no longer '}{words[0]}ed.\n"


@pytest.mark.parametrize("noun", ["cluster", "node"])
@pytest.mark.parametrize("verb", ["cordon", "drain"])
def test_one_that_is_not_there(cli: CommandLine, root: RootApi, noun: str, verb: str) -> None:
    assert cli(noun, verb, "nowhere").code == 3
    assert root.fleet.calls == []
