"""The environment that an instance finds, the same in every runtime."""

from __future__ import annotations

from node_engine.runtimes.interface import RuntimeFault, Workload


def environment_of(workload: Workload) -> dict[str, str]:
    """The engine's variables, and the specification's, which win.

    Raises RuntimeFault for an entry that is not `KEY=value`.
    """
    found: dict[str, str] = {}
    for entry in (*workload.environment, *workload.specification.environment):
        key, equals, value = entry.partition("=")
        if not key or not equals or "\0" in entry:
            raise RuntimeFault(f"environment: {entry!r} is not of the form KEY=value", permanent=True)
        found[key] = value
    return found
