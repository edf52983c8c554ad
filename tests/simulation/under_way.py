"""What the tree is busy with at a moment, by what is really so in stores and on nodes, whatever anybody believes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: deploy: a slot was given to a child, and runs nowhere, nor is an earlier attempt of it left. move: a slot has a new
#: attempt while an earlier one is left. delete: a slot is stopped, and is still there. take-over: a parent is dead, or
#: has started and not yet heard all of its children that it can hear. return: a child that lives and gets through to
#: its parent is not told yet what it shall run.
WHAT = ("deploy", "move", "delete", "take-over", "return")


def under_way(tree: Tree) -> set[str]:
    """Which of these are going on just now."""
    found: set[str] = set()
    _slots(tree, found)
    for parent in tree.parents:
        if not parent.alive:
            if not parent.buried:
                found.add("take-over")
            continue
        for child in tree.children_of(parent):
            if child.alive and tree.connected(child):
                if child.child_link.state != "settled":
                    found.add("return")
                peer = parent.parent.link.peers.get(child.identity.id)
                if peer is not None and not peer.hello:  # not one word of it since the parent started
                    found.add("take-over")
    return found


def _slots(tree: Tree, found: set[str]) -> None:
    store, decided = tree.root.true_store, tree.watch.decided
    running, _ = tree.watch.running_for()
    placements = decided.placements(store)
    for id, desired in decided.slots(store).items():
        if desired == "stop":
            found.add("delete")
            continue
        placement = placements.get(id)
        if placement is None or placement.current is None or placement.final is not None:
            continue
        if placement.leaving:
            found.add("move")
        elif id not in running:
            found.add("deploy")
    for cluster in tree.clusters:
        if any(placed.leaving and placed.current for placed in decided.placements(cluster.true_store).values()):
            found.add("move")
