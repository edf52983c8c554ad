"""Oakestra's service level agreement, version v2.0: its form, and what it means in our words.

Fields that the form does not know are kept with the service (`declared`) and mean nothing to Mangrove. Every error is
an InvalidInput that names the field, such as `applications[0].microservices[1].memory`, its value and the way out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mangrove.base.errors import InvalidInput
from mangrove.model.resources import Resources
from mangrove.model.specification import MAX_SPECIFICATION, Specification
from mangrove.model.validation import fit, shown
from root_orchestrator.api.declared import DeclaredApplication, DeclaredService
from root_orchestrator.api.oakestra.sla_fields import (
    architecture_of,
    constraint_of,
    ports_of,
    runtime_of,
    variable_of,
    volume_of,
)

VERSION = "v2.0"

#: Oakestra's rule for names. `\Z`, since `$` would let a newline pass.
Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9]{1,30}\Z")]

#: Text without control characters; 4096 is the longest path on Linux.
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z", max_length=4096)]

#: An argument or variable: anything but NUL, which no process can be given; 128 KiB is Linux's limit for one.
Argument = Annotated[str, Meta(pattern=r"^[^\x00]*\Z", max_length=131_072)]

#: MB. The largest machine sold has some tens of TB of memory; a thousand times that is surely a mistake.
Megabytes = Annotated[int, Meta(ge=0, le=1_000_000_000)]

#: Cores or devices; no machine has a hundred thousand.
Count = Annotated[int, Meta(ge=0, le=100_000)]

#: Numbers that are kept but mean nothing to Mangrove; they must fit a signed 64-bit number to be stored everywhere.
Kept = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Addresses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Service addresses that the user chose."""

    rr_ip: Line = ""
    rr_ip_v6: Line = ""
    closest_ip: Line = ""
    closest_ip_v6: Line = ""
    instances: list[dict[str, Any]] = []


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume of one microservice."""

    volume_id: Line
    csi_driver: Line
    mount_path: Line = ""
    config: dict[str, str] = {}


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wish about where to run."""

    type: Line
    area: Line = ""
    cluster: Line = ""
    node: Line = ""
    location: Line = ""
    threshold: float = 0
    rigidness: float = 0
    convergence_time: Kept = 0
    needs: list[Line] = []
    allowed: list[Line] = []


class ConnectionConstraint(msgspec.Struct, frozen=True):
    """Kept, never used (by Oakestra neither)."""

    type: Line
    threshold: float
    rigidness: float
    convergence_time: Kept


