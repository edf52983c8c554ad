"""Containers as instances, in a real Docker engine and a real Podman."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from mangrove.base.clock import SystemClock
from mangrove.model.resources import Resources
from mangrove.model.specification import Port, Volume
from node_engine.runtimes import docker_client, docker_events, docker_pull
from node_engine.runtimes.docker import DockerRuntime
from node_engine.runtimes.docker_figures import Figures, figures_of_stats
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.runtimes.printed import LONGEST, Line, Reading, Wish
from tests.integration import runtimes
from tests.integration.links import wait_until
from tests.integration.runtimes import (
    IMAGE,
    INSTALLATION,
    load_image,
    output_of,
    registry,
    remove_all,
    run,
    say_nothing,
)

pytestmark = pytest.mark.docker


def workload(attempt: str, *command: str, **given: Any) -> Workload:
    return runtimes.workload(attempt, *command, **{"runtime": "docker", "image": IMAGE} | given)


@pytest.fixture
def runtime(container_host: str) -> Iterator[DockerRuntime]:
    load_image(container_host)
    made = DockerRuntime(INSTALLATION, "n1", host=container_host)
    assert not made.available()
    yield made
    remove_all(made)
    made.close()


@pytest.fixture
def api(container_host: str) -> Iterator[docker.APIClient]:
    """The engine as others use it."""
    with contextlib.closing(docker.APIClient(base_url=container_host, version="auto", timeout=60)) as client:
        yield client


def only(runtime: DockerRuntime) -> Instance:
    (instance,) = runtime.list()
    return instance


def ended(runtime: DockerRuntime) -> Instance:
    wait_until(lambda: only(runtime).state == "exited", "the container ended")
    return only(runtime)


# What is made.


def test_the_engines_name_and_version_are_known(runtime: DockerRuntime, api: docker.APIClient) -> None:
    (engine,) = (part for part in api.version()["Components"] if part["Name"] in ("Engine", "Podman Engine"))
    name = "Podman" if engine["Name"].startswith("Podman") else "Docker"

    assert runtime.engine == f"{name} {engine['Version']}"


def test_what_the_engine_has_beside_is_an_addon(runtime: DockerRuntime, api: docker.APIClient) -> None:
    assert runtime.available() == ""
    info = api.info()
    assert "volume-driver/local" in runtime.addons
    assert {f"volume-driver/{name}" for name in info["Plugins"]["Volume"]} <= set(runtime.addons)
    assert {f"oci-runtime/{name}" for name in info.get("Runtimes") or {}} <= set(runtime.addons)


def test_what_the_engine_was_asked_for(runtime: DockerRuntime, api: docker.APIClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the node\n")
    given = workload(
        "a1",
        *("sh", "-c", "exec 2>&1; cat /mnt/file; echo $GREETING; ls /dev/fuse; touch /mnt/x; sleep 60"),
        environment=("GREETING=hello there",),
        resources=Resources(cpu=250, memory=32),
        volumes=(Volume(str(tmp_path), "/mnt", read_only=True),),
        privileged=os.path.exists("/dev/fuse"),
    )
    run(runtime, given)
    found = api.inspect_container("mangrove-a1")

    assert found["Config"]["Labels"] == {
        "mangrove.installation": INSTALLATION,
        "mangrove.node": "n1",
        "mangrove.attempt": "a1",
        "mangrove.service": "app.test.web.test",
        "mangrove.number": "0",
    }
    host = found["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (250_000_000, 2**25, 2**25)
    assert host["RestartPolicy"]["Name"] == "no"
    # Podman does not say how large it lets its log grow.
    told = {"max-size": "10485760", "max-file": "2"} if runtime.engine.startswith("Docker") else None
    assert host["LogConfig"] == {"Type": "json-file", "Config": told}
    assert not host["Privileged"]
    wait_until(lambda: b"Read-only" in output_of(runtime, "a1", 10), "it ran")
    lines = output_of(runtime, "a1", 10).decode().splitlines()
    assert lines[:2] == ["from the node", "hello there"]
    assert "/dev/fuse" in lines[2]
    assert output_of(runtime, "a1", 1).decode() == "touch: /mnt/x: Read-only file system\n"


def test_a_command_stands_for_the_entry_point_too(runtime: DockerRuntime, container_host: str) -> None:
    image = load_image(container_host, "mangrove-test/talker:1", 'ENTRYPOINT ["echo", "image"]', 'CMD ["says"]')
    run(runtime, workload("a1", image=image))
    run(runtime, workload("a2", "echo", "user", "says", image=image))
    wait_until(lambda: all(each.state == "exited" for each in runtime.list()), "both ended")

    assert (output_of(runtime, "a1", 5), output_of(runtime, "a2", 5)) == (b"image says\n", b"user says\n")


def test_a_published_port_answers(runtime: DockerRuntime, free_port: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    port = free_port()
    command = ("httpd", "-f", "-p", "80", "-h", "/www")
    run(runtime, workload("a1", *command, ports=(Port(port, 80),), volumes=(Volume(str(tmp_path), "/www"),)))

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
            return bool(page.read() == b"hello")
        return False

    wait_until(answers, "the page is there")
    second = workload("a2", "sleep", "60", ports=(Port(port, 80),))
    runtime.prepare(second, say_nothing)
    with pytest.raises(RuntimeFault, match=f"^port {port} on this node is in use$"):
        runtime.start(second)
    runtime.remove("a1")
    assert runtime.start(second).state == "running", "it starts as soon as the port is free"


def test_a_port_that_a_process_of_the_node_has(runtime: DockerRuntime) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        given = workload("a1", "sleep", "60", ports=(Port(port, 80),))
        runtime.prepare(given, say_nothing)
        with pytest.raises(RuntimeFault, match=f"^port {port} on this node is in use$"):
            runtime.start(given)


#: What Podman says instead; nothing where it takes as much as the node has.
_IN_PODMAN = {
    "memory: Docker needs a limit of at least 6MB": "memory: a limit of 1048576 bytes is less than",
    "vcpus: Docker on this node can give 0.01 to": "",
    "Docker cannot give GPUs: install nvidia-container-toolkit on this node": "Podman cannot give GPUs through",
}


@pytest.mark.parametrize(
    ("given", "message", "permanent"),
    [
        ({"image": ""}, "image: empty", True),
        ({"image": "no:such:image"}, "image no:such:image is not a valid image name", True),
        ({"resources": Resources(memory=1)}, "memory: Docker needs a limit of at least 6MB", True),
        ({"resources": Resources(cpu=10_000_000)}, "vcpus: Docker on this node can give 0.01 to", True),
        ({"volumes": (Volume("/nope", "/x"),)}, "volume /nope does not exist on this node", False),
        ({"command": ("nosuch",)}, f"executable nosuch not found in image {IMAGE}", False),
        ({"gpus": ("0",)}, "Docker cannot give GPUs: install nvidia-container-toolkit on this node", False),
    ],
)
def test_what_cannot_be_made(runtime: DockerRuntime, given: dict[str, Any], message: str, permanent: bool) -> None:
    if runtime.engine.startswith("Podman"):
        message = _IN_PODMAN.get(message, message)
    command = given.get("command", ("sleep", "60"))
    given = {key: value for key, value in given.items() if key != "command"}
    if not message:
        run(runtime, workload("a1", *command, **given))
        assert only(runtime).state == "running"
        return
    with pytest.raises(RuntimeFault) as caught:
        run(runtime, workload("a1", *command, **given))
    assert caught.value.message.startswith(message)
    assert caught.value.permanent == permanent
    assert all(instance.state == "prepared" for instance in runtime.list())
    runtime.remove("a1")
    assert not runtime.list()


def test_a_name_that_somebody_elses_container_has(runtime: DockerRuntime, api: docker.APIClient) -> None:
    api.create_container(IMAGE, "sleep 60", name="mangrove-a1")
    try:
        with pytest.raises(RuntimeFault, match="a container mangrove-a1 is there that is not this node's: remove it"):
            runtime.prepare(workload("a1", "sleep", "60"), say_nothing)
        assert not runtime.list()
    finally:
        api.remove_container("mangrove-a1", force=True)


def test_an_end_is_seen_when_it_is_told(runtime: DockerRuntime) -> None:
    """The engine's list knows of it only a moment later, when nobody tells anything any more."""
    ended = threading.Event()

    def look() -> None:
        if any(instance.exit_code == 7 for instance in runtime.list()):
            ended.set()

    runtime.watch(look)
    run(runtime, workload("a1", "sh", "-c", "sleep 0.5; exit 7"))
    assert ended.wait(20)


