"""When a node measures: soon after a start, and all again for a parent that may know nothing."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.attempt import Usage
from node_engine import measuring as module
from node_engine.declared import Declared
from node_engine.measuring import Measuring
from node_engine.telemetry import Telemetry


class Node:
    """A node whose period is longer than any test."""

    def __init__(self, folder: Path) -> None:
        self.session = "first"
        self.told: queue.Queue[dict[str, Usage]] = queue.Queue()
        self.measuring = Measuring(
            Telemetry(folder),
            {},
            SystemClock(),
            declared=Declared({}),
            running=dict,
            period=lambda: 1000.0,
            session=lambda: self.session,
            tell=self.told.put,
            on_capacity=lambda: None,
        )

    def next(self) -> set[str]:
        """Of what it tells at its next measurement."""
        return set(self.told.get(timeout=30))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(module, "_SOON", 0.01)
    monkeypatch.setattr("node_engine.telemetry.dead_band._PERCENT", 1000.0)
    monkeypatch.setattr("node_engine.telemetry.dead_band._BYTES", 2**60)
    node = Node(tmp_path)
    node.measuring.start()
    yield node
    node.measuring.stop()


def test_a_start_is_measured_soon_and_once_more_for_its_processor_time(node: Node) -> None:
    node.measuring.soon()
    assert [node.next(), node.next()] == [{""}, set()]  # what did not move is not told again
    with pytest.raises(queue.Empty):
        node.told.get(timeout=0.2)
    node.measuring.soon()
    assert [node.next(), node.next()] == [set(), set()]


def test_a_new_session_is_told_all_and_none_nothing_new(node: Node) -> None:
    node.measuring.soon()
    assert [node.next(), node.next()] == [{""}, set()]
    node.session = ""
    node.measuring.soon()
    assert [node.next(), node.next()] == [set(), set()]
    node.session = "second"
    node.measuring.soon()
    assert [node.next(), node.next()] == [{""}, set()]
