"""The command as a user types it against a real tree: from login to delete."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeTree
from tests.e2e.machine import LONG, Machine
from tests.e2e.programs import PATIENCE, eventually
from tests.e2e.tree import Tree

CHECKOUT = Path(__file__).parents[2]

SLA = """
sla_version: v2.0
customerID: me
applications:
  - application_name: shop
    application_namespace: test
    microservices:
      - microservice_name: web
        microservice_namespace: test
        virtualization: process
        code: sleep
        cmd: [sleep, "1000"]
        memory: 16
      - microservice_name: job
        microservice_namespace: test
        virtualization: process
        code: "true"
        cmd: ["true"]
        one_shot: true
"""


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    return plant().start(alpha=["n1", "n2"])


@pytest.fixture
def machine(tree: Tree, tmp_path: Path) -> Iterator[Machine]:
    """Somebody's own machine, logged in to the root of the tree."""
    machine = Machine(tmp_path)
    machine.environment["MANGROVE_PASSWORD"] = "Admin"
    machine.mangrove("login", tree.root.address, "--context", "tree")
    del machine.environment["MANGROVE_PASSWORD"]
    (tmp_path / "shop.yaml").write_text(SLA)
    yield machine
    machine.end()
    for application in list(tree.client.applications()):
        tree.client.delete_application(application.id)
    eventually(lambda: not tree.running(), "all processes to be gone")


def test_an_application_from_its_file_to_its_end(tree: Tree, machine: Machine) -> None:
    file = str(machine.home / "shop.yaml")
    assert machine.mangrove("diff", file).output == "+ shop\n+ shop.web\n+ shop.job\n"
    said = machine.mangrove("deploy", file, "--wait")
    assert "shop.web: created; instance requested" in said.output
    assert "shop.job: 1 of 1 running" in said.error
    web, job = machine.mangrove("instance", "list").output.splitlines()[:0:-1]
    assert web.split()[:3] == ["shop.web.0", "RUNNING", "alpha"]
    assert job.split()[0] == "shop.job.0"
    machine.mangrove("wait", "shop.job", "--for", "completed")
    [running] = tree.running()
    assert running.node in machine.mangrove("instance", "show", "shop.web.0").output

    # Twice as many, all shown in the tree of the whole.
    machine.mangrove("scale", "shop.web", "2", "--wait")
    assert len(tree.running()) == 2
    shown = machine.mangrove("top", "--once").output
    assert "1 cluster, 2 of 2 nodes live, 2 instances run" in shown
    assert shown.count("shop.web.") == 2

    # Another command: both are replaced, one after the other, and the file says no more what there is.
    changed = machine.home / "changed.yaml"
    changed.write_text(SLA.replace('"1000"', '"2000"'))
    assert machine.mangrove("diff", str(changed), "--exit-code", ok=False).code == 7
    said = machine.mangrove("deploy", str(changed), "--wait")
    assert "shop.web: changed (cmd); 2 instances are replaced" in said.output
    service = json.loads(machine.mangrove("service", "show", "shop.web", "-o", "json").output)
    assert service["rollout"]["state"] == "done"
    assert service["specification"]["command"][-1] == "2000"
    assert [attempt.attempt for attempt in tree.running()] != [running.attempt]
    assert "replaced" in machine.mangrove("instance", "show", "shop.web.0").output

    # And to its end.
    machine.mangrove("undeploy", "shop.web", "--wait")
    eventually(lambda: not tree.running(), "all processes to be gone")
    machine.mangrove("app", "delete", "shop")
    machine.mangrove("wait", "shop.web", "--for", "deleted")
    assert json.loads(machine.mangrove("service", "list", "-o", "json").output) == []


def test_a_system_service_and_a_node_that_is_drained_until_it_is_empty(tree: Tree, machine: Machine) -> None:
    web, _, _ = SLA.partition("      - microservice_name: job")
    agent = web[web.index("      - microservice_name: web") :].replace("web", "agent") + "        mode: global\n"
    file = machine.home / "site.yaml"
    file.write_text(web.replace("shop", "site") + agent)
    said = machine.mangrove("deploy", str(file), "--wait")
    assert "site.agent: created; each node that it matches gets an instance" in said.output
    assert "site.agent: 2 of 2 running" in said.error
    assert "mode: global" in machine.mangrove("scale", "site.agent", "3", ok=False).error
    told = machine.mangrove("node", "drain", "n1", "--wait")
    assert told.error.splitlines()[-2:] == ["n1: 0 left", "n1 is empty."]
    assert {each.node for each in tree.running()} == {"n2"}
    assert "n1 of alpha: drained: it gets nothing new" in machine.mangrove("explain", "site.agent").output
    machine.mangrove("node", "drain", "n1", "--undo")
    eventually(lambda: {each.node for each in tree.running()} == {"n1", "n2"}, "n1 to have its instance again")


