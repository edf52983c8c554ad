"""What Oakestra's service level agreement means in our words.

Fields that the form does not know are kept with the service (`declared`) and mean nothing to Mangrove. Every error is
an InvalidInput that names the field, such as `applications[0].microservices[1].memory`, its value and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.model.resources import Counted, Resources, counted
from mangrove.model.specification import MAX_SPECIFICATION, Specification
from mangrove.model.validation import fit, shown
from root_orchestrator.api.declared import DeclaredApplication, DeclaredService
from root_orchestrator.api.oakestra.sla_fields import (
    architecture_of,
    disconnect_of,
    mode_of,
    platform_of,
    ports_of,
    preemption_policy_of,
    runtime_of,
    variable_of,
    volume_of,
)
from root_orchestrator.api.oakestra.sla_form import VERSION, Agreement, Application, Microservice
from root_orchestrator.api.oakestra.sla_network import wiring_of, wishes_of
from root_orchestrator.api.oakestra.sla_placement import constraints_of, preference_of

#: What operators can call the things that their nodes count.
_RESOURCE = re.compile(r"[a-z][a-z0-9._-]{0,62}")


def read_sla(raw: object, soonest_stop: float = 0.0) -> tuple[DeclaredApplication, ...]:
    """The applications that an SLA (decoded JSON) declares. soonest_stop: see `disconnect_of`.

    Raises InvalidInput for whatever is wrong with it.
    """
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
        applications.append(_application(application, raw["applications"][index], path, soonest_stop))
    _refuse_repeated([(a.name, a.namespace) for a in applications], "applications[{}].application_name", "application")
    return tuple(applications)


def read_change(raw: object, soonest_stop: float, *, service: str, application: str) -> DeclaredService:
    """The one service that an SLA declares anew. service, application: ids of what it is now.

    Raises InvalidInput, also when the SLA says that it is another service or belongs elsewhere.
    """
    applications = read_sla(_without_id(raw, service), soonest_stop)
    if len(applications) != 1 or len(applications[0].services) != 1:
        count = sum(len(each.services) for each in applications)
        raise InvalidInput(
            "applications",
            f"holds {len(applications)} applications with {count} microservices in all; "
            "declare one application with the one microservice that is changed",
        )
    if applications[0].id not in ("", application):
        raise InvalidInput(
            "applications[0].applicationID",
            f"is {shown(applications[0].id)}, and the service belongs to {application}; "
            "a service stays in its application: delete it and create it there",
        )
    return applications[0].services[0]


def _without_id(raw: object, service: str) -> object:
    """The SLA without the id of the service, which the form has no place for. Raises InvalidInput for another id."""
    match raw:
        case {"applications": [{"microservices": [{"microserviceID": str(id), **fields}], **application}], **rest}:
            if id not in ("", service):
                field = "applications[0].microservices[0].microserviceID"
                raise InvalidInput(field, f"is {shown(id)}, and the path names {service}; leave it empty")
            return {**rest, "applications": [{**application, "microservices": [fields]}]}
    return raw


def _application(application: Application, raw: dict[str, Any], path: str, soonest_stop: float) -> DeclaredApplication:
    prefix = f"{application.application_name}.{application.application_namespace}"
    services = []
    for index, microservice in enumerate(application.microservices):
        specification = _specification(microservice, prefix, f"{path}.microservices[{index}]", soonest_stop)
        # The declared fields as they came, the known ones in the form that clients may rely on.
        declared = {**raw["microservices"][index], **msgspec.to_builtins(microservice)}
        services.append(
            DeclaredService(
                microservice.microservice_name,
                microservice.microservice_namespace,
                specification,
                declared,
                wishes_of(microservice.addresses, f"{path}.microservices[{index}].addresses"),
                wiring_of(microservice, f"{path}.microservices[{index}]"),
                mode_of(microservice, f"{path}.microservices[{index}]"),
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


def _specification(service: Microservice, prefix: str, path: str, soonest_stop: float) -> Specification:
    runtime = runtime_of(service.virtualization)
    if not service.code.strip() and not (runtime == "process" and service.cmd):
        raise InvalidInput(f"{path}.code", "is empty; name the image to run")
    specification = Specification(
        name=f"{prefix}.{service.microservice_name}.{service.microservice_namespace}",
        runtime=runtime,
        image=service.code.strip(),
        command=tuple(service.cmd),
        environment=tuple(
            variable_of(text, f"{path}.environment[{index}]") for index, text in enumerate(service.environment)
        ),
        resources=Resources(
            cpu=service.vcpus * 1000,
            memory=service.memory,
            disk=service.storage,
            gpus=service.vgpus,
            vram=service.vram,
            counted=_counted(service, path),
        ),
        ports=ports_of(service.port, f"{path}.port"),
        volumes=tuple(
            volume_of(volume.volume_id, volume.csi_driver, volume.mount_path, volume.config, f"{path}.volumes[{index}]")
            for index, volume in enumerate(service.volumes)
        ),
        constraints=constraints_of(service.constraints, f"{path}.constraints"),
        preferences=tuple(
            preference_of(wish, f"{path}.placement[{index}]") for index, wish in enumerate(service.placement)
        ),
        architectures=_architectures(service, path),
        operating_systems=platform_of(service.platform, f"{path}.platform")[0],
        one_shot=service.one_shot,
        privileged=service.privileged,
        priority=service.priority,
        preemption_policy=preemption_policy_of(service.preemption_policy, f"{path}.preemption_policy"),
        disconnect=disconnect_of(service.disconnect, f"{path}.disconnect", soonest_stop),
    )
    for index, wish in enumerate(service.constraints):
        if wish.type == "latency" and wish.service == specification.name:
            problem = f"is {shown(wish.service)}, which is the service itself: its first instance could be nowhere"
            raise InvalidInput(f"{path}.constraints[{index}].service", f"{problem}; name another one")
    size = len(msgspec.json.encode(specification))
    if size > MAX_SPECIFICATION:
        raise InvalidInput(
            path,
            f"what a node must be told of it takes {size} bytes, and at most {MAX_SPECIFICATION} are carried: "
            "put long texts into the image or a volume instead of `environment` and `cmd`",
        )
    return specification


def _counted(service: Microservice, path: str) -> tuple[Counted, ...]:
    """All that nodes count by name, under the names that Oakestra has and those of the user's own."""
    amounts = dict(service.resources)
    for name in amounts:
        if _RESOURCE.fullmatch(name) is None:
            problem = (
                f"{shown(name)} is no name of a resource; write a small letter, then letters, digits, `.`, `_`, `-`"
            )
            raise InvalidInput(f"{path}.resources", problem)
    if service.vtpus and "tpu" in amounts:
        raise InvalidInput(f"{path}.resources", "names 'tpu', which has the field `vtpus` of its own; use one of them")
    return counted({**amounts, "tpu": amounts.get("tpu", 0) or service.vtpus})


def _architectures(service: Microservice, path: str) -> tuple[str, ...]:
    named = tuple(architecture_of(name, f"{path}.arch[{index}]") for index, name in enumerate(service.arch))
    platform = platform_of(service.platform, f"{path}.platform")[1]
    if named and platform and not set(platform) <= set(named):
        raise InvalidInput(
            f"{path}.platform", f"is {service.platform!r}, which `arch` does not allow; mend one of them"
        )
    return platform or named


def _refuse_repeated(names: Sequence[tuple[str, str]], field: str, kind: str) -> None:
    seen: set[tuple[str, str]] = set()
    for index, name in enumerate(names):
        if name in seen:
            problem = f'is "{name[0]}", which another {kind} in namespace "{name[1]}" has already; rename one'
            raise InvalidInput(field.format(index), problem)
        seen.add(name)
