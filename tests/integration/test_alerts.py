"""The alert rules and the dashboard: they name what is there, and each alert fires when it should and not otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mangrove.roles.metrics import TABLE, series_of

COMPOSE = Path(__file__).parents[2] / "compose"
RULES = COMPOSE / "prometheus/alerts.yml"
DASHBOARD = COMPOSE / "grafana/dashboards/mangrove.json"

ROOT = 'instance="r:1",job="mangrove-root"'
CLUSTER = 'instance="c:1",job="mangrove-cluster"'
CHILD = f'{CLUSTER},child="x",name="n1"'
NODE = f'{ROOT},node="x",name="n1"'
HTTP = f"mangrove_http_request_seconds_count{{{ROOT}"

#: For each alert, what it looks at: series with their values minute by minute when all is well, and when it is not.
STATES: dict[str, list[tuple[str, str, str]]] = {
    "MangroveRootDown": [(f"up{{{ROOT}}}", "1x30", "0x30")],
    "MangroveClusterDown": [(f"up{{{CLUSTER}}}", "1x30", "0x30")],
    "MangroveLoopStalled": [(f"mangrove_loop_idle_seconds{{{CLUSTER}}}", "0.4x30", "11+60x30")],
    "MangroveLoopFailing": [(f"mangrove_loop_failures_total{{{ROOT}}}", "3x30", "0+1x30")],
    "MangroveOverloaded": [(f"mangrove_loop_busy_seconds_total{{{ROOT}}}", "0+30x30", "0+55x30")],
    "MangroveStoreNotWritable": [(f"mangrove_store_writable{{{ROOT}}}", "1x30", "0x30")],
    "MangroveStoreErrors": [(f'mangrove_store_errors_total{{{ROOT},operation="get"}}', "5x30", "0+2x30")],
    "MangroveBrokerDown": [(f"mangrove_broker_up{{{CLUSTER}}}", "1x30", "0x30")],
    "MangroveClusterCutOff": [(f"mangrove_parent_connected{{{CLUSTER}}}", "1x30", "0x30")],
    "MangroveHttpErrors": [
        (f'{HTTP},method="GET",route="/a",status="500"}}', "0+1x30", "0+10x30"),
        (f'{HTTP},method="GET",route="/a",status="200"}}', "0+100x30", "0+100x30"),
    ],
    "MangroveMessagesRefused": [
        (f'mangrove_link_dropped_messages_total{{{CLUSTER},side="children",reason="forged"}}', "7x30", "0+9x30"),
        (f'mangrove_link_dropped_messages_total{{{CLUSTER},side="children",reason="session"}}', "0+9x30", "0+9x30"),
    ],
    "MangroveChildSilent": [(f"mangrove_child_up{{{CHILD}}}", "1x30", "0x30")],
    "MangroveClockSkew": [(f"mangrove_child_clock_offset_seconds{{{CHILD}}}", "2x30", "-9x30")],
    "MangroveInstancesNotRunning": [
        (f'mangrove_slots{{{ROOT},phase="running"}}', "9x30", "9x30"),
        (f'mangrove_slots{{{ROOT},phase="pending"}}', "0x10 1 0x19", "2x30"),
    ],
    "MangroveInstancesFailing": [(f"mangrove_slots_failing{{{ROOT}}}", "0x30", "1x30")],
    "MangroveInstancesUnplaced": [(f"mangrove_slots_unplaced{{{ROOT}}}", "0x30", "1x30")],
    "MangroveDiskNearlyFull": [
        (f"mangrove_disk_free_bytes{{{ROOT}}}", "11x30", "9x30"),
        (f"mangrove_disk_size_bytes{{{ROOT}}}", "100x30", "100x30"),
    ],
    "MangroveNodeDiskNearlyFull": [
        (f"mangrove_node_disk_free_bytes{{{NODE}}}", "20x30", "1x30"),
        (f"mangrove_node_disk_bytes{{{NODE}}}", "80x30", "99x30"),
    ],
    "MangroveNodeHot": [(f"mangrove_node_temperature_celsius{{{NODE}}}", "60x30", "90x30")],
    "MangroveNodeBatteryLow": [(f"mangrove_node_battery_ratio{{{NODE}}}", "0.5x30", "0.1x30")],
}


def promtool(*arguments: str) -> str:
    """What Prometheus' own tool says; fails when it is not content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def firing(tmp_path: Path, name: str, series: list[tuple[str, str]], alerts: int) -> None:
    """Fails unless exactly this alert fires (alerts: 1) or none at all (0) after half an hour of these series."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if alerts else []
    test = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": one, "values": values} for one, values in series],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "25m",
                        "exp_samples": samples,
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps(test))
    promtool("test", "rules", str(tmp_path / "test.json"))


def test_prometheus_takes_the_rules_and_its_configuration(tmp_path: Path) -> None:
    assert f"{len(STATES)} rules found" in promtool("check", "rules", str(RULES))
    (tmp_path / "nodes").mkdir()
    for program in ("root", "cluster"):
        (tmp_path / f"{program}_metrics_token").write_text("x")
    shutil.copy(RULES, tmp_path)
    config = (COMPOSE / "prometheus/prometheus.yml").read_text().replace("/etc/prometheus/", f"{tmp_path}/")
    config = config.replace("/run/secrets/", f"{tmp_path}/")
    (tmp_path / "prometheus.yml").write_text(config)
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_every_alert_is_tried() -> None:
    assert set(re.findall(r"- alert: (\w+)", RULES.read_text())) == STATES.keys()


@pytest.mark.parametrize("alert", STATES)
def test_an_alert_fires_when_it_should(alert: str, tmp_path: Path) -> None:
    firing(tmp_path, alert, [(series, bad) for series, _, bad in STATES[alert]], 1)


def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    firing(tmp_path, "", [(series, good) for states in STATES.values() for series, good, _ in states], 0)


def expressions() -> list[str]:
    """All that the dashboard asks Prometheus."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_dashboard_and_rules_name_only_metrics_that_there_are() -> None:
    there = {series for metric in TABLE for series in series_of(metric)}
    named = set(re.findall(r"mangrove_\w+", RULES.read_text() + " ".join(expressions())))
    assert named <= there
    assert len(named) > 30


def test_a_panel_has_a_place_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
