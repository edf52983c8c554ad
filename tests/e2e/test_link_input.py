"""Junk on the topics of a real tree: it is counted and dropped, nothing dies of it, and everything goes on."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from cluster_orchestrator.joining import identity_in
from mangrove.base.digest import hex_of
from mangrove.base.errors import MangroveError
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.join import join
from mangrove.identity.messages import JoinReply, JoinRequest, new_join_key
from mangrove.identity.secret import load_or_create
from mangrove.link.envelope import Header, seal, topic_of
from mangrove.link.messages import ASSIGN, DOWN_KINDS, HELLO, PROTOCOL, REPORT, STATUS, STREAM, UP_KINDS, WELCOME
from mangrove.link.sync import entry_hash
from mangrove.link.transports.interface import MAX_PAYLOAD, Broker
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Parent, eventually
from tests.e2e.tree import Running, Tree
from tests.integration.links import RawClient

#: Not even an envelope.
JUNK = {
    "nothing": b"",
    "no JSON": b"{",
    "null": b"null",
    "text": "Grüße".encode(),
    "binary": bytes(range(256)) * 8,
    "a wrong hash": b"0" * 32 + b'[1,"session",1]\n{}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 30_000,
    "large": b"x" * (MAX_PAYLOAD - 1),
    "too large": b"x" * (MAX_PAYLOAD + 1),
}

#: Payloads in an envelope that is right.
WRONG = (
    b"",
    b"{",
    b"[]",
    b"{}",
    b"17",
    b'"text"',
    b"[" * 50_000,
    b'{"accepted":"yes"}',
    b'{"applied":[1,"x"],"sent":{"status":7}}',
    b'{"applied":[1,"x"],"sent":{},"steps":[{"channel":"no such","to":[1,"x"]}]}',
    b'{"applied":[1,"x"],"sent":{},"steps":[{"channel":"status","to":[1,"x"],"parts":1000000000,"part":999}]}',
    b'{"applied":[1,"x"],"sent":{},"steps":[{"channel":"status","to":[1,"x"],"parts":-1,"part":-1}]}',
    b'{"applied":[1,"x"],"sent":{},"usage":{"":{"cpu":"a lot"}}}',
    b'{"applied":[1,"x"],"sent":{},"usage":{"no such attempt":{"cpu":1e308,"memory":-1}}}',
    b'[[1,"x"],{"status":"y"},[[],[]]]',
    b'{"id":"no such call","result":{},"error":""}',
)


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes."""
    return plant(lease=5.0).start(alpha=["n1", "n2"])


@dataclass(frozen=True)
class Link:
    """One end of a real link as an attacker knows it who has read a parent's disk: every key and password."""

    parent: Parent
    child: JoinReply
    others: tuple[JoinReply, ...]

    def client(self, *, as_parent: bool) -> RawClient:
        secret = load_or_create(self.parent.data)
        if as_parent:
            return RawClient(Broker(self.child.brokers[0].url, secret.parent_id(), secret.parent_broker_password()))
        access = self.child.brokers[0]
        return RawClient(Broker(access.url, access.username, access.password))

    def topic(self, kind: str, child: str = "") -> str:
        direction: Any = "up" if kind in UP_KINDS else "down"
        return topic_of(self.child.parent, child or self.child.child, direction, kind)


@pytest.fixture(params=["root", "alpha"])
def link(tree: Tree, request: pytest.FixtureRequest) -> Link:
    """Between that parent and a child of it."""
    if request.param == "root":
        identity = identity_in(tree.clusters["alpha"].data)
        assert identity is not None
        return Link(tree.root, identity, ())
    return Link(tree.clusters["alpha"], tree.nodes["n1"].identity, (tree.nodes["n2"].identity,))


