"""`drain --wait`: what is left is said until nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from mangrove.cli.waiting import wait_until_empty
from mangrove.client.documents import Instance, Node, Place
from mangrove.client.wait import TimedOut
from mangrove.model.phases import Phase

STAYS = "n1 is drained, and nothing else fits: needs 4 GPUs"


class Root:
    """Answers with one look after the other; the last one stays. looks: reasons of instances, and how many the node
    says that it has."""

    def __init__(self, *looks: tuple[list[str], int]) -> None:
        self.looks = list(looks)
        self.asked: list[dict[str, str]] = []

    def instances(self, **filters: str) -> list[Instance]:
        self.asked.append(filters)
        return [Instance(number, Phase.RUNNING, reason=text) for number, text in enumerate(self.looks[0][0])]

    def node(self, id: str) -> Node:
        looked = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return Node(id, "n1", "live", Place("c"), instances=looked[1])

    def nodes(self, *, cluster: str) -> list[Node]:
        return [self.node("1")]


def test_each_step_is_said_until_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    root: Any = Root((["", ""], 2), ([""], 2), ([], 1), ([], 0))
    wait_until_empty(root, "n1", 30.0, cluster="c", node="n")
    assert capsys.readouterr().err.splitlines() == [
        "n1: 2 left",
        "n1: 1 left, 1 ending",
        "n1: 0 left, 1 ending",
        "n1: 0 left",
    ]
    assert root.asked[0] == {"node": "n"}


def test_a_cluster_is_empty_when_its_nodes_are() -> None:
    root: Any = Root(([], 1), ([], 0))
    wait_until_empty(root, "north", 30.0, cluster="c")
    assert root.asked == [{"cluster": "c"}] * 2


def test_what_stays_says_why_and_is_not_waited_for_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    root: Any = Root(([STAYS, STAYS], 2))
    with pytest.raises(TimedOut) as told:
        wait_until_empty(root, "n1", 0.0, cluster="c", node="n")
    assert str(told.value) == f"waited 0 s for n1 to be empty: 2 left ({STAYS})"
