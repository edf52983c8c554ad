"""Every metric that the programs show, in one table: what `/metrics` answers, what alerts and dashboards may name.

Names follow Prometheus' rules: the unit at the end, `_total` for what only rises. Figures are read when somebody asks
(`exposition.py`), from counters that are there anyway, so nobody who does not ask pays for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Program = Literal["root", "cluster", "node"]

#: Series of one kind for single children or instances in one answer. A cluster of design size (1,000 nodes, 10,000
#: instances) shows all of its nodes and the first of its instances; per-instance figures beyond are the API's matter.
MOST_SERIES = 1000


class Metric(NamedTuple):
    """name: without `mangrove_`. help: a sentence. unit: of the value, empty for a plain number. on: who shows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    on: tuple[Program, ...] = ("root", "cluster")


class Sample(NamedTuple):
    """One figure: a metric's name, its value, and the values of its labels in the table's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


#: Gives figures when asked; may be called from any thread.
Source = Callable[[], Iterable[Sample]]

_ALL: tuple[Program, ...] = ("root", "cluster", "node")
_CHILDREN: tuple[Program, ...] = ("cluster", "node")

TABLE: tuple[Metric, ...] = (
    # -- the program
    Metric("build_info", "gauge", "Always 1; which software runs.", ("program", "version", "python"), on=_ALL),
    Metric("disk_free_bytes", "gauge", "Free on the disk of the data folder.", unit="bytes", on=_ALL),
    Metric("disk_size_bytes", "gauge", "Size of the disk of the data folder.", unit="bytes", on=_ALL),
    # -- its loop
    Metric("loop_rounds_total", "counter", "Rounds of the program's loop.", on=_ALL),
    Metric("loop_busy_seconds_total", "counter", "Spent in rounds of the loop.", unit="seconds", on=_ALL),
    Metric(
        "loop_idle_seconds", "gauge", "Since the loop's newest round ended; rises while it hangs.", (), "seconds", _ALL
    ),
    Metric("loop_queue_events", "gauge", "Events that wait for the loop.", on=_ALL),
    Metric("loop_dropped_events_total", "counter", "Events dropped because too many waited.", on=_ALL),
    Metric("loop_failures_total", "counter", "Rounds that ended with an error.", on=_ALL),
    # -- HTTP
    Metric(
        "http_request_seconds", "histogram", "Until an answer began.", ("method", "route", "status"), unit="seconds"
    ),
    # -- the link
    Metric(
        "link_messages_total",
        "counter",
        "Messages of the link. side: with the parent or the children; direction: sent or heard.",
        ("side", "direction", "kind"),
        on=_ALL,
    ),
    Metric("link_dropped_messages_total", "counter", "Messages dropped.", ("side", "reason"), on=_ALL),
    Metric("link_sessions", "gauge", "Children with a session.", ("state",)),
    Metric("broker_up", "gauge", "Whether the broker for the children runs: 1 or 0."),
    Metric("parent_connected", "gauge", "Whether the parent tells this child what to run: 1 or 0.", on=_CHILDREN),
    Metric("parent_lease_seconds", "gauge", "Until the parent may replace what runs here.", (), "seconds", _CHILDREN),
    # -- children
    Metric("children", "gauge", "Children by state.", ("state",)),
    Metric("child_up", "gauge", "Whether a child is heard: 1 or 0.", ("child", "name")),
    Metric("child_heard_age_seconds", "gauge", "Since a child was last heard.", ("child", "name"), "seconds"),
    Metric(
        "child_clock_offset_seconds",
        "gauge",
        "How far a node's wall clock is behind the cluster's.",
        ("child", "name"),
        "seconds",
        ("cluster",),
    ),
    # -- instances
    Metric("slots", "gauge", "Instances that are wanted, by phase.", ("phase",)),
    Metric("slots_failing", "gauge", "Wanted instances whose newest attempts ended badly."),
    Metric("slots_unplaced", "gauge", "Wanted instances that fit nowhere just now."),
    Metric("instance_restarts", "gauge", "Restarts in place of all instances that there are."),
    Metric("attempt_phases_total", "counter", "How often an attempt came into a phase.", ("phase",), on=_ALL),
    Metric(
        "placements_total", "counter", "Decisions on where to run something. result: placed or no_fit.", ("result",)
    ),
    Metric("placement_seconds_total", "counter", "Spent on these decisions.", unit="seconds"),
    # -- the store
    Metric("store_operations_total", "counter", "Calls of the store.", ("operation",)),
    Metric("store_seconds_total", "counter", "Spent in calls of the store.", ("operation",), unit="seconds"),
    Metric("store_errors_total", "counter", "Calls of the store that failed for want of it.", ("operation",)),
    Metric("store_writable", "gauge", "Whether what was decided could be written: 1 or 0."),
    Metric("store_revision_total", "counter", "Batches ever written to this store."),
    Metric("history_documents_total", "counter", "Documents of usage history written.", on=("root",)),
    Metric("history_bytes_total", "counter", "Bytes of usage history written.", unit="bytes", on=("root",)),
    Metric("history_seconds_total", "counter", "Spent on sampling and packing it.", unit="seconds", on=("root",)),
    # -- usage of nodes and instances
    Metric("node_up", "gauge", "Whether a cluster hears a node: 1 or 0.", ("node", "name", "cluster")),
    Metric("node_cpu_ratio", "gauge", "Of a node's whole processor.", ("node", "name"), "ratio", _ALL),
    Metric("node_memory_bytes", "gauge", "In use on a node.", ("node", "name"), "bytes", _ALL),
    Metric("node_memory_size_bytes", "gauge", "Memory of a node.", ("node", "name"), "bytes", _ALL),
    Metric("node_disk_bytes", "gauge", "In use on a node's disk.", ("node", "name"), "bytes", _ALL),
    Metric("node_disk_free_bytes", "gauge", "Free on a node's disk.", ("node", "name"), "bytes", _ALL),
    Metric("node_gpu_ratio", "gauge", "Mean load of a node's GPUs.", ("node", "name"), "ratio", _ALL),
    Metric("node_temperature_celsius", "gauge", "The warmest sensor of a node.", ("node", "name"), "celsius", _ALL),
    Metric("node_battery_ratio", "gauge", "Charge of a node's battery.", ("node", "name"), "ratio", _ALL),
    Metric(
        "instance_cpu_ratio",
        "gauge",
        "Of one core, used by an instance.",
        ("slot", "service"),
        "ratio",
        _ALL,
    ),
    Metric("instance_memory_bytes", "gauge", "In use by an instance.", ("slot", "service"), "bytes", _ALL),
    Metric("series_left_out", "gauge", "Nodes and instances not shown one by one, because there are too many."),
    # -- the node engine
    Metric("engine_attempts", "gauge", "Attempts that the node knows, by phase.", ("phase",), on=("node",)),
    Metric("engine_operations_total", "counter", "Steps with runtimes.", ("runtime", "kind", "result"), on=("node",)),
    Metric("engine_state_writable", "gauge", "Whether records can be written: 1 or 0.", on=("node",)),
)

BY_NAME = {metric.name: metric for metric in TABLE}


def series_of(metric: Metric) -> tuple[str, ...]:
    """The names under which Prometheus keeps a metric."""
    name = f"mangrove_{metric.name}"
    return (f"{name}_bucket", f"{name}_count", f"{name}_sum") if metric.kind == "histogram" else (name,)
