"""paho-mqtt's client, without what it loads where that happens to be installed and we never use.

That is dnspython, for brokers that are found by SRV records: 3.5 MB, a tenth of a node engine.
"""

from __future__ import annotations

import sys

_RESOLVER = "dns.resolver"

_loaded = sys.modules.get(_RESOLVER)
# None forbids its import. paho does without, and whoever else wants it later gets it.
sys.modules[_RESOLVER] = None  # type: ignore[assignment]  # typeshed does not know this documented use
try:
    import paho.mqtt.client as paho
finally:
    del sys.modules[_RESOLVER]
    if _loaded is not None:
        sys.modules[_RESOLVER] = _loaded

__all__ = ["paho"]