@pytest.fixture(autouse=True)
def all_goes_on(tree: Tree) -> Iterator[None]:
    """No program dies or stumbles, what runs is not touched, and new work is taken on at each node."""
    service = tree.deploy(instances=4)
    before: list[Running] = tree.wait_running(service, 4)
    pids = tree.pids()
    brokers = {parent.name: parent.broker() for parent in (tree.root, *tree.clusters.values())}
    yield
    assert tree.pids() == pids
    assert {parent.name: parent.broker() for parent in (tree.root, *tree.clusters.values())} == brokers
    added = [tree.deploy(constraints=[{"type": "direct", "node": node}]) for node in ("n1", "n2")]
    for each in added:
        tree.wait_running(each, seconds=60)
    assert tree.wait_running(service, 4) == before
    for parent in (tree.root, *tree.clusters.values()):
        ready = HttpClient(parse_address(parent.address, 1)).request("GET", "/readyz")
        assert ready["message"] == "ready"
    for each in (service, *added):
        tree.client.delete_service(each)
        tree.wait_gone(each)
    for program in tree.programs:
        said = program.log.read_text()
        assert "Traceback" not in said, f"{program.name}: {said[-3000:]}"


def dropped(program: Any) -> bool:
    """Whether it has said that it drops messages."""
    return "messages dropped; the newest: " in program.log.read_text()


def send_junk(link: Link, *, as_parent: bool) -> None:
    """All of it on every topic, each by a client of its own, since a broker may cut off who sends what it forbids."""

    def send(topic: str, *, retain: bool = False) -> None:
        for payload in JUNK.values():
            client = link.client(as_parent=as_parent)
            try:
                client.publish(topic, payload, qos=1, retain=retain)
                client.publish(topic, payload, retain=retain)
            finally:
                client.close()

    for kind in (*sorted(UP_KINDS), *sorted(DOWN_KINDS), STREAM, "nosuchkind"):
        send(link.topic(kind))
    send(link.topic(REPORT), retain=True)
    send(link.topic(REPORT, "nosuchchild"))
    send(f"mangrove/{link.child.parent}/up")


@pytest.mark.parametrize("as_parent", [True, False], ids=["the broker's own account", "the child's own account"])
def test_junk_silences_nobody(tree: Tree, link: Link, as_parent: bool) -> None:
    """Neither whom it is sent to, nor in whose name, nor anybody else."""
    child = tree.program("alpha" if link.parent is tree.root else "n1")
    connections, before = child.connections(), dropped_by_reason(link.parent)
    send_junk(link, as_parent=as_parent)
    least = 2 * len(UP_KINDS) * (len(JUNK) - 2)  # those that are large may be the broker's to drop
    eventually(lambda: dropped_by_reason(link.parent).total() >= before.total() + least, f"{least} to be counted")
    if as_parent:
        eventually(lambda: dropped(link.parent), "the parent to say that it drops messages")
        eventually(lambda: dropped(child), "the child to say that it drops messages")
    tree.settle()
    assert child.connections() == connections, "it had to connect anew"


