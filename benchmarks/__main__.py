"""Measures what is claimed about speed and size.

python -m benchmarks                    everything: an hour
python -m benchmarks deploy burst       these alone
python -m benchmarks --quick            small and short: shows that they work, and says little about goals
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import msgspec

from benchmarks import (
    api,
    burst,
    calm,
    deploy,
    logs,
    machine,
    memory,
    network,
    placement,
    recovery,
    reports,
    sizes,
    throughput,
)
from benchmarks.result import Result, table

#: Modules with `measure(folder, size)`, which gives a Result, and the sizes `FULL` and `QUICK`.
BENCHMARKS: dict[str, ModuleType] = {
    "deploy": deploy,
    "burst": burst,
    "throughput": throughput,
    "recovery": recovery,
    "calm": calm,
    "memory": memory,
    "reports": reports,
    "api": api,
    "logs": logs,
    "placement": placement,
    "network": network,
    "sizes": sizes,
}
_RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Run what is asked for, print tables, and keep all figures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="as small and short as it goes")
    parser.add_argument(
        "--output", type=Path, default=None, help="where to write JSON (benchmarks/results/<date>.json)"
    )
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"{name!r} is not one of {', '.join(BENCHMARKS)}")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # so that what was started is stopped
    started = datetime.datetime.now(datetime.UTC)
    where = {"date": f"{started:%Y-%m-%d %H:%M} UTC", **machine.described()}
    print("\n".join(f"{key}: {value}" for key, value in where.items()), flush=True)
    results: list[Result] = []
    for name in options.names or BENCHMARKS:
        load = machine.load()
        # A short path: a Docker engine's socket must fit into 107 characters.
        with tempfile.TemporaryDirectory(prefix="mangrove-bench-", ignore_cleanup_errors=True) as folder:
            benchmark = BENCHMARKS[name]
            result: Result = benchmark.measure(Path(folder), benchmark.QUICK if options.quick else benchmark.FULL)
        busy = f"load average of the machine {load:.1f} before, {machine.load():.1f} after"
        results.append(msgspec.structs.replace(result, conditions=(*result.conditions, busy)))
        print(f"\n{table(results[-1])}", flush=True)
    output = options.output or _RESULTS / f"{started:%Y-%m-%d-%H%M%S}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.encode({**where, "quick": options.quick, "results": results})
    output.write_bytes(msgspec.json.format(content, indent=1))
    print(f"All figures: {output}")


if __name__ == "__main__":
    main()
