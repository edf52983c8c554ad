"""From a workload to what a runtime is asked for: environment, command, Docker's request, and words for endings."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mangrove.model.resources import Resources
from mangrove.model.specification import Port, Specification, Volume
from node_engine.runtimes.command import check_free, command_of
from node_engine.runtimes.docker_request import request_of
from node_engine.runtimes.endings import reason_of_exit
from node_engine.runtimes.environment import environment_of
from node_engine.runtimes.interface import RuntimeFault, Workload
from node_engine.runtimes.rates import CpuRates


def workload(specification: Specification, *environment: str, gpus: tuple[str, ...] = ()) -> Workload:
    return Workload("a1", "service1", 3, 7, specification, environment, gpus)


def test_the_specifications_environment_wins() -> None:
    given = workload(Specification(name="n", environment=("A=1=2", "B=")), "B=engine", "HOSTNAME=instance-3")

    assert environment_of(given) == {"A": "1=2", "B": "", "HOSTNAME": "instance-3"}


@pytest.mark.parametrize("entry", ["", "=x", "KEY", "KEY=a\0b"])
def test_an_environment_that_is_none(entry: str) -> None:
    with pytest.raises(RuntimeFault, match=r"environment: .* is not of the form KEY=value") as caught:
        environment_of(workload(Specification(name="n", environment=(entry,))))
    assert caught.value.permanent


def test_a_process_has_a_small_environment(tmp_path: Path) -> None:
    given = workload(
        Specification(name="n", image="sh", volumes=(Volume(str(tmp_path), "/data"),)), gpus=("0", "GPU-b")
    )
    command, environment = command_of(given, tmp_path / "work")

    assert command == ("sh",)
    assert environment.pop("PATH").endswith("/sbin:/bin")
    assert environment.pop("LANG")
    assert environment == {
        "HOME": str(tmp_path / "work"),
        "CUDA_VISIBLE_DEVICES": "0,GPU-b",
        "MANGROVE_VOLUME_0": str(tmp_path),
    }


def test_a_process_without_gpus_sees_none(tmp_path: Path) -> None:
    given = workload(Specification(name="n", image="sh", environment=("CUDA_VISIBLE_DEVICES=0",)))

    assert command_of(given, tmp_path)[1]["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("specification", "message", "permanent"),
    [
        (Specification(name="n"), "nothing to run: image and command are both empty", True),
        (Specification(name="n", command=("sh", "a\0b")), "command: has a NUL character", True),
        (Specification(name="n", image="nosuch"), "executable nosuch not found on this node", False),
        (Specification(name="n", image="/etc/passwd"), "executable /etc/passwd not found on this node", False),
        (Specification(name="n", image="/nope", command=("sh",)), "executable /nope not found on this node", False),
        (Specification(name="n", command=("nosuch", "x")), "executable nosuch not found on this node", False),
        (Specification(name="n", command=("sh",), environment=("PATH=/nope",)), "executable sh not found", False),
        (Specification(name="n", image="sh", environment=("a.b=1",)), "environment: 'a.b': names for processes", True),
        (
            Specification(name="n", image="sh", volumes=(Volume("/nope", "/x"),)),
            "volume /nope does not exist on this node",
            False,
        ),
    ],
)
def test_what_a_process_lacks(tmp_path: Path, specification: Specification, message: str, permanent: bool) -> None:
    with pytest.raises(RuntimeFault) as caught:
        command_of(workload(specification), tmp_path)
    assert caught.value.message.startswith(message)
    assert caught.value.permanent == permanent


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use(kind: str) -> None:
    stream = kind == "tcp"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if stream:
            taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(RuntimeFault, match=f"^port {number} on this node is in use$"):
            check_free([Port(number, 80, "tcp" if stream else "udp")])
    check_free([Port(number, 80, "tcp" if stream else "udp")])


FULL = Specification(
    name="app.ns.web.ns",
    image="web:1",
    command=("serve", "--fast"),
    environment=("A=1",),
    resources=Resources(cpu=1500, memory=64),
    ports=(Port(8080, 80), Port(8081, 80), Port(53, 53, "udp")),
    volumes=(Volume("/data", "/mnt", read_only=True),),
    privileged=True,
)


def test_dockers_request() -> None:
    labels = {"mangrove.installation": "i", "mangrove.node": "n"}

    assert request_of(workload(FULL, gpus=("GPU-a",)), labels) == {
        "Image": "web:1",
        "Entrypoint": ["serve", "--fast"],
        "Env": ["A=1"],
        "Labels": {
            **labels,
            "mangrove.attempt": "a1",
            "mangrove.service": "app.ns.web.ns",
            "mangrove.number": "3",
        },
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}, {"HostPort": "8081"}], "53/udp": [{"HostPort": "53"}]},
            "Mounts": [{"Type": "bind", "Source": "/data", "Target": "/mnt", "ReadOnly": True}],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "2"}},
            "RestartPolicy": {"Name": "no"},
            "NanoCpus": 1_500_000_000,
            "Memory": 64 * 1024**2,
            "MemorySwap": 64 * 1024**2,
            "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
            "DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["GPU-a"], "Capabilities": [["gpu"]], "Options": {}}],
        },
    }


def test_dockers_request_for_what_asks_for_nothing() -> None:
    request = request_of(workload(Specification(name="n", image="web:1")), {})

    assert "Entrypoint" not in request
    assert request["HostConfig"].keys() == {"PortBindings", "Mounts", "LogConfig", "RestartPolicy"}


def test_docker_gives_no_less_than_a_hundredth_of_a_core() -> None:
    small = Specification(name="n", image="web:1", resources=Resources(cpu=1))

    assert request_of(workload(small), {})["HostConfig"]["NanoCpus"] == 10_000_000


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (reason_of_exit(0), ""),
        (reason_of_exit(3), "exit code 3"),
        (reason_of_exit(128), "exit code 128"),
        (reason_of_exit(137), "killed by signal 9"),
        (reason_of_exit(255), "exit code 255"),
        (reason_of_exit(137, out_of_memory=True, memory=64), "out of memory (limit 64 MiB)"),
        (reason_of_exit(1, out_of_memory=True), "out of memory"),
        (reason_of_exit(0, out_of_memory=True, memory=64), ""),
        (reason_of_exit(None), "ended, and nothing is left that knows its exit code"),
    ],
)
def test_endings_in_words(reason: str, expected: str) -> None:
    assert reason == expected


def test_cpu_rates() -> None:
    rates = CpuRates()

    assert rates.percent("a", 10.0, now=100.0) == 0.0
    assert rates.percent("a", 11.0, now=102.0) == 50.0
    assert rates.percent("a", 11.0, now=102.0) == 0.0, "no time has passed"
    assert rates.percent("a", 0.5, now=103.0) == 0.0, "it was restarted"
    assert rates.percent("a", 2.5, now=104.0) == 200.0
    rates.keep_only(["b"])
    assert rates.percent("a", 9.0, now=105.0) == 0.0
