"""Ending and removing all instances of a node, when it halts, leaves or is taken off its machine."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mangrove.base.errors import Conflict, MangroveError
from mangrove.reconcile.child import Record
from node_engine.joining import leave_cluster, membership_in
from node_engine.runtimes.choose import choose_runtimes
from node_engine.runtimes.interface import Runtime, RuntimeFault
from node_engine.state import StateFolder

#: Instances ended at once: each may take all of its grace, and ending costs next to nothing.
_AT_ONCE = 16
#: Seconds that an instance has to end in when its node leaves.
_GRACE = 10.0


def leave_for_good(state: StateFolder, *, force: bool) -> tuple[str, int, list[str]]:
    """Leave the cluster and remove all that runs for it: the cluster's name, how many, and what is left, a line each.

    force: leave even when the cluster cannot be told, which is then a line too. Raises MangroveError.
    """
    known = membership_in(state)
    if known is None or known.reply is None:
        raise Conflict("this node has not joined a cluster")
    problems = []
    try:
        leave_cluster(state)
    except MangroveError as error:
        if not force:
            raise
        problems.append(
            f"the cluster {known.reply.parent_name} was not told ({error.message}): "
            f"`mangrove node remove {known.reply.name}` tells it"
        )
        state.save_identity(None)
        state.save_assignment(None)
    removed, left = remove_all(state.path, state.installation, known.reply.child, _GRACE, state.load_records())
    state.save_records([])
    return known.reply.parent_name, removed, problems + [f"not removed: {line}" for line in left]


def remove_all(
    data_dir: Path, installation: str, node_id: str, grace: float, records: Iterable[Record]
) -> tuple[int, list[str]]:
    """End and remove all instances of a node; how many, and one line for each that is left."""
    needed = {record.specification.runtime for record in records}
    removed, problems = 0, []
    for name, runtime in choose_runtimes("", data_dir / "instances", installation, node_id).items():

        def remove(attempt: str, runtime: Runtime = runtime) -> str:
            try:
                runtime.stop(attempt, grace)
                runtime.remove(attempt)
            except RuntimeFault as fault:
                return fault.message
            return ""

        try:
            attempts = [instance.attempt for instance in runtime.list()]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                left = [problem for problem in pool.map(remove, attempts) if problem]
            removed += len(attempts) - len(left)
            problems += left
        except RuntimeFault as fault:
            if name in needed:  # else it is only that there is no such runtime on this machine
                problems.append(fault.message)
        finally:
            runtime.close()
    return removed, problems
