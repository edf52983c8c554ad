"""Which broker a parent runs."""

from __future__ import annotations

from pathlib import Path

from mangrove.base.errors import InvalidInput, Unavailable
from mangrove.link.brokers import mosquitto, nats
from mangrove.link.brokers.managed import Account, ManagedBroker, Tls

_KINDS = {"mosquitto": (mosquitto.MosquittoBroker, mosquitto.find), "nats": (nats.NatsBroker, nats.find)}


def choose_broker(
    parent: Account,
    folder: Path,
    *,
    kind: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Tls | None = None,
) -> ManagedBroker:
    """Mosquitto when it is installed, else NATS; `kind` ("mosquitto" or "nats") takes that one and no other.

    Raises InvalidInput for an unknown kind, Unavailable when there is none to run, which says what to install.
    """
    if kind and kind not in _KINDS:
        raise InvalidInput("broker", f"{kind!r} is not one of {', '.join(_KINDS)}")
    for make, find in [_KINDS[kind]] if kind else _KINDS.values():
        if find():
            return make(parent, folder, host=host, port=port, tls=tls)
    raise Unavailable(
        f"no MQTT broker found{f' of the kind {kind}' if kind else ''}: install Mosquitto (apt install mosquitto) "
        "or NATS (pip install 'mangrove[broker]')"
    )
