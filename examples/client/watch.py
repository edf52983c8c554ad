"""Print what happens, as it happens, until as many events have come as the first argument says."""

from __future__ import annotations

import sys
import time
from itertools import islice

from examples.client.login import logged_in


def main() -> None:
    root = logged_in()
    many = int(sys.argv[1]) if len(sys.argv) > 1 else None
    seen = root.events(limit=1)
    for event in islice(root.follow_events(after=seen[-1].id if seen else ""), many):
        print(time.strftime("%H:%M:%S", time.localtime(event.time)), event.kind, event.text, flush=True)


if __name__ == "__main__":
    main()