def test_an_answer_that_was_lost(runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container is there, but whoever asked for it did not learn that, and asks for it again."""
    given = workload("a1", "sleep", "60")
    runtime.prepare(given, say_nothing)
    looks: list[Any] = [None]
    inspect = runtime._inspect
    monkeypatch.setattr(runtime, "_inspect", lambda attempt: looks.pop() if looks else inspect(attempt))
    runtime.prepare(given, say_nothing)

    assert runtime.start(given).state == "running"


# Images.


def test_a_missing_image_is_pulled_with_progress(
    registry_port: int, runtime: DockerRuntime, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_pull, "_PROGRESS_EVERY", 0.0)
    said: list[str] = []
    with registry(registry_port) as shelf:
        image = shelf.add("team/app", "1", runtimes.busybox_layer(), runtimes.tar_of("noise", os.urandom(6 * 2**20)))
        given = workload("a1", "sleep", "60", image=image)
        try:
            runtime.prepare(given, said.append)
            runtime.attach(given)
            assert runtime.start(given).state == "running"
            pulled = len(shelf.asked)
            runtime.prepare(workload("a2", "sleep", "60", image=image), said.append)
            assert len(shelf.asked) == pulled, "an image that is there is not asked for again"
        finally:
            remove_all(runtime)
            api.remove_image(image)
    assert said[0] == f"pulling {image}"
    assert len(set(said)) == len(said), "nothing is said twice"
    if runtime.engine.startswith("Docker"):  # Podman does not count
        assert any(line.startswith(f"pulling {image}: ") and line.endswith(" of 7 MiB") for line in said)


def test_progress_is_bounded_in_rate(runtime: DockerRuntime, api: docker.APIClient, registry_port: int) -> None:
    said: list[str] = []
    with registry(registry_port) as shelf:
        image = shelf.add("team/app", "2", runtimes.tar_of("noise", os.urandom(6 * 2**20)))
        start = SystemClock().now()
        runtime.prepare(workload("a1", "sleep", "60", image=image), said.append)
        seconds = SystemClock().now() - start
        runtime.remove("a1")
        api.remove_image(image)
    assert len(said) <= 1 + seconds


def test_an_image_that_its_registry_does_not_have(runtime: DockerRuntime, registry_port: int) -> None:
    with registry(registry_port) as shelf:
        shelf.add("team/app", "1", runtimes.busybox_layer())
        image = f"127.0.0.1:{shelf.port}/team/app:9"
        with pytest.raises(RuntimeFault, match=f"^image {image} not found$") as caught:
            runtime.prepare(workload("a1", "sleep", "60", image=image), say_nothing)
    assert not caught.value.permanent
    assert not runtime.list()


def test_a_part_of_an_image_that_is_missing(runtime: DockerRuntime, registry_port: int) -> None:
    """The engine learns that in the middle of a pull, when it has said already that all is well."""
    with registry(registry_port) as shelf:
        image = shelf.add("team/app", "4", runtimes.busybox_layer())
        shelf.blobs = {digest: blob for digest, blob in shelf.blobs.items() if blob.startswith(b"{")}
        with pytest.raises(RuntimeFault, match=f"^image {image} is not whole in its registry$"):
            runtime.prepare(workload("a1", "sleep", "60", image=image), say_nothing)


def test_a_registry_that_is_away(runtime: DockerRuntime, free_port: Callable[[], int]) -> None:
    image = f"127.0.0.1:{free_port()}/team/app:1"
    with pytest.raises(RuntimeFault, match=f"^image {image} is not on this node, and its registry cannot be reached$"):
        runtime.prepare(workload("a1", "sleep", "60", image=image), say_nothing)


def test_a_pull_can_be_given_up(runtime: DockerRuntime, registry_port: int) -> None:
    def give_up(line: str) -> None:
        raise RuntimeFault("given up")

    with registry(registry_port) as shelf:
        image = shelf.add("team/app", "3", runtimes.busybox_layer())
        with pytest.raises(RuntimeFault, match=r"^given up$"):
            runtime.prepare(workload("a1", "sleep", "60", image=image), give_up)


# How it ends, and what is measured.


def test_too_much_memory_is_told(runtime: DockerRuntime) -> None:
    hog = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
    run(runtime, workload("a1", *hog, resources=Resources(memory=32)))

    assert ended(runtime).reason.endswith("out of memory (limit 32 MiB)")  # "perhaps", when the engine missed it


def test_a_signal_is_told(runtime: DockerRuntime, api: docker.APIClient) -> None:
    run(runtime, workload("a1", "sleep", "60"))
    api.kill("mangrove-a1", "KILL")

    assert ended(runtime).reason == "killed by signal 9"


def test_an_end_is_seen_anew_after_each_start(runtime: DockerRuntime) -> None:
    given = workload("a1", "sh", "-c", "test -e /tmp/again && exit 4; touch /tmp/again; exit 3")
    run(runtime, given)
    assert ended(runtime).reason == "exit code 3"
    runtime.start(given)
    assert ended(runtime).reason == "exit code 4"


def test_what_others_remove_is_gone(runtime: DockerRuntime, api: docker.APIClient) -> None:
    run(runtime, workload("a1", "sleep", "60"))
    runtime.list()
    api.remove_container("mangrove-a1", force=True)

    assert not runtime.list()
    assert runtime.usage(["a1"]) == {}
    with pytest.raises(RuntimeFault, match="a1 was not prepared"):
        runtime.start(workload("a1", "sleep", "60"))


@pytest.mark.parametrize("kernel", [True, False], ids=["by the kernel", "by the engine"])
def test_usage(runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """The engine is asked where the kernel's files cannot be seen, as from within a container."""
    asked: list[Mapping[str, Any]] = []

    def of_stats(stats: Mapping[str, Any]) -> Figures | None:
        asked.append(stats)
        return figures_of_stats(stats)

    monkeypatch.setattr("node_engine.runtimes.docker.figures_of_stats", of_stats)
    if not kernel:
        monkeypatch.setattr("node_engine.runtimes.docker.figures_of_process", lambda *_: None)
    busy = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); while :; do :; done"
    run(runtime, workload("a1", "sh", "-c", busy, resources=Resources(memory=256)))

    def busy_enough() -> bool:
        usage = runtime.usage(["a1"])["a1"]
        return usage.cpu > 10 and usage.memory > 4_000_000 and usage.rx > 0

    wait_until(busy_enough, "CPU, memory and network are seen")
    assert bool(asked) != kernel
    runtime.stop("a1", 0)
    runtime.list()
    assert runtime.usage(["a1"]) == {}


