"""A store is lost and an older backup brought back: what runs goes on, is listed, and a person keeps or drops it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Parent, eventually, executable, reconnecting
from tests.e2e.tree import Tree, process

LEASE = 2.0


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant(lease=LEASE).start(alpha=["n1", "n2"])


def command(program: Parent, noun: str, *arguments: str) -> str:
    """What a command of a program says, on its machine."""
    where = ["--data-dir", str(program.data)]
    done = subprocess.run(
        [executable("mangrove"), noun, *arguments, *where], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def restored(program: Parent, noun: str, backup: Path) -> None:
    """The store is gone, and the backup is brought back."""
    program.kill()
    for file in program.data.glob("*.db*"):
        file.unlink()
    command(program, noun, "restore", str(backup))
    program.start()


def test_a_root_that_goes_back_to_an_older_backup_stops_nothing_and_lists_what_it_does_not_know(
    tree: Tree, tmp_path: Path
) -> None:
    [old] = tree.create(process(), name="old")
    for _ in range(2):
        tree.client.deploy(old)
    tree.wait_running(old, 2)
    backup = tmp_path / "root.backup"
    command(tree.root, "root", "backup", str(backup))

    tree.client.deploy(old)  # as what is declared already
    tree.wait_running(old, 3)
    [new] = tree.create(process(), name="new")
    for _ in range(2):
        tree.client.deploy(new)
    tree.wait_running(new, 2)
    before = tree.running()
    assert len(before) == 5

    with reconnecting(tree.clusters["alpha"]):
        restored(tree.root, "root", backup)
    tree.client.login("Admin", "Admin")
    tree.settle()
    listed = eventually(lambda: found if len(found := tree.client.adopted()) == 3 else [], "what is adopted")
    names = ["new.web.0", "new.web.1", "old.web.2"]
    assert [(each.name, each.child) for each in listed] == [(name, "alpha") for name in names]
    assert tree.running() == before
    eventually(lambda: len(tree.client.events(kind="adopted", limit=100)) == 3, "it to be told")

    tree.client.keep_adopted(listed[2].id)
    assert [each.number for each in tree.wait_running(old, 3)] == [0, 1, 2]
    tree.client.drop_adopted(listed[0].id)
    eventually(lambda: len(tree.running(new)) == 1, "what was dropped to be stopped")
    tree.client.keep_adopted(listed[1].id)  # of a service that the backup does not know: it is made again
    assert [each.number for each in tree.wait_running(new)] == [1]
    eventually(lambda: tree.client.adopted() == [], "nothing to be adopted any more")
    dropped = [each for each in before if (each.service, each.number) == (new, 0)]
    assert tree.running() == [each for each in before if each not in dropped], "and all else as it was"
    assert sorted(each.name for each in tree.client.applications()) == ["new", "old"]

    # From then on it is a root like any other.
    tree.client.undeploy(old, 2)
    eventually(lambda: [each.number for each in tree.running(old)] == [0, 1], "an instance to be stopped")
    fresh = tree.deploy()
    tree.wait_running(fresh)
    tree.client.delete_service(fresh)
    tree.client.delete_service(old)
    tree.client.delete_service(new)
    tree.wait_gone(old)
    tree.wait_gone(new)


def test_a_cluster_that_goes_back_to_an_older_backup_takes_what_runs_for_what_the_root_wants(
    tree: Tree, tmp_path: Path
) -> None:
    cluster = tree.clusters["alpha"]
    service = tree.deploy(instances=2)
    tree.wait_running(service, 2)
    backup = tmp_path / "cluster.backup"
    command(cluster, "cluster", "backup", str(backup))
    for _ in range(2):
        tree.client.deploy(service)
    before = tree.wait_running(service, 4)
    for _ in range(2):  # the root has seen more starts than the backup knows
        with reconnecting(cluster, *tree.nodes.values()):
            cluster.restart()
    with reconnecting(*tree.nodes.values()):
        restored(cluster, "cluster", backup)
    tree.settle()
    assert tree.wait_running(service, 4) == before
    adopted = ("adopted", "list", "-o", "json", "--address", cluster.address)
    eventually(lambda: json.loads(command(cluster, *adopted)) == [], "all to be the root's, who wants it")
    assert tree.wait_running(service, 4) == before
    tree.client.delete_service(service)
    tree.wait_gone(service)


def test_an_old_copy_that_nobody_restored_is_refused_until_somebody_does(tree: Tree, tmp_path: Path) -> None:
    service = tree.deploy()
    tree.wait_running(service)
    backup = tmp_path / "root.backup"
    command(tree.root, "root", "backup", str(backup))
    tree.client.deploy(service)
    before = tree.wait_running(service, 2)
    tree.root.kill()
    for file in tree.root.data.glob("*.db-*"):
        file.unlink()
    (tree.root.data / "root.db").write_bytes(backup.read_bytes())  # by hand, and nobody says so
    tree.root.start()
    tree.client.login("Admin", "Admin")
    eventually(
        lambda: [event for event in tree.client.events(kind="cluster-refused") if "old copy" in event.text],
        "the cluster to be refused",
    )
    assert tree.running(service) == before
    tree.root.kill()
    with reconnecting(tree.clusters["alpha"]):
        command(tree.root, "root", "restore")
        tree.root.start()
        tree.clusters["alpha"].restart()  # else it asks again half a minute after it was refused
    tree.client.login("Admin", "Admin")
    tree.settle()
    listed = eventually(lambda: tree.client.adopted(), "what is adopted")
    assert len(listed) == 1
    tree.client.keep_adopted(listed[0].id)
    assert tree.wait_running(service, 2) == before
    tree.client.delete_service(service)
    tree.wait_gone(service)