class Connectivity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Kept, never used (by Oakestra neither)."""

    target_microservice_id: Line = ""
    con_constraints: list[ConnectionConstraint] = []


class Microservice(msgspec.Struct, frozen=True):
    """One service of an application, as a user writes it."""

    microservice_name: Name
    microservice_namespace: Name
    virtualization: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}\Z")]
    code: Line
    microserviceID: Annotated[str, Meta(max_length=0)] = ""
    memory: Megabytes = 0
    vcpus: Count = 0
    vgpus: Count = 0
    vtpus: Kept = 0
    bandwidth_in: Kept = 0
    bandwidth_out: Kept = 0
    storage: Megabytes = 0
    state: Line = ""
    added_files: list[Line] = []
    args: list[Argument] = []
    sla_violation_strategy: Line = ""
    target_node: Line = ""
    port: Line = ""
    cmd: list[Argument] = []
    environment: list[Argument] = []
    one_shot: bool = False
    privileged: bool = False
    volumes: list[Volume] = []
    addresses: Addresses | None = None
    constraints: list[Constraint] = []
    connectivity: list[Connectivity] = []
    arch: list[Line] = []
    platform: Line = ""


class Application(msgspec.Struct, frozen=True):
    """One application, as a user writes it."""

    application_name: Name
    application_namespace: Name
    microservices: list[Microservice]
    applicationID: Line = ""
    application_desc: Argument = ""


class Agreement(msgspec.Struct, frozen=True):
    """A whole document. customerID is asked for by the form, and not used."""

    sla_version: Literal["v2.0"]
    customerID: Line
    applications: list[Application]
    args: list[Argument] = []


def read_sla(raw: object) -> tuple[DeclaredApplication, ...]:
    """The applications that an SLA (decoded JSON) declares. Raises InvalidInput for whatever is wrong with it."""
    if not isinstance(raw, dict):
        raise InvalidInput("", f"an SLA must be an object, but is {shown(raw)}")
    version = raw.get("sla_version")
    if version != VERSION:
        problem = "is missing" if version is None else f"is {shown(version)}, which is not supported"
        raise InvalidInput("sla_version", f'{problem}; write "{VERSION}"')
    agreement = fit(raw, Agreement)
    applications = []
    for index, application in enumerate(agreement.applications):
        path = f"applications[{index}]"
        applications.append(_application(application, raw["applications"][index], path))
    _refuse_repeated([(a.name, a.namespace) for a in applications], "applications[{}].application_name", "application")
    return tuple(applications)


def _application(application: Application, raw: dict[str, Any], path: str) -> DeclaredApplication:
    prefix = f"{application.application_name}.{application.application_namespace}"
    services = []
    for index, microservice in enumerate(application.microservices):
        specification = _specification(microservice, prefix, f"{path}.microservices[{index}]")
        # The declared fields as they came, the known ones in the form that clients may rely on.
        declared = {**raw["microservices"][index], **msgspec.to_builtins(microservice)}
        services.append(
            DeclaredService(
                microservice.microservice_name, microservice.microservice_namespace, specification, declared
            )
        )
    field = path + ".microservices[{}].microservice_name"
    _refuse_repeated([(s.name, s.namespace) for s in services], field, "microservice")
    return DeclaredApplication(
        application.applicationID,
        application.application_name,
        application.application_namespace,
        application.application_desc,
        tuple(services),
    )


def _specification(service: Microservice, prefix: str, path: str) -> Specification:
    runtime = runtime_of(service.virtualization)
    if not service.code.strip() and not (runtime == "process" and service.cmd):
        raise InvalidInput(f"{path}.code", "is empty; name the image to run")
    _check_addresses(service.addresses, f"{path}.addresses")
    specification = Specification(
        name=f"{prefix}.{service.microservice_name}.{service.microservice_namespace}",
        runtime=runtime,
        image=service.code.strip(),
        command=tuple(service.cmd),
        environment=tuple(
            variable_of(text, f"{path}.environment[{index}]") for index, text in enumerate(service.environment)
        ),
        resources=Resources(cpu=service.vcpus * 1000, memory=service.memory, disk=service.storage, gpus=service.vgpus),
        ports=ports_of(service.port, f"{path}.port"),
        volumes=tuple(
            volume_of(volume.volume_id, volume.csi_driver, volume.mount_path, volume.config, f"{path}.volumes[{index}]")
            for index, volume in enumerate(service.volumes)
        ),
        constraints=tuple(
            found
            for index, wish in enumerate(service.constraints)
            if (found := constraint_of(wish.type, wish.cluster, wish.node, f"{path}.constraints[{index}]")) is not None
        ),
        architectures=tuple(architecture_of(name, f"{path}.arch[{index}]") for index, name in enumerate(service.arch)),
        one_shot=service.one_shot,
        privileged=service.privileged,
    )
    size = len(msgspec.json.encode(specification))
    if size > MAX_SPECIFICATION:
        raise InvalidInput(
            path,
            f"what a node must be told of it takes {size} bytes, and at most {MAX_SPECIFICATION} are carried: "
            "put long texts into the image or a volume instead of `environment` and `cmd`",
        )
    return specification


def _check_addresses(addresses: Addresses | None, path: str) -> None:
    """Chosen service addresses lie in the ranges that Oakestra keeps for them."""
    if addresses is None:
        return
    for field, value, network in (
        ("rr_ip", addresses.rr_ip, ipaddress.ip_network("10.30.0.0/16")),
        ("rr_ip_v6", addresses.rr_ip_v6, ipaddress.ip_network("fdff:2000::/21")),
    ):
        if not value:
            continue
        try:
            inside = ipaddress.ip_address(value) in network
        except ValueError:
            inside = False
        if not inside:
            raise InvalidInput(f"{path}.{field}", f"is {shown(value)}; choose an address in {network}")


def _refuse_repeated(names: Sequence[tuple[str, str]], field: str, kind: str) -> None:
    seen: set[tuple[str, str]] = set()
    for index, name in enumerate(names):
        if name in seen:
            problem = f'is "{name[0]}", which another {kind} in namespace "{name[1]}" has already; rename one'
            raise InvalidInput(field.format(index), problem)
        seen.add(name)
