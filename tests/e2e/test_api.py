"""The API of a real tree: what is asked for twice is done once, and what happens is told as it happens."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import requests

from mangrove.base.errors import MangroveError
from mangrove.client.documents import Event
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import PATIENCE, eventually
from tests.e2e.tree import Tree, process
from tests.root_api import sla


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant(lease=3.0).start(alpha=["n1"])


def post_and_kill(tree: Tree, path: str, headers: dict[str, str], *, heard: bool) -> bytes:
    """A POST whose root is killed as soon as it is sent, or once the answer was heard; the answer."""
    with closing(http.client.HTTPConnection(tree.root.address, timeout=PATIENCE)) as connection:
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse().read() if heard else b""
        tree.root.kill()
    return answer


@pytest.mark.parametrize("heard", [False, True])
def test_a_request_is_done_once_though_the_root_is_killed_in_between(tree: Tree, heard: bool) -> None:
    [service] = tree.create(process())
    url, path = f"http://{tree.root.address}", f"/api/service/{service}/instance"
    admin = {"username": "Admin", "password": "Admin"}
    token = requests.post(f"{url}/api/auth/login", json=admin, timeout=PATIENCE).json()["token"]
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"once-{heard}"}
    first = post_and_kill(tree, path, headers, heard=heard)
    tree.root.start()
    for _ in range(2):
        again = requests.post(url + path, headers=headers, timeout=PATIENCE)
        assert again.json()["instance_number"] == 0
        assert not heard or again.content == first
    assert again.headers["Idempotency-Replayed"] == "true"
    assert set(tree.instances(service)) == {0}
    tree.settle()
    tree.wait_running(service, 1)
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_a_service_grows_and_shrinks(tree: Tree) -> None:
    service = tree.deploy()
    grown = tree.client.scale(service, 3)
    assert (grown.instances, grown.added, grown.removed) == (3, (1, 2), ())
    first = {each.number: each.pids for each in tree.wait_running(service, 3)}
    shrunk = tree.client.scale(service, 1)
    assert (shrunk.instances, shrunk.added, len(shrunk.removed)) == (1, (), 2)
    [stays] = tree.wait_running(service, 1)
    assert stays.pids == first[stays.number], "what stays is left alone"
    assert stays.number not in shrunk.removed
    tree.client.scale(service, 0)
    tree.wait_gone(service)


def test_what_does_not_fit_is_explained(tree: Tree) -> None:
    service = tree.deploy(memory=500_000_000)
    tree.wait_reason(service, "memory")
    explained = tree.client.explain(service)
    [slot] = explained["slots"]
    assert (slot["phase"], slot["cluster"], slot["node"]) == ("pending", None, None)
    assert slot["text"].startswith("is nowhere: ")
    assert "memory" in slot["text"]
    choice = explained["choice"]
    assert (choice["clusters"], choice["passed"], choice["best"]) == (1, 0, [])
    assert any(each["ruled_out"] == 1 and "memory" in each["text"] for each in choice["conditions"])
    tree.client.delete_service(service)


def test_an_sla_is_tried_before_it_is_deployed(tree: Tree) -> None:
    told = tree.client.try_out(sla("tried", process(), process(microservice_name="huge", memory=500_000_000)))
    small, huge = told["services"]
    assert (told["fits"], small["placed"], small["missing"], huge["placed"]) == (False, 1, None, 0)
    assert any("memory" in each["text"] for each in huge["missing"]["conditions"])
    assert not [each for each in tree.client.applications() if each.name == "tried"]


def test_whether_requests_should_come_here_may_be_asked_by_anybody(tree: Tree) -> None:
    assert requests.get(f"http://{tree.root.address}/api/v1/health", timeout=PATIENCE).status_code == 200


class Heard:
    """Events from now on, as they come, until `last` has come."""

    def __init__(self, tree: Tree, last: str) -> None:
        self.events: list[Event] = []
        self._seen = 0
        newest = tree.client.events(limit=1)[-1].id
        self._thread = threading.Thread(target=self._hear, args=(tree.client.follow_events(after=newest), last))
        self._thread.start()

    def _hear(self, events: Iterator[Event], last: str) -> None:
        with suppress(MangroveError):  # the root is gone, after a test that failed
            for event in events:
                self.events.append(event)
                if event.kind == last:
                    return

    def wait(self, kind: str, name: str) -> Event:
        """The next of that kind whose text has the name, behind those that were waited for before."""

        def there() -> Event | None:
            for place, event in enumerate(self.events[self._seen :], self._seen + 1):
                if event.kind == kind and name in event.text.split():
                    self._seen = place
                    return event
            return None

        return eventually(there, f"{kind} of {name} among {[event.text for event in self.events]}")

    def end(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def test_what_becomes_of_clusters_and_nodes_is_told_as_it_happens(tree: Tree) -> None:
    heard = Heard(tree, "cluster-removed")
    beta = tree.add_cluster("beta")
    cluster = heard.wait("cluster-joined", "beta").subject
    assert heard.wait("cluster-connected", "beta").subject == cluster
    b1 = tree.add_node("b1", "beta")
    node = heard.wait("node-joined", "b1").subject
    assert node == b1.identity.child

    b1.crash()
    assert heard.wait("node-silent", "b1").subject == node
    b1.start()
    assert heard.wait("node-connected", "b1").subject == node
    b1.stop()
    b1.leave()
    assert heard.wait("node-removed", "b1").subject == node

    beta.kill()
    assert heard.wait("cluster-silent", "beta").subject == cluster
    beta.start()
    assert heard.wait("cluster-connected", "beta").subject == cluster
    tree.client.remove_cluster(cluster)
    assert heard.wait("cluster-removed", "beta").subject == cluster
    heard.end()
    ids = [event.id for event in heard.events]
    assert ids == sorted(set(ids)), "each once, in order"
    told = tree.client.events(subject=cluster)
    assert [event for event in heard.events if event.subject == cluster] == told
