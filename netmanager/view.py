"""What `mangrove net show` tells: who has which address, which path leads where, and what went through. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netmanager.balancing import chosen
from netmanager.rules import chain_of
from netmanager.situation import FAMILIES, Situation


def view(
    situation: Situation | None,
    trouble: str,
    interfaces: Mapping[str, tuple[int, int]],
    connections: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """As JSON. interfaces: bytes received and sent by each of ours; connections: through each chain."""
    if situation is None:
        return {"trouble": trouble or "there is no plan yet"}
    plan, counted = situation.plan, connections or {}
    services = []
    for entry in plan.services.values():
        for where in entry.addresses:
            family = FAMILIES[":" in where.address]
            best = chosen(where, situation.targets(entry.service, family))
            services.append(
                {
                    "service": entry.service,
                    "name": f"{entry.name}.{entry.application_name}",
                    "address": where.address,
                    "policy": where.policy,
                    "endpoints": [target.address for target in best],
                    "connections": counted.get(chain_of("service", where.address), 0),
                }
            )
    return {
        "trouble": trouble,
        "node": plan.name or plan.node,
        "version": plan.version,
        "grants": [text for grant in plan.grants for text in (grant.ipv4, grant.ipv6) if text],
        "gateways": list(situation.gateways.values()),
        "instances": [
            {
                "attempt": it.attempt,
                "service": it.service,
                "number": it.number,
                "interface": it.interface,
                "ipv4": it.ipv4,
                "ipv6": it.ipv6,
                # What the node received there, the instance sent.
                "sent": interfaces.get(it.interface, (0, 0))[0],
                "received": interfaces.get(it.interface, (0, 0))[1],
                "ports": [
                    f"{port.host}:{port.container}/{port.protocol}"
                    for port in (plan.instances[it.attempt].ports if it.attempt in plan.instances else ())
                ],
            }
            for it in situation.attached.values()
        ],
        "services": services,
        "peers": [
            {
                "node": peer.name or peer.node,
                "networks": list(peer.networks),
                "paths": [
                    {"network": str(path.network), "kind": path.kind, "interface": path.interface, "via": str(path.via)}
                    for path in situation.paths
                    if path.node == peer.node
                ],
                "trouble": situation.troubles.get(peer.node, ""),
            }
            for peer in plan.peers.values()
        ],
    }
