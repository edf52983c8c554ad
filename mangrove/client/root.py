"""The root's REST API as Python functions.

root = RootClient("root.example.org")
root.login("Admin", password)
for instance in root.instances(phase="running"):
    print(instance.id, instance.node.name)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from mangrove.base.errors import Unavailable
from mangrove.client.documents import (
    Application,
    Cluster,
    Event,
    Grant,
    Instance,
    JoinToken,
    Me,
    Node,
    Scaled,
    Service,
    ServiceNetwork,
    User,
)
from mangrove.client.http import UnexpectedAnswer
from mangrove.client.session import DEFAULT_PORT, REPEATS, Session, SignedIn, quoted
from mangrove.client.sse import MEDIA_TYPE, read_events
from mangrove.client.wait import Progress, wait_for_services
from mangrove.model.answers import AdoptedInstance

__all__ = ["ALL_INSTANCES", "DEFAULT_PORT", "REPEATS", "RootClient", "Session"]

#: As an instance number: all of them.
ALL_INSTANCES = -1

#: Items asked for at a time: the most that a root gives.
_PAGE = 1000

#: Seconds before a stream of events that broke is asked for again, doubling up to the second.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0

_Noun = TypeVar("_Noun")


class RootClient(SignedIn):
    """Talks to the root at `address`; may be used from several threads.

    Lists are iterators that ask for one page after the other. Filters are exact; an empty one is none. See SignedIn for
    the arguments, and for what is raised.
    """

    # Applications

    def applications(self, *, name: str = "", namespace: str = "") -> Iterator[Application]:
        """Those that one may see: one's own, for Admin everybody's."""
        return self._list(Application, "applications", name=name, namespace=namespace)

    def application(self, id: str) -> Application:
        return self.request("GET", f"/api/v1/applications/{quoted(id)}", form=Application)

    def create_applications(self, sla: Mapping[str, Any]) -> list[Application]:
        """Make the applications of an SLA, with their services but without instances; those that were made."""
        answered = self.request("POST", "/api/application", sla, form=list[_Made])
        named = {(each["application_name"], each["application_namespace"]) for each in sla["applications"]}
        return [each.application() for each in answered if (each.name, each.namespace) in named]

    def change_application(self, id: str, fields: Mapping[str, Any]) -> None:
        """fields: `application_name`, `application_namespace`, `application_desc`; what is not there stays."""
        self.request("PUT", f"/api/application/{quoted(id)}", dict(fields), form=Any)

    def delete_application(self, id: str) -> None:
        """Remove it with all of its services, and stop what runs of them."""
        self.request("DELETE", f"/api/application/{quoted(id)}", form=Any)

    # Services

    def services(self, application: str = "", *, name: str = "", phase: str = "") -> Iterator[Service]:
        """Those that one may see. application: an id."""
        return self._list(Service, "services", application=application, name=name, phase=phase)

    def service(self, id: str) -> Service:
        """A service with its instances."""
        return self.request("GET", f"/api/v1/services/{quoted(id)}", form=Service)

    def service_network(self, id: str) -> ServiceNetwork:
        """How a service is reached."""
        return self.request("GET", f"/api/v1/services/{quoted(id)}/network", form=ServiceNetwork)

    def declaration(self, service: str) -> dict[str, Any]:
        """A service as it was declared, in the words of an SLA, among others that the root adds."""
        return self.request("GET", f"/api/service/{quoted(service)}", form=dict[str, Any])

    def add_services(self, sla: Mapping[str, Any]) -> None:
        """Add services to the one application of an SLA, whose `applicationID` says which."""
        self.request("POST", "/api/service", sla, form=Any)

    def update_service(self, id: str, sla: Mapping[str, Any]) -> None:
        """Declare a service anew, as the one of an SLA. Its instances are replaced one after another."""
        self.request("PUT", f"/api/service/{quoted(id)}", sla, form=Any)

    def delete_service(self, id: str) -> None:
        self.request("DELETE", f"/api/service/{quoted(id)}", form=Any)

    def scale(self, service: str, instances: int) -> Scaled:
        """Want so many instances; asking again changes nothing."""
        return self.request("PUT", f"/api/v1/services/{quoted(service)}/scale", {"instances": instances}, form=Scaled)

    def deploy(self, service: str) -> int:
        """Ask for one more instance; its number."""
        return self.request("POST", f"/api/service/{quoted(service)}/instance", form=_Deployed).instance_number

    def undeploy(self, service: str, number: int = ALL_INSTANCES) -> None:
        """Stop the instance with this number, or all."""
        self.request("DELETE", f"/api/service/{quoted(service)}/instance/{number}", form=Any)

    def explain(self, service: str) -> dict[str, Any]:
        """Why its instances are where they are, or nowhere."""
        return self.request("GET", f"/api/v1/services/{quoted(service)}/explain", form=dict[str, Any])

    def try_out(self, sla: Mapping[str, Any], instances: int = 1) -> dict[str, Any]:
        """Where so many instances of each service of an SLA would run, and why not; nothing is written."""
        return self.request("POST", f"/api/v1/explain?instances={instances}", sla, form=dict[str, Any])

    def wait(
        self,
        *services: str,
        condition: str = "running",
        timeout: float = 300.0,
        progress: Callable[[str, Progress], None] = lambda service, progress: None,
    ) -> None:
        """Wait until services (ids) are as wanted. See `mangrove.client.wait.wait_for_services`."""
        wait_for_services(self.service, services, condition, timeout=timeout, progress=progress)

    # Instances

    def instances(
        self, *, service: str = "", application: str = "", cluster: str = "", node: str = "", phase: str = ""
    ) -> Iterator[Instance]:
        """Those that one may see; service, application, cluster, node: ids."""
        filters = {"service": service, "application": application, "cluster": cluster, "node": node, "phase": phase}
        return self._list(Instance, "instances", **filters)

    def instance(self, id: str) -> Instance:
        """An instance with its history."""
        return self.request("GET", f"/api/v1/instances/{quoted(id)}", form=Instance)

    # Clusters and nodes

    def clusters(self, *, name: str = "", state: str = "") -> Iterator[Cluster]:
        return self._list(Cluster, "clusters", name=name, state=state)

    def cluster(self, id: str) -> Cluster:
        return self.request("GET", f"/api/v1/clusters/{quoted(id)}", form=Cluster)

    def nodes(self, *, cluster: str = "", name: str = "", state: str = "") -> Iterator[Node]:
        """Those of all clusters, as their clusters last told. cluster: an id."""
        return self._list(Node, "nodes", cluster=cluster, name=name, state=state)

    def node(self, id: str) -> Node:
        return self.request("GET", f"/api/v1/nodes/{quoted(id)}", form=Node)

    def network(self) -> dict[str, Any]:
        """The network between services as a whole: its ranges, and what is free of them."""
        return self.request("GET", "/api/v1/network", form=dict[str, Any])

    def grants(self) -> list[Grant]:
        """Which cluster has which addresses; what of it its nodes have, these say in their capacity."""
        return self.request("GET", "/api/v1/network/grants", form=list[Grant])

    def cluster_token(self, *, ttl: float, uses: int = 1) -> JoinToken:
        """A new token for `uses` clusters to join the root within `ttl` seconds."""
        return self.request("POST", "/api/v1/cluster-tokens", {"ttl": ttl, "uses": uses}, form=JoinToken)

    def revoke_cluster_token(self, id: str) -> None:
        self.request("DELETE", f"/api/v1/cluster-tokens/{quoted(id)}", form=Any)

    def node_token(self, cluster: str, *, ttl: float, uses: int = 1) -> JoinToken:
        """A new token for `uses` nodes to join the cluster with this id; the cluster must be connected."""
        path = f"/api/v1/clusters/{quoted(cluster)}/node-tokens"
        return self.request("POST", path, {"ttl": ttl, "uses": uses}, form=JoinToken)

    def remove_cluster(self, id: str) -> None:
        """Let the cluster with this id speak no more; what it ran goes to others."""
        self.request("DELETE", f"/api/v1/clusters/{quoted(id)}", form=Message)

    def adopted(self) -> list[AdoptedInstance]:
        """What runs, and the root's store, which was brought back, did not know."""
        return self.request("GET", "/api/v1/adopted", form=list[AdoptedInstance])

    def keep_adopted(self, id: str) -> None:
        """Let one of these be an instance of its service."""
        self.request("PUT", f"/api/v1/adopted/{quoted(id)}", form=Message)

    def drop_adopted(self, id: str) -> None:
        """Stop one of these."""
        self.request("DELETE", f"/api/v1/adopted/{quoted(id)}", form=Message)

    def cordon_cluster(self, id: str, *, cordoned: bool = True, drain: bool = False) -> None:
        """Give the cluster with this id no new work, or again; what runs there stays, or with `drain` moves."""
        self.request(
            "PUT", f"/api/v1/clusters/{quoted(id)}/cordon", {"cordoned": cordoned, "drain": drain}, form=Message
        )

    def cordon_node(self, cluster: str, id: str, *, cordoned: bool = True, drain: bool = False) -> None:
        """The same for a node of the cluster, which must be connected."""
        path = f"/api/v1/clusters/{quoted(cluster)}/nodes/{quoted(id)}/cordon"
        self.request("PUT", path, {"cordoned": cordoned, "drain": drain}, form=Message)

    def rebalance(self, *, cluster: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Move what runs to better places, a few instances at a time, or only say which; cluster: within this one."""
        return self.request("POST", "/api/v1/rebalance", {"cluster": cluster, "dry_run": dry_run}, form=dict[str, Any])

    def remove_node(self, cluster: str, id: str) -> None:
        """Let a node of the cluster with this id speak no more; the cluster must be connected."""
        self.request("DELETE", f"/api/v1/clusters/{quoted(cluster)}/nodes/{quoted(id)}", form=Message)

    # Events

    def events(self, *, after: str = "", subject: str = "", kind: str = "", limit: int = 100) -> list[Event]:
        """At most `limit` events behind the cursor `after`, the oldest first; without one, the newest."""
        query = _query(after=after, subject=subject, kind=kind, limit=str(limit))
        return [
            msgspec.convert(each, Event) for each in self.request("GET", f"/api/v1/events{query}", form=_Page).items
        ]

    def follow_events(
        self, *, after: str = "", subject: str = "", kind: str = "", patience: float = 60.0
    ) -> Iterator[Event]:
        """Events as they happen, from behind the cursor `after` on, without end.

        When the connection breaks, it goes on behind the last event that came. Raises Unavailable when that was not
        possible for `patience` seconds.
        """
        path, headers = f"/api/v1/events{_query(subject=subject, kind=kind, after=after)}", dict[str, str]()
        heard, pause = monotonic(), _FIRST_PAUSE
        while True:
            try:
                for event in read_events(self.lines(path, accept=MEDIA_TYPE, headers=headers), after):
                    heard, pause = monotonic(), _FIRST_PAUSE
                    if event is not None:
                        if event.id:
                            headers["Last-Event-ID"] = event.id
                        yield _event(event.data)
            except Unavailable:
                if monotonic() - heard > patience:
                    raise
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # Users

    def me(self) -> Me:
        """Who one is to the root."""
        return self.request("GET", "/api/v1/me", form=Me)

    def users(self) -> list[User]:
        """Everybody, with their roles in one's own organization; for Admin."""
        return self.request("GET", "/api/users", form=list[User])

    def create_user(self, name: str, password: str, *, email: str = "", roles: tuple[str, ...] = ()) -> None:
        """A new user, who becomes a member of one's own organization; for Admin."""
        body = {"name": name, "password": password, "email": email, "roles": roles}
        self.request("POST", "/api/auth/register", body, form=Any)

    def delete_user(self, name: str) -> None:
        self.request("DELETE", f"/api/user/{quoted(name)}", form=Any)

    def change_password(self, old: str, new: str) -> None:
        """One's own. Logins that were made before end."""
        self.request("POST", f"/api/user/{quoted(self.user)}", {"oldPassword": old, "newPassword": new}, form=Any)

    def change_user(self, name: str, **fields: Any) -> None:
        """fields: `email`, `roles`, `password` of somebody else; for Admin."""
        self.request("PUT", f"/api/user/{quoted(name)}", fields, form=Any)

    # Lists

    def documents(self, noun: str, **filters: str) -> Iterator[dict[str, Any]]:
        """All of a list of `/api/v1`, such as `nodes`, as the root writes them; one page is asked for at a time."""
        after = ""
        while True:
            path = f"/api/v1/{noun}{_query(limit=str(_PAGE), after=after, **filters)}"
            page = self.request("GET", path, form=_Page)
            yield from page.items
            if page.next is None:
                return
            if page.next == after:
                raise UnexpectedAnswer(f"{self.address} gives the same page of {noun} again and again")
            after = page.next

    def document(self, noun: str, id: str) -> dict[str, Any]:
        """One of a list of `/api/v1`, as the root writes it."""
        return self.request("GET", f"/api/v1/{noun}/{quoted(id)}", form=dict[str, Any])

    def _list(self, form: type[_Noun], noun: str, **filters: str) -> Iterator[_Noun]:
        for document in self.documents(noun, **filters):
            yield self.read(form, document)

    def read(self, form: type[_Noun], document: Any) -> _Noun:
        """A document of the root's as one of the types here. Raises UnexpectedAnswer."""
        try:
            return msgspec.convert(document, form)
        except msgspec.ValidationError as error:
            raise UnexpectedAnswer(
                f"{self.address} describes {form.__name__.lower()}s in another form than expected ({error}): "
                "do both sides run the same version of Mangrove?"
            ) from None


class _Page(msgspec.Struct):
    items: list[Any]
    next: str | None = None


class _Made(msgspec.Struct):
    """An application as Oakestra's path answers it."""

    id: str = msgspec.field(name="applicationID")
    name: str = msgspec.field(name="application_name")
    namespace: str = msgspec.field(name="application_namespace")
    description: str = msgspec.field(name="application_desc", default="")
    owner: str = msgspec.field(name="userId", default="")
    services: tuple[str, ...] = msgspec.field(name="microservices", default=())

    def application(self) -> Application:
        return Application(self.id, self.name, self.namespace, self.description, self.owner, self.services)


class Message(msgspec.Struct):
    """What an action answers, for a person."""

    message: str = ""


class _Deployed(msgspec.Struct):
    instance_number: int


def _event(data: str) -> Event:
    try:
        return msgspec.json.decode(data, type=Event)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(f"an event has another form than expected ({error})") from None


def _query(**given: str) -> str:
    """The parameters that are not empty, as they stand behind a path."""
    query = urlencode({name: value for name, value in given.items() if value})
    return f"?{query}" if query else ""
