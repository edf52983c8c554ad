"""Who may join whom, at real programs: refused with a sentence by HTTP and by the program's end, kept when accepted."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from mangrove.base.errors import Conflict, InvalidInput, MangroveError, Refused, Unauthorized
from mangrove.client.cluster import ClusterClient, operator_token_in
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.join import join, leave
from mangrove.identity.messages import JoinReply, JoinRequest, Kind, new_join_key
from mangrove.link.messages import PROTOCOL
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Node, Parent, Program, eventually, reconnecting
from tests.e2e.tree import Tree

#: In a Python of its own: runs a program that speaks another protocol than its parent.
_NEWER = "import mangrove.link.messages as m; m.PROTOCOL = {0}; from {1}.main import main; main()"


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes."""
    return plant(lease=5.0).start(alpha=["n1", "n2"])


@dataclass
class Door:
    """A parent as those see it who want to join. kind: what may join it."""

    tree: Tree
    parent: Parent
    kind: Kind

    def token(self, *, ttl: float = 600, uses: int = 1) -> str:
        return self.made(ttl=ttl, uses=uses)[1]

    def made(self, *, ttl: float = 600, uses: int = 1) -> tuple[str, str]:
        """Id and text of a new token."""
        if self.kind == "cluster":
            made = self.tree.client.cluster_token(ttl=ttl, uses=uses)
        else:
            made = self.tree.client.node_token(self.tree.cluster_id("alpha"), ttl=ttl, uses=uses)
        return made.id, made.token

    def revoke(self, id: str) -> None:
        if self.kind == "cluster":
            self.tree.client.revoke_cluster_token(id)
        else:
            self.operator.revoke_node_token(id)

    @property
    def operator(self) -> ClusterClient:
        return ClusterClient(self.parent.address, operator_token_in(self.parent.data))

    def join(self, token: str, name: str, **fields: Any) -> JoinReply:
        request = JoinRequest(token, name, self.kind, (PROTOCOL,), key=new_join_key())
        return join(self.parent.address, msgspec.structs.replace(request, **fields), default_port=1)

    def known(self) -> set[str]:
        """Names of all who have joined."""
        if self.kind == "cluster":
            return {cluster.name for cluster in self.tree.client.clusters()}
        return {node.name for node in self.tree.client.nodes()}

    def program(self, name: str, protocol: int = PROTOCOL) -> Program:
        """A program that wants to join, not started yet."""
        if self.kind == "node":
            program: Program = Node(name, self.tree.folder, self.tree.host, self.parent, "process")
        else:
            program = self.tree.cluster_program(name)
        if protocol != PROTOCOL:
            package = {"cluster": "cluster_orchestrator", "node": "node_engine"}[self.kind]
            program.command[:1] = [sys.executable, "-c", _NEWER.format(protocol, package)]
        self.tree.guests.append(program)
        return program

    def options(self, token: str) -> list[str]:
        return ["--root" if self.kind == "cluster" else "--cluster", self.parent.address, "--token", token]


@pytest.fixture(params=["cluster", "node"])
def door(tree: Tree, request: pytest.FixtureRequest) -> Door:
    kind: Kind = request.param
    return Door(tree, tree.root if kind == "cluster" else tree.clusters["alpha"], kind)


