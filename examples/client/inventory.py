"""Print every node and what runs on it, as CSV."""

from __future__ import annotations

import csv
import sys

from examples.client.login import logged_in


def main() -> None:
    root = logged_in()
    services = {service.id: service.name for service in root.services()}
    out = csv.writer(sys.stdout)
    out.writerow(["cluster", "node", "state", "service", "instance", "phase"])
    for node in root.nodes():
        out.writerow([node.cluster.name, node.name, node.state, "", "", ""])
        for instance in root.instances(node=node.id):
            name = services.get(instance.service, "")
            out.writerow([node.cluster.name, node.name, node.state, name, instance.number, instance.phase])


if __name__ == "__main__":
    main()
