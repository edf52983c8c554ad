"""The network between services: what there is of addresses, who has which, and how a service is reached."""

from __future__ import annotations

from typing import TypedDict

from mangrove.model.child import NO_NETWORK
from mangrove.model.documents import CHILDREN, GRANTS, SERVICE_ADDRESSES, Child, Granted
from mangrove.model.network import Egress, ServiceAddress
from mangrove.model.phases import Phase
from mangrove.network.addresses import Pool
from mangrove.network.plan import Readiness
from mangrove.roles.routes import Route
from mangrove.store.interface import Store
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.service_addresses import ServiceAddresses
from root_orchestrator.api.v1.answers import cluster_name, whole
from root_orchestrator.api.v1.forms import ClusterSaid, Named
from root_orchestrator.api.views import InstanceView, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS, READ_INFRASTRUCTURE


class NetworkAnswer(TypedDict):
    """The network as a whole. nodes, services: the ranges for instances and for services. blocks: how many pieces for
    clusters there are, and how many are free. addresses: of services, how many are taken. free: some that are not, to
    choose from."""

    on: bool
    nodes: list[str]
    services: list[str]
    blocks: int
    blocks_free: int
    addresses_taken: int
    free: list[str]


class GrantAnswer(TypedDict):
    """Addresses that a cluster alone has for its nodes; `GET /api/v1/nodes` says in `capacity.network` what these have.

    wanted: how many such grants it needs. trouble: what is wrong with its part in the network, or nothing."""

    cluster: Named
    ipv4: str | None
    ipv6: str | None
    wanted: int
    trouble: str


class EndpointAnswer(TypedDict):
    """An instance that can be reached. state: `doubtful`: its node is not heard; `stopping`: no new connections."""

    number: int
    attempt: str
    ipv4: str | None
    ipv6: str | None
    state: Readiness
    cluster: ClusterSaid | None
    node: Named | None


class ServiceNetworkAnswer(TypedDict):
    """How a service is reached, and whom it may connect to. affinity: seconds; egress: null for anywhere."""

    id: str
    name: str
    namespace: str
    application: str
    addresses: list[ServiceAddress]
    affinity: float
    reaches: list[str]
    egress: list[Egress] | None
    endpoints: list[EndpointAnswer]


def routes(store: Store, catalog: Catalog, views: Views, addresses: ServiceAddresses) -> list[Route]:
    """See the module."""

    def network() -> NetworkAnswer:
        layout = addresses.layout
        taken = len(store.load(SERVICE_ADDRESSES))
        if layout is None:
            return {
                "on": False,
                "nodes": [],
                "services": [],
                "blocks": 0,
                "blocks_free": 0,
                "addresses_taken": taken,
                "free": [],
            }
        version = 4 if layout.nodes_of(4) else 6
        size = Pool(layout.nodes_of(version), layout.block4 if version == 4 else layout.block6).size
        return {
            "on": True,
            "nodes": [str(each) for each in layout.nodes],
            "services": [str(each) for each in layout.services],
            "blocks": size,
            "blocks_free": size - len(store.load(GRANTS)),
            "addresses_taken": taken,
            "free": addresses.some_free(),
        }

    def grants() -> list[GrantAnswer]:
        clusters = {stored.id: stored.read(Child) for stored in store.load(CHILDREN)}
        found: list[GrantAnswer] = []
        for stored in store.load(GRANTS):
            granted = stored.read(Granted)
            child = clusters.get(granted.child)
            part = child.capacity.network if child is not None else NO_NETWORK
            found.append(
                {
                    "cluster": {"id": granted.child, "name": child.name if child is not None else None},
                    "ipv4": granted.ipv4 or None,
                    "ipv6": granted.ipv6 or None,
                    "wanted": part.wanted,
                    "trouble": part.trouble,
                }
            )
        return found

    def of_service(service: str) -> ServiceNetworkAnswer:
        (view,) = views.services([catalog.service(caller(), service).value])
        found, wiring = view.service, view.service.wiring
        return {
            "id": found.id,
            "name": found.name,
            "namespace": found.namespace,
            "application": found.application,
            "addresses": [whole(each) for each in found.addresses],
            "affinity": wiring.affinity,
            "reaches": list(wiring.reaches),
            "egress": None if wiring.egress is None else [whole(each) for each in wiring.egress],
            "endpoints": [_endpoint(each) for each in view.instances if each.status.ipv4 or each.status.ipv6],
        }

    return [
        Route("GET", "/api/v1/network", network, READ_INFRASTRUCTURE, "Show the network between services"),
        Route("GET", "/api/v1/network/grants", grants, READ_INFRASTRUCTURE, "List which cluster has which addresses"),
        Route(
            "GET",
            "/api/v1/services/<service>/network",
            of_service,
            READ_APPLICATIONS,
            "Show the addresses of a service, and what is behind them",
        ),
    ]


def _endpoint(view: InstanceView) -> EndpointAnswer:
    status, cluster = view.status, view.cluster
    unheard = status.silent or (cluster is not None and not cluster.is_live)
    state: Readiness = "stopping" if status.phase is Phase.STOPPING else "doubtful" if unheard else "ready"
    return {
        "number": view.slot.number,
        "attempt": view.attempt,
        "ipv4": status.ipv4 or None,
        "ipv6": status.ipv6 or None,
        "state": state,
        "cluster": cluster_name(cluster) if cluster is not None else None,
        "node": {"id": status.node, "name": status.node_name} if status.node else None,
    }