def test_the_file_of_init_runs_as_it_is(tree: Tree, machine: Machine) -> None:
    file = machine.home / "mine.yaml"
    machine.mangrove("init", str(file), "--name", "mine")
    file.write_text(file.read_text().replace("18080", str(tree.free_port())))
    machine.mangrove("deploy", str(file), "--wait")
    assert (
        json.loads(machine.mangrove("instance", "list", "--app", "mine", "-o", "json").output)[0]["phase"] == "running"
    )
    assert machine.mangrove("diff", str(file)).error == "Nothing would change.\n"


def test_what_cannot_run_says_why_and_is_not_waited_for_for_ever(tree: Tree, machine: Machine) -> None:
    file = machine.home / "large.yaml"
    file.write_text(SLA.replace("memory: 16", "memory: 9999999"))
    said = machine.mangrove("deploy", str(file), "--wait", "--timeout", "3s", ok=False)
    assert said.code == 6
    assert "memory" in said.error
    assert "shop.web.0  PENDING" in machine.mangrove("top", "--once").output
    told = machine.mangrove("explain", "shop.web").output
    assert "shop.web.0  PENDING  is nowhere: " in told
    assert "0 of 1 clusters could take it" in told


def test_names_and_refusals_of_a_real_root(tree: Tree, machine: Machine) -> None:
    said = machine.mangrove("node", "show", "n3", ok=False)
    assert (said.code, said.error) == (3, "Error: there is no node 'n3' (there is n1, n2)\n")
    assert json.loads(machine.mangrove("node", "show", "n1", "-o", "json").output)["name"] == "n1"
    assert machine.mangrove("cluster", "list").output.splitlines()[1].split()[:3] == ["alpha", "live", "2"]
    assert "root " in machine.mangrove("version").output
    found = json.loads(machine.mangrove("doctor", "-o", "json", ok=False).output)
    assert {each["check"]: each["state"] for each in found}["login"] == "well"
    machine.mangrove("logout")
    assert machine.mangrove("node", "list", ok=False).code == 4


def test_what_happens_is_shown_as_it_happens(tree: Tree, machine: Machine) -> None:
    with machine.begin("events", "-f", "-o", "json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"]  # what was before: it is connected, or soon will be
        machine.mangrove("deploy", str(machine.home / "shop.yaml"), "--wait")
        service = json.loads(machine.mangrove("service", "show", "shop.web", "-o", "json").output)["id"]
        while (event := json.loads(process.stdout.readline()))["subject"] != f"{service}.0":
            pass
        assert event["kind"] == "placed"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in error
    shown = machine.mangrove("events", "--about", "shop.web").output
    assert "placed" in shown
    assert len(shown.splitlines()) >= 1


@pytest.mark.parametrize(("example", "said"), [("inventory", "alpha,n1,live"), ("deploy_and_wait", "3 of 3 run")])
def test_the_examples_of_the_client_do_what_they_say(tree: Tree, machine: Machine, example: str, said: str) -> None:
    environment = {**os.environ, "MANGROVE_ROOT": tree.root.address, "MANGROVE_PASSWORD": "Admin"}
    command = [sys.executable, "-m", f"examples.client.{example}"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=LONG, check=True
    )
    assert said in done.stdout
    assert list(tree.client.applications()) == []


def test_waiting_is_interrupted_tidily(tree: Tree, machine: Machine) -> None:
    machine.mangrove("deploy", str(machine.home / "shop.yaml"), "--wait")
    with machine.begin("wait", "shop", "--for", "deleted") as process:
        assert process.stderr is not None
        assert "still there" in process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in error


class Terminal:
    """A command at a terminal. seen: all that it has shown."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.seen = ""
        environment = {**os.environ, "HOME": str(machine.home), "TERM": "xterm", "COLUMNS": "120"}
        environment.pop("XDG_CONFIG_HOME", None)
        command = [str(Path(sys.executable).with_name("mangrove")), *arguments]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)

    def until(self, text: str) -> None:
        """Read on until it shows `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} does not come:\n{self.seen[-3000:]}"
            try:
                self.seen += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                raise AssertionError(f"it ended without {text!r}:\n{self.seen[-3000:]}") from None

    def end(self) -> int:
        """Let it write what it still will; its exit code."""
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self.seen += piece.decode(errors="replace")
        os.close(self._ours)
        return self.process.wait(PATIENCE)


def test_at_a_terminal_there_are_bars_and_a_tree_that_lives(tree: Tree, machine: Machine) -> None:
    deploying = Terminal(machine, "deploy", str(machine.home / "shop.yaml"), "--wait")
    assert deploying.end() == 0
    assert "shop.web" in deploying.seen
    assert "1/1" in deploying.seen
    assert "━" in deploying.seen

    watching = Terminal(machine, "top", "--interval", "0.5")
    watching.until("shop.web.0")
    machine.mangrove("scale", "shop.web", "2")
    watching.until("shop.web.1")
    watching.process.send_signal(signal.SIGINT)
    assert watching.end() == 130
    assert "Traceback" not in watching.seen
    assert "\x1b[?1049l" in watching.seen, "the terminal is as it was before"
