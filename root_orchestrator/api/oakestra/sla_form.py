"""The form of Oakestra's service level agreement, version v2.0: each field, its limits, and what it means to Mangrove.

Descriptions are what the API's own description and the reference page show.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mangrove.model.specification import LEAST_PRIORITY, MOST_PRIORITY

VERSION = "v2.0"


def says(text: str) -> Meta:
    """What a field means, for people."""
    return Meta(description=text)


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


class InstanceAddresses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses of which each leads to one instance."""

    from_: Annotated[Line, says("The address of the first of these instances.")] = msgspec.field(name="from")
    to: Annotated[Line, says("The last address; missing: there is only one.")] = ""
    start: Annotated[int, Meta(ge=0, le=2**31), says("Number of the instance that `from` leads to.")] = 0


class Addresses(msgspec.Struct, frozen=True, omit_defaults=True):
    """Addresses of the service: of your choice, or `auto` for any that is free."""

    rr_ip: Annotated[Line, says("IPv4, to all instances in turn. Missing: one is chosen.")] = ""
    rr_ip_v6: Annotated[Line, says("IPv6, to all instances in turn. Missing: one is chosen.")] = ""
    closest_ip: Annotated[Line, says("IPv4, to the nearest instance.")] = ""
    closest_ip_v6: Annotated[Line, says("IPv6, to the nearest instance.")] = ""
    least_loaded_ip: Annotated[Line, says("IPv4, to the instance that uses the least CPU. Not of Oakestra.")] = ""
    least_loaded_ip_v6: Annotated[Line, says("IPv6, to the instance that uses the least CPU. Not of Oakestra.")] = ""
    instances: Annotated[
        list[InstanceAddresses], Meta(max_length=64), says("Addresses that each lead to one instance, by its number.")
    ] = []
    client_affinity: Annotated[
        float,
        Meta(ge=0, le=86_400),
        says("Seconds for which a client is led to the same instance; 0: each connection anew. Not of Oakestra."),
    ] = 0


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A volume of one microservice."""

    volume_id: Annotated[Line, says("The folder of the node, as an absolute path.")]
    csi_driver: Annotated[Line, says("Empty or `host`; others are refused.")]
    mount_path: Annotated[Line, says("Where the service sees it, as an absolute path.")] = ""
    config: Annotated[dict[str, str], says("`read_only`: `true` so that it cannot write there.")] = {}


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wish about where to run."""

    type: Annotated[Line, says("`direct`, `clusters`, `geo`, `latency`, `addons`, `label`, `tolerates` or `per_node`.")]
    area: Annotated[
        Line, says("`geo`, `latency`: the area to be in, which is the label `area` of a node; or coordinates.")
    ] = ""
    cluster: Annotated[Line, says("Names of clusters, separated by `;`.")] = ""
    node: Annotated[Line, says("Names of nodes, separated by `;`.")] = ""
    location: Annotated[Line, says("`geo`, `latency`: a point, `LATITUDE,LONGITUDE` or with `,METRES` of radius.")] = ""
    threshold: Annotated[
        float,
        says("`geo`: km at most; `latency`: ms there and back at most; `per_node`: instances on one node at most."),
    ] = 0
    service: Annotated[
        Line, says("`latency`: the service to be near, by name: `application.namespace.service.namespace`.")
    ] = ""
    rigidness: Annotated[float, says("Kept, means nothing yet.")] = 0
    convergence_time: Annotated[Kept, says("Kept, means nothing yet.")] = 0
    needs: Annotated[
        list[Line],
        says("`addons`: what the node must offer: `--addon` of its operator, or `oci-runtime/runsc` and the like."),
    ] = []
    allowed: Annotated[list[Line], says("`clusters`: names of those that may run it.")] = []
    key: Annotated[Line, says("`label`: which one; `tolerates`: which taint.")] = ""
    operator: Annotated[
        Line, says("`label`: `in` (when empty), `not_in`, `exists`, `not_exists`, `lt`, `le`, `gt`, `ge`.")
    ] = ""
    values: Annotated[
        list[Line], says("`label`: what to compare with; `tolerates`: values of the taint, empty for any.")
    ] = []


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wish about which of the possible places is the best. Not of Oakestra."""

    by: Annotated[
        Line,
        says(
            "`best_fit`, `spread`, `balanced`, `lowest_load`, `image`, `affinity`, `anti_affinity`, `labels`, "
            "`nearest`, `ldp`, `rom`, or one that is installed."
        ),
    ]
    weight: Annotated[float, says("How much it counts beside the others; negative to keep away.")] = 1.0
    key: Annotated[Line, says("`labels`: which one; `spread`: over what (empty: nodes; `cluster`; or a label).")] = ""
    values: Annotated[list[Line], says("`labels`: those preferred; empty: any.")] = []
    services: Annotated[
        list[Line], says("`affinity`, `anti_affinity`: services, as `application.namespace.service.namespace`.")
    ] = []
    location: Annotated[Line, says("`nearest`: `LATITUDE,LONGITUDE`.")] = ""


class Disconnect(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What becomes of an instance while its node or cluster is not heard. Durations are seconds, or text such as `30s`,
    `5m` and `1h`. Not of Oakestra."""

    lost_after: Annotated[
        float | str | None,
        says(
            "How long its node or cluster may be silent before it is replaced elsewhere; `never`: it stays where it "
            "is. Missing, or shorter than the lease: the lease, or what `stop_on_child_after` asks for."
        ),
    ] = None
    stop_on_child_after: Annotated[
        float | str | None,
        says(
            "How long after its last word with its parent a node stops its own copy, so that two never run at once. "
            "Missing: it runs on."
        ),
    ] = None
    act_on_gone: Annotated[
        bool, says("Whether it is replaced about a second after the connection of its node or cluster broke.")
    ] = False
    on_return: Annotated[
        Line,
        says(
            "Which of the two stays when the node or cluster comes back after it was replaced: `keep_replacement`, "
            "`keep_original`, `keep_best` (as new instances are placed) or `keep_longest_running`."
        ),
    ] = "keep_replacement"