def test_a_long_line_is_cut_and_says_so(runtime: DockerRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; echo last"))
    ended(runtime)

    if runtime.engine.startswith("Docker"):  # Podman leaves lines of more than 4 kB out of the last ones
        cut, end, last = output_of(runtime, "a1").splitlines()
        assert cut == b"x" * LONGEST + " … 283,616 more bytes of this line are left out".encode()
        assert (end, last) == (b"end", b"last")
    assert output_of(runtime, "a1", 2) == b"end\nlast\n"


# The engine away.


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    runtime = DockerRuntime(INSTALLATION, "n1", host=f"unix://{tmp_path}/none.sock")
    message = (
        f"the Docker engine does not answer at unix://{tmp_path}/none.sock: "
        "start it (systemctl start docker), or say where it is (DOCKER_HOST)"
    )
    assert runtime.available() == message
    for call in (runtime.list, lambda: runtime.prepare(workload("a1", "true"), say_nothing)):
        with pytest.raises(RuntimeFault) as caught:
            call()
        assert (caught.value.message, caught.value.permanent) == (message, False)
    runtime.close()


def test_an_engine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_client, "_ASK", 1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/s")
        silent.listen()
        runtime = DockerRuntime(INSTALLATION, "n1", host=f"unix://{tmp_path}/s")
        assert "does not answer at" in runtime.available()
        runtime.close()


class Relay:
    """A way to the engine at `host` that can be cut and laid anew, on a port of loopback."""

    def __init__(self, host: str, port: int) -> None:
        self._path = urlsplit(host).path
        self._port = port
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.lay()

    def lay(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self._port))
        self._begin(self._accept, self._server)

    def cut(self) -> None:
        for end in (self._server, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        for end in (self._server, *self._ends):
            end.close()
        self._ends, self._threads = [], []

    def _begin(self, what: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                engine = socket.socket(socket.AF_UNIX)
                self._ends += [client, engine]
                engine.connect(self._path)
                self._begin(self._pump, client, engine)
                self._begin(self._pump, engine, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_the_engine_goes_away_and_comes_back(
    container_host: str, runtime: DockerRuntime, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not container_host.startswith("unix:"):
        pytest.skip("the engine is on another machine")
    monkeypatch.setattr(docker_events, "_RETRY", 0.05)
    monkeypatch.setattr(docker_events, "_RETRY_MOST", 0.2)
    port = free_port()
    relay = Relay(container_host, port)
    relayed = DockerRuntime(INSTALLATION, "n1", host=f"tcp://127.0.0.1:{port}")
    told = threading.Event()
    try:
        relayed.watch(told.set)
        assert told.wait(20), "the beginning is told, since nobody saw what was before"
        run(relayed, workload("a1", "sh", "-c", "sleep 60"))
        relay.cut()
        with pytest.raises(RuntimeFault, match=r"the Docker engine does not answer at tcp://127\.0\.0\.1"):
            relayed.list()
        runtime.stop("a1", 0)
        told.clear()
        relay.lay()

        assert told.wait(20), "what was missed is told"
        assert ended(relayed).reason == "killed by signal 9"
        told.clear()
        relayed.start(workload("a1", "true"))
        assert told.wait(20), "it follows again"
    finally:
        relayed.close()
        relay.cut()
    wait_until(lambda: "docker-events" not in {each.name for each in threading.enumerate()}, "its thread ended")


def test_a_close_that_comes_while_the_events_are_asked_for(
    container_host: str, runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = threading.Event()
    events = docker.APIClient.events

    def late(*arguments: Any, **options: Any) -> Any:
        closing.wait(20)
        return events(*arguments, **options)

    monkeypatch.setattr(docker.APIClient, "events", late)
    monkeypatch.setattr(docker_events, "_FAREWELL", 0.0)
    other = DockerRuntime(INSTALLATION, "n1", host=container_host)
    other.watch(lambda: pytest.fail("told after close"))
    other.close()
    closing.set()

    wait_until(lambda: "docker-events" not in {each.name for each in threading.enumerate()}, "its thread ended")


# What it costs.


def test_the_sdk_is_not_loaded_before_it_is_used() -> None:
    program = (
        "import sys; from node_engine.runtimes.docker import DockerRuntime; DockerRuntime('i', 'n');"
        "print(sorted({'docker', 'requests', 'urllib3', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"


def test_a_start_is_no_slower_than_dockers_own(docker_host: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("the docker command is not installed")
    load_image(docker_host)
    runtime = DockerRuntime(INSTALLATION, "n1", host=docker_host)
    ours, theirs = [], []
    for number in range(5):
        start = SystemClock().now()
        run(runtime, workload(f"a{number}", "sleep", "60"))
        ours.append(SystemClock().now() - start)
        name = f"{INSTALLATION}-{number}"
        command = ["docker", "-H", docker_host, "run", "--rm", "-d", "--name", name, IMAGE, "sleep", "60"]
        start = SystemClock().now()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        theirs.append(SystemClock().now() - start)
        runtime.remove(f"a{number}")
        subprocess.run(["docker", "-H", docker_host, "rm", "-f", name], stdout=subprocess.DEVNULL, check=True)
    # All that is ours to add is two or three calls of a few milliseconds.
    runtime.close()
    assert statistics.median(ours) < statistics.median(theirs) + 1.0


def lines_of(runtime: DockerRuntime, wish: Wish | None = None, reading: Reading | None = None) -> list[Line]:
    return [line for lines in runtime.logs("a1", wish or Wish(), reading or Reading()) for line in lines]


def test_lines_have_their_stream_and_time_and_can_be_gone_on_behind(runtime: DockerRuntime) -> None:
    run(runtime, workload("a1", "sh", "-c", "echo one; sleep 1.2; echo two >&2; sleep 1.2; echo three; echo four"))
    ended(runtime)

    lines = lines_of(runtime)
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", b"one"),
        ("stderr", b"two"),
        ("stdout", b"three"),
        ("stdout", b"four"),
    ]
    assert all(abs(line.time - time.time()) < 60 for line in lines)
    assert lines[0].time < lines[1].time  # Podman tells whole seconds
    for place, line in enumerate(lines):
        assert lines_of(runtime, Wish(position=line.position)) == lines[place + 1 :]
    assert lines_of(runtime, Wish(since=lines[1].time - 0.001)) == lines[1:]
    assert lines_of(runtime, Wish(tail=1))[0].text == b"four"
    assert lines_of(runtime, Wish(position="5.1"))[0].stream == "mangrove", "what came before is not there any more"


def test_following_goes_on_through_a_start_in_place_and_stops_when_nobody_reads(runtime: DockerRuntime) -> None:
    work = workload("a1", "sh", "-c", "echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; touch /tmp/gone; exit 1")
    run(runtime, work)
    reading = Reading(lambda: False)
    batches = runtime.logs("a1", Wish(follow=True), reading)
    assert [line.text for line in next(batches)] == [b"begun"]
    runtime.stop("a1", 0)
    runtime.start(work)
    assert [line.text for line in next(batches)] == [b"begun"]
    threading.Timer(0.2, reading.stop).start()
    assert list(batches) == []