def test_who_may_not_join_is_told_why(door: Door) -> None:
    before = door.known()
    short = door.token(ttl=1)
    expires = time.monotonic() + 1.1
    used = door.token()
    door.join(used, "used")
    revoked_id, revoked = door.made(uses=5)
    door.revoke(revoked_id)
    good = door.token(uses=5)
    other: Kind = "node" if door.kind == "cluster" else "cluster"
    cases: list[tuple[type[MangroveError], str, str, dict[str, Any]]] = [
        (Unauthorized, "this is not a join token: it reads mgv-", "", {}),
        (Unauthorized, "this is not a join token: it reads mgv-", "let me in", {}),
        (Unauthorized, "unknown join token: make one at the parent", f"mgv-{'0' * 24}-{'0' * 32}", {}),
        (Unauthorized, "unknown join token: make one at the parent", good[:-4] + "0000", {}),
        (Unauthorized, "this join token is used up: make a new one", used, {}),
        (Unauthorized, "this join token was revoked: make a new one", revoked, {}),
        (Refused, f"which a {door.kind} may join: a {other} joins a", good, {"kind": other}),
        (Refused, f"this parent speaks protocol {PROTOCOL}, the {door.kind} speaks 99", good, {"protocols": (99,)}),
        (InvalidInput, "name: must be 1 to 63 of the characters", good, {"name": "no spaces please"}),
        (Conflict, "name", good, {"name": "used"}),
    ]
    for error, message, token, fields in cases:
        with pytest.raises(error, match=message):
            door.join(token, **{"name": "stranger", **fields})
    time.sleep(max(0.0, expires - time.monotonic()))
    with pytest.raises(Unauthorized, match="this join token has expired: make a new one"):
        door.join(short, "late")
    with pytest.raises(InvalidInput, match="protocols"):
        door.join(good, "stranger", protocols=())
    # What failed took no use, and left no trace.
    for number in range(5):
        door.join(good, f"guest{number}")
    with pytest.raises(Unauthorized, match="used up"):
        door.join(good, "guest5")
    if door.kind == "cluster":
        assert door.known() == before | {"used", *(f"guest{number}" for number in range(5))}


def test_a_join_that_is_repeated_is_the_same_join(door: Door) -> None:
    token = door.token()
    key = "0123456789abcdef" * 2
    first = door.join(token, "repeated", key=key)
    assert door.join(token, "repeated", key=key) == first
    with pytest.raises(Unauthorized, match="used up"):
        door.join(token, "repeated2", key="f" * 32)


def test_a_program_that_may_not_join_ends_with_the_reason(door: Door, tree: Tree) -> None:
    used = door.token()
    taken = door.join(used, "taken-name").name
    wrong_way = (
        ["--root", tree.clusters["alpha"].address] if door.kind == "cluster" else ["--cluster", tree.root.address]
    )
    option = door.options("")[0]
    nobody = f"127.0.0.1:{tree.free_port()}"
    cases = {
        "alone": (PROTOCOL, [], f"{option}: this {door.kind} has not joined a"),
        "tokenless": (PROTOCOL, [option, door.parent.address], f"--token: this {door.kind} has not joined a"),
        "stranger": (PROTOCOL, door.options(f"mgv-{'0' * 24}-{'0' * 32}"), "unknown join token"),
        "second": (PROTOCOL, door.options(used), "this join token is used up"),
        taken: (PROTOCOL, door.options(door.token()), f"{taken}"),
        "astray": (PROTOCOL, [*wrong_way, "--token", door.token()], f"a {door.kind} joins a"),
        "newer": (PROTOCOL + 1, door.options(door.token()), "update Mangrove on the parent"),
        "lost": (PROTOCOL, [option, nobody, "--token", door.token()], f"nothing listens on http://{nobody}"),
    }
    programs = {name: door.program(name, protocol) for name, (protocol, _, _) in cases.items()}
    for name, (_, options, _) in cases.items():
        programs[name].start(*options, wait=False)
    for name, (_, _, message) in cases.items():
        code, said = programs[name].end(), programs[name].said()
        assert code == 1, f"{name}: {said}"
        told = said.splitlines()[-1]
        assert told.startswith(f"mangrove-{door.kind}: "), f"{name}: {said}"
        assert message in told, f"{name}: {said}"
        assert "Traceback" not in said, f"{name}: {said}"
    # Who was refused joins with what it has as soon as it is let in.
    second = programs["second"]
    try:
        second.start(*door.options(door.token()))
        eventually(lambda: second.name in door.known(), "it to be known")
    finally:
        second.stop()


def test_an_identity_survives_and_needs_no_token_again(door: Door, tree: Tree) -> None:
    program: Program = tree.clusters["alpha"] if door.kind == "cluster" else tree.nodes["n1"]
    before = {cluster.name: cluster.id for cluster in tree.client.clusters()}
    nodes = {node.name: node.id for node in tree.client.nodes()}
    whose = [program] if door.kind == "node" else [program, *tree.nodes.values()]
    for let_go in (program.stop, program.kill):
        with reconnecting(*whose):
            let_go()
            program.start()
    assert {cluster.name: cluster.id for cluster in tree.client.clusters()} == before
    assert {node.name: node.id for node in tree.client.nodes()} == nodes