def test_what_was_said_is_spoilt_on_its_way(tree: Tree, link: Link) -> None:
    """In both directions, with the link's own key where it takes one: cut off, late, of another version or session."""
    client, key = link.client(as_parent=True), bytes.fromhex(link.child.link_key)
    before = dropped_by_reason(link.parent)
    try:
        assert client.subscribe(f"mangrove/{link.child.parent}/{link.child.child}/#")
        service = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
        tree.wait_running(service)
        tree.client.delete_service(service)
        tree.wait_gone(service)
        heard = [each for each in client.heard if each[0].rpartition("/")[2] in UP_KINDS | DOWN_KINDS]
        assert {"report", "assign"} <= {topic.rpartition("/")[2] for topic, _ in heard}
        newest = {topic: [each for each in heard if each[0] == topic][-2:] for topic, _ in heard}
        for topic, payload in reversed([each for some in newest.values() for each in some]):
            mac, body = payload[:32], payload[32:]
            head, _, rest = body.partition(b"\n")
            header = msgspec.json.decode(head, type=Header)
            spoilt = [payload[:length] for length in (1, 31, 32, 40, len(payload) // 2, len(payload) - 1)]
            spoilt += [mac + rest, body + mac, payload * 2, payload.replace(b'"', b"'"), payload]
            for changes in (
                {"protocol": PROTOCOL + 1, "sequence": 10**6},
                {"protocol": 0, "sequence": 10**6},
                {"session": "another", "sequence": 10**6},
                {"sequence": 0},
                {"sequence": -1},
            ):
                changed = msgspec.structs.replace(header, **changes)
                spoilt.append(seal(key, topic, changed, cast(Any, msgspec.Raw(rest))))
            if topic.rpartition("/")[2] in DOWN_KINDS:
                old = msgspec.structs.replace(header, term=header.term - 1, sequence=10**6)
                spoilt.append(seal(key, topic, old, cast(Any, msgspec.Raw(rest))))
            for each in spoilt:
                client.publish(topic, each, qos=1)
    finally:
        client.close()

    reasons = {"forged", "version", "session", "repeated"}
    eventually(lambda: reasons <= {*(dropped_by_reason(link.parent) - before)}, "the parent to count them by reason")
    if link.parent is tree.root:
        eventually(lambda: reasons <= {*dropped_by_reason(tree.clusters["alpha"], "parent")}, "the child to, too")


def dropped_by_reason(parent: Parent, side: str = "children") -> Counter[str]:
    """What a parent shows in its metrics of messages from that side that it dropped."""
    address, port = parent.address.split(":")
    connection = http.client.HTTPConnection(address, int(port), timeout=30)
    token = (parent.data / "metrics.token").read_text().strip()
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        page = connection.getresponse().read().decode()
    pattern = r"^mangrove_link_dropped_messages_total\{(.*)\} (\S+)$"
    found = Counter[str]()
    for labels, value in re.findall(pattern, page, re.MULTILINE):
        if f'side="{side}"' in labels:
            found[re.findall(r'reason="(\w+)"', labels)[0]] += int(float(value))
    return found


def test_what_was_said_once_says_nothing_again(tree: Tree, link: Link) -> None:
    client = link.client(as_parent=True)
    try:
        assert client.subscribe(f"mangrove/{link.child.parent}/#")
        service = tree.deploy()
        tree.wait_running(service)
        tree.client.delete_service(service)
        tree.wait_gone(service)
        heard = list(client.heard)
        kinds = {topic.rpartition("/")[2] for topic, _ in heard}
        assert {"report", "assign"} <= kinds
        for topic, payload in heard:
            client.publish(topic, payload, qos=1)
            for other in link.others:  # and none of it under another name
                client.publish(topic.replace(link.child.child, other.child), payload, qos=1)
            client.publish(topic, payload[:-1] + b"]", qos=1)
    finally:
        client.close()
    eventually(lambda: not tree.running(service), "nothing of what was withdrawn")


def test_what_is_forged_without_the_key_changes_nothing(tree: Tree) -> None:
    """With the broker's own account and all that is heard on it, but not with the link's key."""
    cluster, node = tree.clusters["alpha"], tree.nodes["n1"].identity
    link = Link(cluster, node, ())
    client = link.client(as_parent=True)
    try:
        assert client.subscribe(f"mangrove/{node.parent}/{node.child}/#")
        service = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
        running = tree.wait_running(service)
        tree.client.deploy(service)
        tree.wait_running(service, 2)
        newest = dict(client.heard)

        def forge(kind: str, payload: bytes) -> None:
            topic = link.topic(kind)
            header = msgspec.json.decode(newest[topic][32:].partition(b"\n")[0], type=Header)
            header = msgspec.structs.replace(header, sequence=header.sequence + 1000)
            client.publish(topic, seal(b"0" * 32, topic, header, cast(Any, msgspec.Raw(payload))), qos=1)

        nothing = b'{"channel":"assignment","to":[1000,"%s"]}' % (b"0" * 32)
        forge(ASSIGN, b'{"step":%s,"tenure":"","revision":1000}' % nothing)
        ended = b'{"attempt":"%s","phase":"completed"}' % running[0].attempt.encode()
        digest = hex_of(entry_hash(running[0].attempt, ended)).encode()
        forge(
            REPORT,
            b'{"applied":[1000,"%s"],"sent":{"status":"%s"},"steps":[{"channel":"status","to":[1000,"%s"],"put":{"%s":%s}}]}'
            % (b"0" * 32, digest, digest, running[0].attempt.encode(), ended),
        )
    finally:
        client.close()
    added = tree.deploy(constraints=[{"type": "direct", "node": "n1"}])
    tree.wait_running(added)
    assert running[0] in tree.wait_running(service, 2)
    for each in (service, added):
        tree.client.delete_service(each)
        tree.wait_gone(each)


def test_a_child_reaches_nobody_else(link: Link) -> None:
    if not link.others:
        link = Link(link.parent, link.child, (msgspec.structs.replace(link.child, child="f" * 24),))
    [other] = link.others
    watcher, client = link.client(as_parent=True), link.client(as_parent=False)
    try:
        assert watcher.subscribe(f"mangrove/{link.child.parent}/+/+/nosuchkind")
        client.publish(f"mangrove/{link.child.parent}/{link.child.child}/up/nosuchkind", b"own", qos=1)
        for topic in (
            f"mangrove/{link.child.parent}/{other.child}/up/nosuchkind",
            f"mangrove/{link.child.parent}/{other.child}/down/nosuchkind",
            f"mangrove/{link.child.parent}/{link.child.child}/down/nosuchkind",
        ):
            client.publish(topic, b"not its own", qos=1)
        client.publish(f"mangrove/{link.child.parent}/{link.child.child}/up/nosuchkind", b"end", qos=1)
        eventually(lambda: any(payload == b"end" for _, payload in watcher.heard), "the last message")
        assert {payload for _, payload in watcher.heard} == {b"own", b"end"}
        for pattern in (
            "#",
            f"mangrove/{link.child.parent}/+/up/+",
            f"mangrove/{link.child.parent}/{other.child}/down/+",
        ):
            client.subscribe(pattern)
        before = len(client.heard)
        watcher.publish(f"mangrove/{link.child.parent}/{other.child}/down/nosuchkind", b"secret", qos=1)
        watcher.publish(f"mangrove/{link.child.parent}/{link.child.child}/down/nosuchkind", b"own", qos=1)
        eventually(lambda: len(client.heard) > before or not client.subscribe("$x") or True, "an answer")
        assert b"secret" not in {payload for _, payload in client.heard}
    finally:
        watcher.close()
        client.close()


@dataclass
class Rogue:
    """A node or cluster of which somebody else has taken hold: it has joined, and says what it likes."""

    identity: JoinReply
    client: RawClient = field(init=False)
    _session: str = "rogue"
    _sequence: int = 0

    def __post_init__(self) -> None:
        access = self.identity.brokers[0]
        self.client = RawClient(Broker(access.url, access.username, access.password))
        assert self.client.subscribe(f"mangrove/{self.identity.parent}/{self.identity.child}/down/+")

    def say(self, kind: str, payload: bytes, **header: Any) -> None:
        self._sequence += 1
        topic = topic_of(self.identity.parent, self.identity.child, "up", kind)
        head = msgspec.structs.replace(Header(PROTOCOL, self._session, self._sequence), **header)
        sealed = seal(bytes.fromhex(self.identity.link_key), topic, head, cast(Any, msgspec.Raw(payload)))
        self.client.publish(topic, sealed, qos=1)

    def hello(self, session: str, incarnation: int = 1, **fields: Any) -> None:
        self._session, self._sequence = session, 0
        message = {
            "name": "rogue",
            "incarnation": incarnation,
            "connect": 1,
            "boot": "boot",
            "software": "x",
            "store": self.identity.store,
            "term": 0,
            "tenure": "",
            "revision": 0,
            "holds": [0, "0" * 32],
            **fields,
        }
        self.say(HELLO, json.dumps(message).encode())

    def welcomed(self) -> int:
        """How often it was answered."""
        return sum(topic.endswith(WELCOME) for topic, _ in self.client.heard)

    def mirror(self, channel: str, entries: dict[str, bytes], **step: Any) -> None:
        """Say that this, and nothing else, is the state of a channel."""
        digest = hex_of(sum(entry_hash(id, raw) for id, raw in entries.items()))
        put = b",".join(json.dumps(id).encode() + b":" + raw for id, raw in entries.items())
        head = {"channel": channel, "to": [1, digest], **step}
        body = json.dumps(head).encode()[:-1] + b',"put":{' + put + b"}}"
        sent = json.dumps({channel: digest}).encode()
        self.say(REPORT, b'{"applied":[0,"%s"],"sent":%s,"steps":[%s]}' % (b"0" * 32, sent, body))


@pytest.mark.parametrize("level", ["root", "alpha"])
def test_a_child_that_says_what_it_likes_harms_only_itself(tree: Tree, level: str) -> None:
    parent = tree.program(level)
    assert isinstance(parent, Parent)
    token = tree.client.cluster_token(ttl=60).token if level == "root" else tree.node_token("alpha")
    kind: Any = "cluster" if level == "root" else "node"
    request = JoinRequest(token, f"rogue-{kind}", kind, (PROTOCOL,), key=new_join_key())
    rogue = Rogue(join(parent.address, request, default_port=1))
    attempt = eventually(lambda: [each.attempt for each in tree.running()], "attempts")[0]
    huge, long = 10**40, "x" * 20_000
    capacities = (
        b'{"allocatable":{"cpu":%d,"memory":%d}}' % (huge, huge),
        b'{"allocatable":{"cpu":-%d,"memory":-%d},"nodes":-5}' % (huge, huge),
        b'{"runtimes":["process","%s"],"labels":{"%s":"%s"}}' % (long.encode(), long.encode(), long.encode()),
        b'{"position":{"latitude":1e308,"longitude":-1e308}}',
        b'{"largest":[%s]}' % b",".join([b'{"cpu":%d}' % number for number in range(3000)]),
        b'{"allocatable":"much"}',
        b"[]",
    )
    statuses = (
        b'{"attempt":"%s","phase":"running","since":1e308,"restarts":%d}' % (attempt.encode(), huge),
        b'{"attempt":"%s","phase":"completed","reason":"%s"}' % (attempt.encode(), long.encode()),
        b'{"attempt":"%s","phase":"no such phase"}' % attempt.encode(),
        b'{"attempt":7}',
        b"{}",
    )
    try:
        rogue.hello("one")
        eventually(lambda: rogue.welcomed() == 1, "a welcome")
        for number, payload in enumerate(WRONG):
            for each in sorted(UP_KINDS - {HELLO}):
                rogue.say(each, payload)
            rogue.say(HELLO, payload, session=f"wrong{number}")
        rogue.say(REPORT, b"{}", protocol=99)
        rogue.say(REPORT, b"{}", sequence=-(10**30))
        rogue.say(REPORT, b"{}", sequence=10**30)
        for number, capacity in enumerate(capacities):
            rogue.hello(f"capacity{number}", incarnation=2 + number)
            rogue.mirror(STATUS, {})
            rogue.mirror("capacity", {"capacity": capacity, "": capacity, "other": capacity})
            for id in ("", "capacity", "other"):
                rogue.mirror("capacity", {id: capacity})
        for number, status in enumerate(statuses):
            rogue.hello(f"status{number}", incarnation=20 + number)
            rogue.mirror(STATUS, {attempt: status, "": status, "../..": status, long[:300]: status})
            rogue.mirror("nodes", {"": b'{"id":"","name":"","state":"live","capacity":{}}', "x/y": status})
        quarantined = "quarantined: it reports nonsense"
        eventually(lambda: any(quarantined in each.text for each in tree.client.events()), "people to be told")
        rogue.hello("last", incarnation=huge, connect=huge, term=huge, revision=-huge)
        answered = rogue.welcomed()
        rogue.hello("final", incarnation=huge + 1)
        eventually(lambda: rogue.welcomed() > answered, "an answer to the last word")
    finally:
        rogue.client.close()
        remove = tree.client.remove_cluster if level == "root" else _remove_node(tree)
        remove(rogue.identity.child)
    views: list[Callable[[], Any]] = [tree.client.nodes, tree.client.clusters, tree.client.services]
    for view in views:
        try:
            list(view())
        except MangroveError as error:
            pytest.fail(f"the root cannot answer any more: {error}")


def _remove_node(tree: Tree) -> Callable[[str], None]:
    cluster = tree.cluster_id("alpha")
    return lambda node: tree.client.remove_node(cluster, node)
