"""The example application as a user runs it: three real processes that find each other over loopback, and faults."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.pulse.service import MAX_BODY
from examples.pulse.sla import application
from mangrove.client.wait import wait_until

#: Seconds for anything that should take a moment: long, because the processors are shared.
PATIENCE = 30.0


class Pulse:
    """Starts and stops the services just as their SLA says."""

    def __init__(self, folder: Path, analyst_port: int, board_port: int) -> None:
        self.analyst = f"http://127.0.0.1:{analyst_port}"
        self.board = f"http://127.0.0.1:{board_port}"
        self.folder = folder
        sla = application("process", host="127.0.0.1", analyst_port=analyst_port, board_port=board_port)
        self.services = {one["microservice_name"]: one for one in sla["applications"][0]["microservices"]}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            settings = dict(entry.split("=", 1) for entry in self.services[name]["environment"])
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(
                    self.services[name]["cmd"],
                    cwd=self.folder,
                    env={**os.environ, **settings, "HOSTNAME": f"{name}-0", "INTERVAL": "0.1"},
                    stdout=log,
                    stderr=log,
                )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """End a service; its exit code."""
        process = self.running.pop(name)
        process.send_signal(number)
        return process.wait(PATIENCE)

    def summary(self) -> dict[str, Any] | None:
        """What the board says, None while it says nothing."""
        status, body = ask(f"{self.board}/api/summary")
        return json.loads(body) if status == 200 else None

    def age(self) -> float:
        """Seconds, of what the board knows; negative while it says nothing."""
        return float((self.summary() or {"age": -1})["age"])

    def cpu_samples(self) -> int:
        summary = self.summary() or {"sources": {}}
        known = summary["sources"].get("sensor-0", {"metrics": {}})["metrics"].get("cpu", {"count": 0})
        return int(known["count"])

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def ask(url: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and body; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, body, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture
def pulse(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Pulse]:
    pulse = Pulse(tmp_path, free_port(), free_port())
    yield pulse
    for name in list(pulse.running):
        pulse.kill(name)


def test_they_find_each_other_in_any_order_and_go_on_after_faults(pulse: Pulse) -> None:
    # Those that ask come first: they say what is missing, and try on.
    pulse.start("board", "sensor")
    wait_until(lambda: ask(f"{pulse.board}/")[0] == 503, PATIENCE, what="the board to say that it knows nothing yet")
    wait_until(lambda: "cannot reach the analyst" in pulse.log("sensor"), PATIENCE, what="the sensor to say so too")

    pulse.start("analyst")
    wait_until(lambda: pulse.cpu_samples() >= 3, PATIENCE, what="figures of this machine on the board")
    summary = pulse.summary()
    assert summary is not None
    assert (summary["board"], summary["instance"]) == ("board-0", "analyst-0")
    figures = summary["sources"]["sensor-0"]["metrics"]
    assert {"cpu", "memory", "load", "threads", "received", "sent"} <= figures.keys()
    assert 0 <= figures["cpu"]["newest"] <= 100
    status, page = ask(f"{pulse.board}/")
    assert status == 200
    assert page.count("<svg") == len(figures)
    assert "sensor-0" in page

    # Without the analyst the board goes on with what it knew, and the sensor keeps what it measures.
    pulse.kill("analyst")
    wait_until(lambda: pulse.age() > 1.5, PATIENCE, what="the board's knowledge to grow old")
    assert pulse.cpu_samples() >= 3
    restarted = time.time()
    pulse.start("analyst")
    # The new one knows nothing of before, but for what the sensor kept.
    wait_until(lambda: 0 <= pulse.age() < 1, PATIENCE, what="the board to hear from the new analyst")
    wait_until(pulse.cpu_samples, PATIENCE, what="the sensor to send what it kept")
    first, _ = json.loads(ask(f"{pulse.analyst}/api/series?source=sensor-0&metric=cpu")[1])["points"][0]
    assert first < restarted

    assert {name: pulse.kill(name, signal.SIGTERM) for name in list(pulse.running)} == {
        "board": 0,
        "sensor": 0,
        "analyst": 0,
    }
    assert "Traceback" not in pulse.log("board") + pulse.log("sensor") + pulse.log("analyst")


def test_bad_requests_are_answered_and_change_nothing(pulse: Pulse) -> None:
    pulse.start("analyst")
    wait_until(lambda: ask(f"{pulse.analyst}/healthz")[0] == 200, PATIENCE, what="the analyst to listen")
    for url, body, status, named in [
        ("/api/samples", b"{", 400, "no JSON"),
        ("/api/samples", b'{"source": "a b", "samples": []}', 400, "source"),
        ("/api/samples", None, 404, "GET /api/samples"),
        ("/nowhere", None, 404, "/nowhere"),
        ("/api/series?source=x&metric=cpu", None, 404, "cpu"),
    ]:
        answer = ask(pulse.analyst + url, body)
        assert answer[0] == status
        assert named in json.loads(answer[1])["message"]
    for length in (str(MAX_BODY + 1), "-1", "many"):
        assert raw_post(pulse.analyst, length) == 413
    assert json.loads(ask(f"{pulse.analyst}/api/summary")[1])["sources"] == {}
    assert pulse.kill("analyst", signal.SIGTERM) == 0
    assert "Traceback" not in pulse.log("analyst")


def raw_post(base: str, length: str) -> int:
    """Status of a POST whose Content-Length is as given."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest("POST", "/api/samples")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "set the environment variable PORT"),
        ({"PORT": "99999"}, "PORT must be a number from 1 to 65535, not '99999'"),
        ({"PORT": "http"}, "PORT must be a number from 1 to 65535, not 'http'"),
        ({"PORT": "5001", "HOST": "192.0.2.77"}, "cannot listen at 192.0.2.77:5001 (HOST, PORT)"),
    ],
)
def test_wrong_settings_end_a_service_with_a_sentence(pulse: Pulse, settings: dict[str, str], said: str) -> None:
    environment = {"PYTHONPATH": os.fspath(Path(__file__).parents[2]), **settings}
    done = subprocess.run(
        pulse.services["analyst"]["cmd"], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
