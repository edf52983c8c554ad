"""What deploying an SLA would change: each declared service against what the root has of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.client.documents import Application, Service
from mangrove.client.root import RootClient
from mangrove.model.validation import shown

Json = dict[str, Any]
Action = Literal["create", "change", "none"]

#: What an SLA may say of a service, but for its names. What is missing is as good as empty.
FIELDS = frozenset(
    (
        *("virtualization", "code", "cmd", "args", "environment", "one_shot", "privileged", "platform", "arch"),
        *("memory", "vcpus", "vgpus", "vram", "vtpus", "storage", "resources", "bandwidth_in", "bandwidth_out"),
        *(
            "port",
            "volumes",
            "addresses",
            "constraints",
            "placement",
            "disconnect",
            "connectivity",
            "egress",
            "target_node",
        ),
        *("mode", "priority", "preemption_policy", "state", "added_files", "sla_violation_strategy"),
    )
)

#: Fields that name things, or that a root fills in.
_NAMES = frozenset(("microserviceID", "microservice_name", "microservice_namespace"))

#: The organization that applications name by nothing.
_ROOT = "root"

#: What counts where nothing is said, of fields that then are not empty.
_USUAL = {"preemption_policy": "lower_priority"}

#: What a root calls otherwise than an SLA may.
_SAME = {"container": "docker"}


class Change(msgspec.Struct, frozen=True):
    """One field of a service: what the root has, and what the SLA says. Empty is null."""

    field: str
    before: Any
    after: Any


class ServicePlan(msgspec.Struct, frozen=True):
    """What becomes of a service. id: empty for a new one. instances: how many are wanted now. everywhere: it is a
    system service, and has its instances by itself."""

    name: str
    namespace: str
    action: Action
    id: str = ""
    changes: tuple[Change, ...] = ()
    instances: int = 0
    everywhere: bool = False


class ApplicationPlan(msgspec.Struct, frozen=True):
    """What becomes of an application. left: services that the root has and the SLA does not."""

    name: str
    namespace: str
    action: Action
    id: str = ""
    changes: tuple[Change, ...] = ()
    services: tuple[ServicePlan, ...] = ()
    left: tuple[ServicePlan, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes, but for what is left."""
        return self.action == "none" and all(each.action == "none" for each in self.services)


@dataclass(frozen=True, slots=True)
class Declared:
    """An application of an SLA, as far as a plan must know it. raw: all of it, as it was written."""

    name: str
    namespace: str
    raw: Json
    services: tuple[Json, ...]


def declared_in(sla: Json) -> list[Declared]:
    """The applications of an SLA. Raises InvalidInput where their names cannot be read."""
    found = []
    for index, raw in enumerate(_list(sla, "applications", "")):
        path = f"applications[{index}]"
        services = tuple(_list(raw, "microservices", f"{path}."))
        for number, service in enumerate(services):
            for name in ("microservice_name", "microservice_namespace"):
                _text(service, name, f"{path}.microservices[{number}].")
        name, namespace = (_text(raw, each, f"{path}.") for each in ("application_name", "application_namespace"))
        found.append(Declared(name, namespace, raw, services))
    return found


def plan_for(root: RootClient, sla: Json) -> list[ApplicationPlan]:
    """What deploying this SLA would change. Raises InvalidInput, and what RootClient raises."""
    me = root.me()
    home = "" if me.organization.name == _ROOT else me.organization.id
    mine = {
        (each.name, each.namespace): each
        for each in root.applications()
        if (each.owner, each.organization) == (me.name, home)  # Admin sees those of others too
    }
    plans = []
    for declared in declared_in(sla):
        there = mine.get((declared.name, declared.namespace))
        plans.append(_created(declared) if there is None else _changed(root, declared, there))
    return plans


def _created(declared: Declared) -> ApplicationPlan:
    services = tuple(_new(each) for each in declared.services)
    return ApplicationPlan(declared.name, declared.namespace, "create", services=services)


def _changed(root: RootClient, declared: Declared, there: Application) -> ApplicationPlan:
    known = {(each.name, each.namespace): each for each in root.services(there.id)}
    services = []
    for raw in declared.services:
        service = known.pop((raw["microservice_name"], raw["microservice_namespace"]), None)
        services.append(_new(raw) if service is None else _compared(root, raw, service))
    left = tuple(_as_it_is(each) for each in known.values())
    changes: tuple[Change, ...] = ()
    description = declared.raw.get("application_desc")
    if description is not None and description != there.description:
        changes = (Change("application_desc", there.description, description),)
    action: Action = "change" if changes else "none"
    return ApplicationPlan(there.name, there.namespace, action, there.id, changes, tuple(services), left)


def _new(raw: Json) -> ServicePlan:
    name, namespace = raw["microservice_name"], raw["microservice_namespace"]
    return ServicePlan(name, namespace, "create", everywhere=raw.get("mode") == "global")


def _as_it_is(service: Service) -> ServicePlan:
    instances, everywhere = sum(service.phases.values()), service.mode == "global"
    return ServicePlan(service.name, service.namespace, "none", service.id, (), instances, everywhere)


def _compared(root: RootClient, raw: Json, service: Service) -> ServicePlan:
    plan = _as_it_is(service)
    changes = tuple(differences(raw, root.declaration(service.id)))
    return msgspec.structs.replace(plan, action="change", changes=changes) if changes else plan


def differences(wanted: Json, known: Json) -> Iterator[Change]:
    """Fields that an SLA says otherwise than the root has them, by name. wanted, known: of one service."""
    for name in sorted(FIELDS | wanted.keys() - _NAMES):
        before, after = (bare(fields.get(name)) or _USUAL.get(name) for fields in (known, wanted))
        if name == "virtualization":
            before, after = _SAME.get(str(before), before), _SAME.get(str(after), after)
        if before != after:
            yield Change(name, before, after)


def bare(value: Any) -> Any:
    """A value without what is empty in it, since a root fills in what was not said; None when nothing is left."""
    if isinstance(value, dict):
        value = {name: kept for name, each in value.items() if (kept := bare(each)) is not None}
    elif isinstance(value, list):
        value = [bare(each) for each in value]
    elif isinstance(value, str):
        value = value.strip()
    return value or None


def declared_fields(known: Json) -> Json:
    """Of a service as the root describes it, what an SLA says of it, so that it can be declared anew."""
    fields = {name: value for name, value in known.items() if name in FIELDS and value is not None}
    return {name: known[name] for name in ("microservice_name", "microservice_namespace")} | fields


def one_service(application: Application, service: Json) -> Json:
    """An SLA that declares one service of an application that is there."""
    whole = {
        "applicationID": application.id,
        "application_name": application.name,
        "application_namespace": application.namespace,
        "application_desc": application.description,
        "microservices": [service],
    }
    return {"sla_version": "v2.0", "customerID": application.owner, "applications": [whole]}


def _list(raw: Any, name: str, path: str) -> list[Json]:
    found = raw.get(name)
    if not isinstance(found, list):
        problem = "is missing; it is required" if found is None else f"must be a list, but is {shown(found)}"
        raise InvalidInput(f"{path}{name}", problem)
    for index, each in enumerate(found):
        if not isinstance(each, dict):
            raise InvalidInput(f"{path}{name}[{index}]", f"must be an object, but is {shown(each)}")
    return found


def _text(raw: Json, name: str, path: str) -> str:
    found = raw.get(name)
    if not isinstance(found, str):
        problem = "is missing; it is required" if found is None else f"must be a string, but is {shown(found)}"
        raise InvalidInput(f"{path}{name}", problem)
    return found
