"""The parsers on texts that kernels wrote, and on this machine's own /proc against psutil."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from examples.pulse import readings
from examples.pulse.readings import METRICS, CpuTimes, Machine, Traffic
from mangrove.client.wait import wait_until

PROC = Path("/proc")


def test_cpu_times_leave_out_guests_which_count_as_users_too() -> None:
    stat = "cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert readings.parse_cpu_times(stat) == CpuTimes(busy=171, total=621)


def test_a_strange_stat_is_refused() -> None:
    with pytest.raises(ValueError, match="not the first line"):
        readings.parse_cpu_times("intr 1 2 3")


def test_memory_is_given_in_bytes() -> None:
    assert readings.parse_memory(
        "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\nHugePages_Total: 0\n"
    ) == (
        2 << 20,
        1 << 20,
    )


def test_load_and_threads() -> None:
    assert readings.parse_load("0.42 0.30 0.20 3/217 4242\n") == (0.42, 217)


def test_traffic_leaves_out_loopback() -> None:
    headings = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes packets\n"
    lines = (
        "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
        "  eth0:1000 9 0 0 0 0 0 0 200 9 0 0 0 0 0 0\n"
        "wlan0: 30 9 0 0 0 0 0 0 4 9 0 0 0 0 0 0\n"
    )
    assert readings.parse_traffic(headings + lines) == Traffic(1030, 204)


def test_the_hottest_zone_counts_and_broken_ones_do_not(tmp_path: Path) -> None:
    for number, text in enumerate(["41500\n", "63000\n", "no data\n"]):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}/temp").write_text(text)
    (tmp_path / "thermal_zone3/temp").mkdir(parents=True)
    assert readings.read_temperature(tmp_path) == 63.0
    assert readings.read_temperature(tmp_path / "nowhere") is None


def test_this_machine_agrees_with_psutil() -> None:
    total, available = readings.parse_memory((PROC / "meminfo").read_text())
    memory = psutil.virtual_memory()
    assert total == memory.total
    assert available == pytest.approx(memory.available, rel=0.5)  # others take and leave some in between
    assert readings.parse_load((PROC / "loadavg").read_text())[0] == pytest.approx(os.getloadavg()[0], abs=1)


def test_this_machines_traffic_is_as_psutil_says() -> None:
    def difference() -> int:
        traffic = readings.parse_traffic((PROC / "net/dev").read_text())
        counters = psutil.net_io_counters(pernic=True)
        return sum(of_one.bytes_recv for name, of_one in counters.items() if name != "lo") - traffic.received

    # Something may come in between, and other tests make and remove network cards.
    wait_until(lambda: 0 <= difference() < 10_000_000, 30, what="the same traffic")


def test_the_first_reading_has_no_rates_and_the_second_has_all() -> None:
    machine = Machine()
    first = machine.read(time.monotonic())
    assert first.keys() & {"cpu", "received", "sent"} == set()
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:  # something for the processor to do
        sum(range(1000))
    second = machine.read(time.monotonic())
    assert METRICS.keys() - {"temperature"} <= second.keys() <= METRICS.keys()
    assert 0 < second["cpu"] <= 100
    assert 0 < second["memory"] < 100


def test_rates_follow_from_two_readings(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "net").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 250 kB\n")
    (proc / "loadavg").write_text("1.50 0 0 1/9 1\n")
    machine = Machine(tmp_path)
    values = {}
    for now, busy, idle, received in ((0.0, 100, 100, 5_000), (2.0, 130, 170, 9_000)):
        (proc / "stat").write_text(f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0\n")
        (proc / "net/dev").write_text(f"a\nb\n eth0: {received} 0 0 0 0 0 0 0 700 0 0 0 0 0 0 0\n")
        values = machine.read(now)
    assert values == {"cpu": 30.0, "memory": 75.0, "load": 1.5, "threads": 9.0, "received": 2.0, "sent": 0.0}
