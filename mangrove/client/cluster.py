"""A cluster's own small HTTP API, for who works on its machine: it needs no root, but the operator's token."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from mangrove.base.errors import InvalidInput
from mangrove.client.documents import Event, JoinToken, LocalInstance
from mangrove.client.http import TIMEOUT, HttpClient, parse_address
from mangrove.model.answers import AdoptedInstance

#: Where a cluster listens unless it is told otherwise.
DEFAULT_PORT = 10100

#: In a cluster's data folder, readable by its own user alone.
OPERATOR_TOKEN = Path("secrets", "operator.token")


class ClusterClient:
    """Talks to the cluster at `address` as its operator. All methods raise what HttpClient.request raises."""

    def __init__(self, address: str, operator_token: str, *, timeout: float = TIMEOUT) -> None:
        self._http = HttpClient(parse_address(address, DEFAULT_PORT), timeout=timeout)
        self._operator = operator_token

    def node_token(self, *, ttl: float, uses: int = 1) -> JoinToken:
        """A new token for `uses` nodes to join within `ttl` seconds."""
        body = {"ttl": ttl, "uses": uses}
        return self._http.request("POST", "/api/v1/node-tokens", body, bearer=self._operator, form=JoinToken)

    def instances(self) -> list[LocalInstance]:
        """What the cluster was given, and how it is."""
        return self._http.request("GET", "/api/v1/instances", bearer=self._operator, form=list[LocalInstance])

    def hold(self, instance: str, reason: str = "") -> None:
        """Stop an instance (by its id here) until it is released."""
        path = f"/api/v1/instances/{quote(instance, safe='')}/hold"
        self._http.request("PUT", path, {"reason": reason}, bearer=self._operator, form=Any)

    def release(self, instance: str) -> None:
        """Let an instance run again."""
        path = f"/api/v1/instances/{quote(instance, safe='')}/hold"
        self._http.request("DELETE", path, bearer=self._operator, form=Any)

    def events(self) -> list[Event]:
        """The newest that happened here, the oldest first."""
        return self._http.request("GET", "/api/v1/events", bearer=self._operator, form=list[Event])

    def adopted(self) -> list[AdoptedInstance]:
        """What nodes run and the cluster's store, which was brought back, did not know."""
        return self._http.request("GET", "/api/v1/adopted", bearer=self._operator, form=list[AdoptedInstance])

    def drop_adopted(self, id: str) -> None:
        """Stop one of these."""
        self._http.request("DELETE", f"/api/v1/adopted/{quote(id, safe='')}", bearer=self._operator, form=Any)

    def revoke_node_token(self, id: str) -> None:
        self._http.request("DELETE", f"/api/v1/node-tokens/{quote(id, safe='')}", bearer=self._operator, form=Any)


def operator_token_in(data: Path) -> str:
    """The operator's token of the cluster whose data folder this is. Raises InvalidInput."""
    try:
        return (data / OPERATOR_TOKEN).read_text().strip()
    except OSError as error:
        raise InvalidInput(
            "--data-dir",
            f"{data / OPERATOR_TOKEN} cannot be read ({error.strerror}): name the data folder of a cluster that has "
            "run on this machine, as its user",
        ) from None