class ConnectionConstraint(msgspec.Struct, frozen=True):
    """Kept, never used (by Oakestra neither)."""

    type: Line
    threshold: float
    rigidness: float
    convergence_time: Kept


class Connectivity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another service that this one may connect to, though it is in an application of another namespace."""

    target_microservice_id: Annotated[
        Line, says("Its id, or `application.namespace.service.namespace`; it counts if it is of the same owner.")
    ] = ""
    con_constraints: Annotated[list[ConnectionConstraint], says("Kept, means nothing yet.")] = []


class Microservice(msgspec.Struct, frozen=True):
    """One service of an application, as a user writes it."""

    microservice_name: Annotated[Name, says("What the service is called within its application.")]
    microservice_namespace: Annotated[Name, says("A second name, for example of a stage or a team.")]
    virtualization: Annotated[
        str,
        Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}\Z"),
        says("What runs it: `container`, or `process` for a plain process of the node."),
    ]
    code: Annotated[
        Line,
        says("The image of a container; the executable of a process, or empty when `cmd` says it all."),
    ]
    microserviceID: Annotated[str, Meta(max_length=0), says("Empty: the root gives it.")] = ""
    memory: Annotated[
        Megabytes,
        says("MiB: reserved, and the limit of what it may use; 0: nothing reserved, no limit."),
    ] = 0
    vcpus: Annotated[
        Count,
        says("Cores: reserved, and the limit of what it may use; 0: nothing reserved, no limit."),
    ] = 0
    vgpus: Annotated[Count, says("Devices that are given to it alone; the node picks those with most free memory.")] = 0
    vram: Annotated[Megabytes, says("MiB of GPU memory that are reserved, of all its GPUs together.")] = 0
    vtpus: Annotated[Count, says("Of what nodes count as `--resource tpu=…`.")] = 0
    bandwidth_in: Annotated[Megabytes, says("kbit/s. Kept; to be a condition it must stand in `resources`.")] = 0
    bandwidth_out: Annotated[Megabytes, says("kbit/s. Kept; to be a condition it must stand in `resources`.")] = 0
    resources: Annotated[
        dict[str, Annotated[int, Meta(ge=1, le=1_000_000_000)]],
        says("How many of other things that nodes count with `--resource NAME=COUNT`."),
    ] = {}
    storage: Annotated[Megabytes, says("MB of disk that are reserved on the node; not enforced.")] = 0
    state: Annotated[Line, says("Kept, means nothing.")] = ""
    added_files: Annotated[list[Line], says("Kept, means nothing.")] = []
    args: Annotated[list[Argument], says("Kept, means nothing.")] = []
    sla_violation_strategy: Annotated[Line, says("Kept, means nothing yet.")] = ""
    target_node: Annotated[Line, says("Kept, means nothing; `constraints` name nodes.")] = ""
    port: Annotated[
        Line,
        says("Ports of the node that lead to it: `host:container` or `host:container/udp`, separated by `;`."),
    ] = ""
    cmd: Annotated[list[Argument], says("What to run, with its arguments, instead of what the image says.")] = []
    environment: Annotated[list[Argument], says("Variables, each as `KEY=value`.")] = []
    one_shot: Annotated[bool, says("Whether it ends by itself: exit code 0 completes it for good.")] = False
    privileged: Annotated[bool, says("Whether it gets the device `/dev/fuse`, as with Oakestra.")] = False
    volumes: Annotated[list[Volume], says("Folders of the node that it sees.")] = []
    addresses: Annotated[
        Addresses | None,
        says("Its addresses in the network between services; missing: one of IPv4 and one of IPv6 are chosen."),
    ] = None
    constraints: Annotated[list[Constraint], says("Where it may run. All of them count.")] = []
    connectivity: Annotated[
        list[Connectivity],
        says(
            "Services that it may connect to, beside those of applications of the same owner in the same namespace, to "
            "which it may anyway."
        ),
    ] = []
    egress: Annotated[
        list[Line],
        says(
            "Where it may connect to outside of this network: `192.0.2.0/24`, or with port and protocol "
            "`0.0.0.0/0:443/tcp`, `[2001:db8::/32]:53/udp`. Missing: anywhere; `none`: nowhere. Not of Oakestra."
        ),
    ] = []
    arch: Annotated[list[Line], says("Architectures that it can run on, such as `amd64` and `arm64`; empty: any.")] = []
    platform: Annotated[Line, says("System and architecture that it needs, such as `linux/arm64`; empty: any.")] = ""
    placement: Annotated[
        list[Preference],
        says("Which of the nodes that can run it is the best; empty: as root and clusters are set up."),
    ] = []
    priority: Annotated[
        int,
        Meta(ge=LEAST_PRIORITY, le=MOST_PRIORITY),
        says("How important it is: the more important is placed first, and may displace the less important."),
    ] = 0
    preemption_policy: Annotated[
        Line,
        says("Whether it displaces what is less important when it fits nowhere: `lower_priority`, or `never`."),
    ] = "lower_priority"
    disconnect: Annotated[Disconnect, says("What becomes of it while its node or cluster is not heard.")] = Disconnect()
    mode: Annotated[
        Line,
        says(
            "`replicated` (when empty): as many instances as you ask for; `global`: a system service, one instance on "
            "each node that it matches, also on those that join later. Not of Oakestra."
        ),
    ] = ""


class Application(msgspec.Struct, frozen=True):
    """One application, as a user writes it."""

    application_name: Annotated[
        Name,
        says("What it is called; unique among those of its owner, together with the namespace."),
    ]
    application_namespace: Annotated[Name, says("A second name, for example of a stage or a team.")]
    microservices: Annotated[list[Microservice], says("Its services.")]
    applicationID: Annotated[
        Line, says("Empty when it is made; names the application to which services are added.")
    ] = ""
    application_desc: Annotated[Argument, says("What it is for, for people.")] = ""


class Agreement(msgspec.Struct, frozen=True):
    """A whole document. customerID is asked for by the form, and not used."""

    sla_version: Annotated[Literal["v2.0"], says("The version of this form.")]
    customerID: Annotated[Line, says("Asked for, and not used.")]
    applications: Annotated[list[Application], says("What is declared.")]
    args: Annotated[list[Argument], says("Kept, means nothing.")] = []


#: An SLA of one application with one service.
EXAMPLE = {
    "sla_version": "v2.0",
    "customerID": "Admin",
    "applications": [
        {
            "applicationID": "",
            "application_name": "demo",
            "application_namespace": "test",
            "application_desc": "",
            "microservices": [
                {
                    "microserviceID": "",
                    "microservice_name": "web",
                    "microservice_namespace": "test",
                    "virtualization": "container",
                    "code": "docker.io/library/nginx:latest",
                    "memory": 100,
                    "vcpus": 1,
                    "port": "8080:80",
                }
            ],
        }
    ],
}