def test_two_engines_cannot_share_a_folder(tree: Tree) -> None:
    node = tree.nodes["n1"]
    twin = Node("twin", tree.folder, tree.host, tree.clusters["alpha"], "process")
    twin.command[-1] = str(node.data)
    tree.guests.append(twin)
    twin.start(wait=False)
    assert twin.end() == 1
    assert "another node engine runs with the state folder" in twin.said()
    assert node.alive


def test_nodes_join_while_the_root_is_away(tree: Tree) -> None:
    cluster = tree.clusters["alpha"]
    door = Door(tree, cluster, "node")
    node = Node("apart", tree.folder, tree.host, cluster, "process")
    tree.nodes["apart"] = node
    with reconnecting(cluster):
        tree.root.kill()
        with pytest.raises(Unauthorized, match="needs the operator's token of this cluster"):
            ClusterClient(cluster.address, "0" * 64).node_token(ttl=60)
        with reconnecting(node):
            node.start(*door.options(door.operator.node_token(ttl=60).token))
        tree.root.start()
    eventually(lambda: "apart" in door.known(), "the root to hear of it")
    node.stop()
    node.leave()
    del tree.nodes["apart"]


def test_a_node_that_leaves_is_gone_and_its_work_moves(tree: Tree) -> None:
    tree.settle()
    service = tree.deploy(instances=4)
    first = tree.wait_running(service, 4)
    assert {each.node for each in first} == {"n1", "n2"}
    node = tree.nodes["n1"]
    leaving = HttpClient(parse_address(tree.clusters["alpha"].address, 1))
    with pytest.raises(Unauthorized, match="unknown child"):
        leaving.request("POST", "/api/v1/leave", {"child": node.identity.child, "generation": 1, "proof": "0" * 64})
    node.stop()
    node.leave()
    assert not node.processes()
    moved = tree.wait_running(service, 4)
    assert {each.node for each in moved} == {"n2"}
    assert [each for each in moved if each in first] == [each for each in first if each.node == "n2"]
    eventually(lambda: "n1" not in Door(tree, node.cluster, "node").known(), "the node to be gone")
    # Its name is free again, and what joins by it is another node.
    token = tree.node_token("alpha")
    node.start("--cluster", node.cluster.address, "--token", token)
    tree.settle()
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_node_that_is_removed_is_cut_off_though_it_runs(tree: Tree) -> None:
    tree.settle()
    service = tree.deploy(instances=4)
    first = tree.wait_running(service, 4)
    # Where they are depends on what else has just run here, so the one that has some of them is cut off.
    gone, stays = ("n1", "n2") if first[0].node == "n1" else ("n2", "n1")
    cut, kept = tree.nodes[gone], [each for each in first if each.node == stays]
    tree.client.remove_node(tree.cluster_id("alpha"), cut.identity.child)
    eventually(lambda: {each.name for each in tree.client.nodes()} >= {stays}, f"{stays} to stay")
    eventually(lambda: gone not in {each.name for each in tree.client.nodes()}, f"{gone} to be gone")
    eventually(lambda: len([each for each in tree.running(service) if each.node == stays]) == 4, f"all on {stays}")
    eventually(lambda: "refused the credentials" in cut.said(), "the broker to turn it away")
    assert cut.alive
    # It may leave, though nobody knows it any more; then nothing of it is left.
    cut.stop()
    cut.leave()
    assert not cut.processes()
    assert [each for each in tree.wait_running(service, 4) if each in first] == kept
    token = tree.node_token("alpha")
    cut.start("--cluster", cut.cluster.address, "--token", token)
    tree.settle()
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_proof_lets_leave_only_whom_it_is_of(door: Door) -> None:
    first, second = (door.join(door.token(), name) for name in ("leaver", "stayer"))
    forged = msgspec.structs.replace(second, link_key=first.link_key)
    with pytest.raises(Unauthorized, match="unknown child"):
        leave(door.parent.address, forged, default_port=1)
    leave(door.parent.address, first, default_port=1)
    leave(door.parent.address, first, default_port=1)  # nothing more happens
    door.join(door.token(), "leaver")
    with pytest.raises(Conflict):
        door.join(door.token(), "stayer")
