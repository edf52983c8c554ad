"""Reading an SLA: what it comes to, what is refused and how, and that nothing else than InvalidInput ever comes out."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.base.errors import InvalidInput
from mangrove.link.pace import Settings
from mangrove.model.network import Egress
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Disconnect, Port, Specification, Volume
from root_orchestrator.api.declared import DeclaredApplication
from root_orchestrator.api.oakestra import sla_form
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.api.oakestra.sla_fields import disconnect_of
from tests.root_api import microservice, sla

SOONEST = Settings().soonest_stop


def one(**fields: Any) -> Specification:
    """The specification of the only service of an SLA."""
    return read_sla(sla("demo", microservice("web", **fields)))[0].services[0].specification


def test_a_whole_service_becomes_a_specification() -> None:
    specification = one(
        cmd=["sh", "-c", "sleep 1"],
        vcpus=2,
        memory=512,
        vgpus=1,
        storage=20,
        port="8080:80;53:5353/udp;9080; 9080/udp;",
        environment=["KEY=value", "EMPTY=", "TWO=a=b"],
        one_shot=True,
        privileged=True,
        volumes=[{"volume_id": "/srv/data/", "csi_driver": "", "mount_path": "/data", "config": {"read_only": "true"}}],
        constraints=[{"type": "direct", "cluster": "alpha; beta ;", "node": "n1"}, {"type": "direct", "cluster": ""}],
        arch=["x86_64", "arm64"],
    )
    assert specification == Specification(
        name="demo.test.web.test",
        runtime="docker",
        image="docker.io/library/nginx:latest",
        command=("sh", "-c", "sleep 1"),
        environment=("KEY=value", "EMPTY=", "TWO=a=b"),
        resources=Resources(cpu=2000, memory=512, disk=20, gpus=1),
        ports=(Port(8080, 80), Port(53, 5353, "udp"), Port(9080, 9080), Port(9080, 9080, "udp")),
        volumes=(Volume("/srv/data", "/data", read_only=True),),
        constraints=(Constraint("direct", "alpha;beta", "n1"),),
        architectures=("amd64", "arm64"),
        one_shot=True,
        privileged=True,
    )


@pytest.mark.parametrize(
    ("virtualization", "runtime"), [("container", "docker"), ("docker", "docker"), ("process", "process")]
)
def test_virtualization_names_the_runtime(virtualization: str, runtime: str) -> None:
    assert one(virtualization=virtualization).runtime == runtime


def test_a_process_needs_no_code_when_it_has_a_command() -> None:
    assert one(virtualization="process", code="", cmd=["/bin/true"]).command == ("/bin/true",)


def test_unknown_fields_are_kept_as_they_came() -> None:
    extra = {"vm_images": [1, {"a": None}], "memory": 7}
    service = read_sla(sla("demo", microservice("web", **extra)))[0].services[0]
    assert service.declared["vm_images"] == [1, {"a": None}]
    assert service.declared["memory"] == 7
    assert service.declared["vgpus"] == 0  # what clients rely on is there even when it was left out


@pytest.mark.parametrize(
    ("wish", "policy"),
    [
        ({}, Disconnect()),
        ({"lost_after": "never"}, Disconnect("never")),
        ({"lost_after": 90}, Disconnect(90.0)),
        ({"lost_after": "1.5m"}, Disconnect(90.0)),
        ({"lost_after": "2h", "act_on_gone": True}, Disconnect(7200.0, act_on_gone=True)),
        ({"stop_on_child_after": "30s"}, Disconnect(None, 30.0)),
        ({"lost_after": 35.03, "stop_on_child_after": 30}, Disconnect(35.03, 30.0)),
        ({"lost_after": "never", "stop_on_child_after": 30}, Disconnect("never", 30.0)),
        ({"on_return": "keep_longest_running"}, Disconnect(on_return="keep_longest_running")),
    ],
)
def test_what_becomes_of_it_while_its_node_is_not_heard(wish: dict[str, Any], policy: Disconnect) -> None:
    assert one(disconnect=wish).disconnect == policy


def test_how_important_it_is() -> None:
    assert (one().priority, one().preemption_policy) == (0, "lower_priority")
    told = one(priority=-100, preemption_policy="never")
    assert (told.priority, told.preemption_policy) == (-100, "never")
    assert one(priority=0).digest == one().digest


def test_a_policy_that_says_nothing_leaves_the_digest_as_it_was() -> None:
    assert one(disconnect={"act_on_gone": False}).digest == one().digest
    assert "disconnect" not in msgspec.to_builtins(one(disconnect={}))


def test_no_applications_are_fine() -> None:
    assert read_sla({"sla_version": "v2.0", "customerID": "", "applications": []}) == ()


SERVICE = "applications[0].microservices[1]"

BAD_SERVICES: list[tuple[dict[str, Any], str, str]] = [
    ({"microservice_name": "a-b"}, "microservice_name", "^[a-zA-Z0-9]{1,30}"),
    ({"microservice_name": "ab\n"}, "microservice_name", "matching"),
    ({"microservice_name": "a" * 31}, "microservice_name", "matching"),
    ({"microservice_name": ""}, "microservice_name", "matching"),
    ({"microservice_namespace": 5}, "microservice_namespace", "a string"),
    ({"microserviceID": "x"}, "microserviceID", "length <= 0"),
    ({"virtualization": ""}, "virtualization", "matching"),
    ({"virtualization": None}, "virtualization", "a string"),
    ({"code": ""}, "code", "is empty"),
    ({"code": "a\nb"}, "code", "matching"),
    ({"memory": -1}, "memory", ">= 0"),
    ({"priority": 101}, "priority", "<= 100"),
    ({"priority": -101}, "priority", ">= -100"),
    ({"priority": True}, "priority", "a whole number"),
    ({"priority": 1.5}, "priority", "a whole number"),
    ({"priority": float("nan")}, "priority", "a whole number"),
    ({"priority": "high"}, "priority", "a whole number"),
    ({"preemption_policy": "always"}, "preemption_policy", "lower_priority"),
    ({"memory": 100.0}, "memory", "a whole number"),
    ({"memory": "many"}, "memory", '"many"'),
    ({"memory": 10**30}, "memory", "<="),
    ({"memory": float("nan")}, "memory", "a whole number"),
    ({"memory": True}, "memory", "true"),
    ({"vcpus": 10**6}, "vcpus", "<= 100000"),
    ({"vgpus": -2}, "vgpus", ">= 0"),
    ({"storage": "1"}, "storage", "a whole number"),
    ({"bandwidth_in": 2**63}, "bandwidth_in", "a whole number"),
    ({"port": 80}, "port", "a string"),
    ({"port": "http"}, "port", "host:container"),
    ({"port": "80:"}, "port", "host:container"),
    ({"port": "0:80"}, "port", "1 to 65535"),
    ({"port": "80:65536"}, "port", "1 to 65535"),
    ({"port": "80:80/sctp"}, "port", "host:container"),
    ({"port": "٨٠:80"}, "port", "host:container"),
    ({"port": "80:80;80:81"}, "port", "twice"),
    ({"environment": ["A"]}, "environment[0]", "KEY=value"),
    ({"environment": ["A=1", "=1"]}, "environment[1]", "KEY=value"),
    ({"environment": ["A=\0"]}, "environment[0]", "matching"),
    ({"environment": "A=1"}, "environment", "a list"),
    ({"cmd": [1]}, "cmd[0]", "a string"),
    ({"cmd": None}, "cmd", "a list"),
    ({"one_shot": 1}, "one_shot", "true or false"),
    ({"volumes": [{"volume_id": "/a"}]}, "volumes[0].csi_driver", "is missing"),
    ({"volumes": [{"volume_id": "/a", "csi_driver": "ceph"}]}, "volumes[0].csi_driver", "not supported"),
    ({"volumes": [{"volume_id": "a", "csi_driver": ""}]}, "volumes[0].volume_id", "absolute path"),
    ({"volumes": [{"volume_id": "/a", "csi_driver": ""}]}, "volumes[0].mount_path", "absolute path"),
    (
        {"volumes": [{"volume_id": "/a/../b", "csi_driver": "host", "mount_path": "/b"}]},
        "volumes[0].volume_id",
        "without `..`",
    ),
    ({"constraints": [{"type": "geo"}]}, "constraints[0].location", "LATITUDE,LONGITUDE"),
    ({"constraints": [{"type": "direct"}, {"type": "latency"}]}, "constraints[1].threshold", "ms"),
    ({"constraints": [{"type": "moon"}]}, "constraints[0].type", "no known constraint"),
    ({"constraints": [{}]}, "constraints[0].type", "is missing"),
    ({"constraints": [{"type": "direct", "cluster": ["a"]}]}, "constraints[0].cluster", "a string"),
    ({"arch": ["AMD 64"]}, "arch[0]", "amd64"),
    ({"addresses": {"rr_ip": "x"}}, "addresses.rr_ip", '"auto" for any that is free'),
    ({"addresses": {"rr_ip": "fdff:2000::1"}}, "addresses.rr_ip", "write one of IPv4"),
    ({"addresses": {"closest_ip_v6": "10.30.0.1"}}, "addresses.closest_ip_v6", "write one of IPv6"),
    ({"addresses": {"rr_ip": "10.30.0.1", "closest_ip": "10.30.0.1"}}, "addresses.closest_ip", "there twice"),
    ({"addresses": {"instances": [{}]}}, "addresses.instances[0].from", "is missing"),
    (
        {"addresses": {"instances": [{"from": "10.30.0.2", "to": "10.30.0.1"}]}},
        "addresses.instances[0].to",
        "write 1 to 256",
    ),
    (
        {"addresses": {"instances": [{"from": "10.30.0.0", "to": "10.30.1.0"}]}},
        "addresses.instances[0].to",
        "write 1 to 256",
    ),
    (
        {"addresses": {"instances": [{"from": "10.30.0.0", "to": "10.30.0.255"}, {"from": "fdff:2000::1"}]}},
        "addresses.instances[0].from",
        "at most 256",
    ),
    (
        {"addresses": {"instances": [{"from": "10.30.0.1"}, {"from": "10.30.0.2"}]}},
        "addresses.instances[1].from",
        "instance 0 has two IPv4 addresses",
    ),
    ({"addresses": {"client_affinity": -1}}, "addresses.client_affinity", ">= 0.0"),
    ({"egress": ["10.0.0.1/8"]}, "egress[0]", "192.0.2.0/24"),
    ({"egress": ["192.0.2.0/24", "x"]}, "egress[1]", "192.0.2.0/24"),
    ({"egress": ["0.0.0.0/0:70000/tcp"]}, "egress[0]", "from 1 to 65535"),
    ({"egress": ["0.0.0.0/0:http"]}, "egress[0]", "0.0.0.0/0:443/tcp"),
    (
        {"connectivity": [{"con_constraints": [{"type": "latency"}]}]},
        "connectivity[0].con_constraints[0].threshold",
        "is missing",
    ),
    ({"microservice_name": "first"}, "microservice_name", "another microservice"),
    ({"disconnect": None}, "disconnect", "an object"),
    ({"disconnect": {"lost": 1}}, "disconnect.lost", "not known here"),
    ({"disconnect": {"lost_after": True}}, "disconnect.lost_after", "a number or a string or null, but is true"),
    ({"disconnect": {"lost_after": "soon"}}, "disconnect.lost_after", '"soon"; write seconds from 0 to 31536000, or'),
    ({"disconnect": {"lost_after": "1d"}}, "disconnect.lost_after", '"1h", or "never"'),
    ({"disconnect": {"lost_after": -1}}, "disconnect.lost_after", "is -1"),
    ({"disconnect": {"lost_after": float("nan")}}, "disconnect.lost_after", "is NaN"),
    ({"disconnect": {"lost_after": 10**30}}, "disconnect.lost_after", "31536000"),
    ({"disconnect": {"stop_on_child_after": 0.5}}, "disconnect.stop_on_child_after", "at least 6.9 s: the newest word"),
    ({"disconnect": {"stop_on_child_after": "never"}}, "disconnect.stop_on_child_after", '"never"; write seconds'),
    ({"disconnect": {"act_on_gone": 1}}, "disconnect.act_on_gone", "true or false"),
    (
        {"disconnect": {"on_return": "keep"}},
        "disconnect.on_return",
        '"keep" is not known; there are `keep_replacement`',
    ),
    ({"disconnect": {"lost_after": "never", "act_on_gone": True}}, "disconnect.lost_after", "`act_on_gone`"),
    (
        {"disconnect": {"lost_after": "35s", "stop_on_child_after": 30}},
        "disconnect.lost_after",
        'is "35s", and `stop_on_child_after` is 30.0: an instance is known to have stopped only 35.03 s',
    ),
]


def test_the_least_time_to_stop_follows_from_the_beats() -> None:
    """One beat of node and cluster each, with jitter, and one more that came late."""
    assert SOONEST == 6.9
    assert Settings(lease=2.0).soonest_stop == 1.8
    with pytest.raises(InvalidInput, match=r"is \"6s\", and must be at least 6.9 s"):
        disconnect_of(sla_form.Disconnect(stop_on_child_after="6s"), "disconnect", SOONEST)
    assert disconnect_of(sla_form.Disconnect(stop_on_child_after="6.9s"), "d", SOONEST).stop_on_child_after == 6.9


@pytest.mark.parametrize(("fields", "field", "words"), BAD_SERVICES)
def test_what_is_wrong_with_a_service_is_named(fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_sla(sla("demo", microservice("first"), microservice("second") | fields), SOONEST)
    assert caught.value.field == f"{SERVICE}.{field}"
    assert words in caught.value.problem
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("field", ["microservice_name", "microservice_namespace", "virtualization", "code"])
def test_a_missing_field_of_a_service_is_named(field: str) -> None:
    service = microservice()
    del service[field]
    with pytest.raises(InvalidInput, match=rf"applications\[0\].microservices\[0\].{field}: is missing"):
        read_sla(sla("demo", service))


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (None, ""),
        ([], ""),
        ("{}", ""),
        ({}, "sla_version"),
        ({"sla_version": "v1.0"}, "sla_version"),
        ({"sla_version": {"a": 1}}, "sla_version"),
        ({"sla_version": "v2.0", "applications": []}, "customerID"),
        ({"sla_version": "v2.0", "customerID": 7, "applications": []}, "customerID"),
        ({"sla_version": "v2.0", "customerID": ""}, "applications"),
        ({"sla_version": "v2.0", "customerID": "", "applications": {}}, "applications"),
        ({"sla_version": "v2.0", "customerID": "", "applications": [1]}, "applications[0]"),
        (sla("too-long-or-odd"), "applications[0].application_name"),
        (sla(application_namespace="a b"), "applications[0].application_namespace"),
        (sla(microservices=None), "applications[0].microservices"),
        (sla(application_desc=1), "applications[0].application_desc"),
        ({**sla(), "applications": sla()["applications"] * 2}, "applications[1].application_name"),
    ],
)
def test_what_is_wrong_with_the_whole_is_named(raw: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_sla(raw)
    assert caught.value.field == field


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["v2.0", "direct", "a;b", "80:80", "K=V", "/a", "container", "process", 10**400, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document something can be replaced."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [deeper for key, inner in value.items() for deeper in _paths(inner, (*path, key))]
    elif isinstance(value, list):
        found += [deeper for index, inner in enumerate(value) for deeper in _paths(inner, (*path, index))]
    return found


WHOLE = sla(
    "demo",
    microservice(
        environment=["A=b"],
        cmd=["x"],
        volumes=[{"volume_id": "/a", "csi_driver": "", "mount_path": "/b", "config": {"a": "b"}}],
        constraints=[{"type": "direct", "cluster": "a", "node": "b", "threshold": 1.5, "convergence_time": 1}],
        addresses={
            "rr_ip": "10.30.0.1",
            "rr_ip_v6": "fdff:2000::1",
            "instances": [{"from": "10.30.0.2", "to": "10.30.0.3", "start": 1}],
        },
        connectivity=[
            {
                "target_microservice_id": "x",
                "con_constraints": [{"type": "t", "threshold": 1, "rigidness": 1, "convergence_time": 1}],
            }
        ],
        arch=["amd64"],
        egress=["0.0.0.0/0:443/tcp"],
        one_shot=False,
        added_files=["a"],
    ),
)


@given(json_values)
def test_any_document_is_read_or_refused_with_a_reason(raw: Any) -> None:
    _read_or_refuse(raw)


@settings(max_examples=500)
@given(st.data())
def test_any_field_may_hold_anything(data: st.DataObject) -> None:
    raw = copy.deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(_paths(raw)))
        place: Any = raw
        for step in way:
            place = place[step]
        place[last] = data.draw(json_values)
    _read_or_refuse(raw)


def _read_or_refuse(raw: Any) -> None:
    problem = ""
    applications: tuple[DeclaredApplication, ...] = ()
    try:
        applications = read_sla(raw)
    except InvalidInput as error:
        problem = error.problem or "(none given)"
    assert problem != "(none given)"
    assert len(problem) < 500
    for application in applications:
        for service in application.services:
            assert len(service.specification.digest) == 32  # it can be written


def test_a_service_too_large_to_be_told_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"microservices\[0\].*takes \d+ bytes, and at most 49152"):
        one(environment=[f"KEY{number}={'x' * 1000}" for number in range(60)])


@pytest.mark.parametrize(
    ("egress", "meant"),
    [
        ([], None),
        (["none"], ()),
        (["192.0.2.0/24"], (Egress("192.0.2.0/24"),)),
        (["0.0.0.0/0:443/tcp", "::/0"], (Egress("0.0.0.0/0", "tcp", 443), Egress("::/0"))),
        (
            ["[2001:db8::/32]:53/udp", "10.0.0.0/8/tcp"],
            (Egress("2001:db8::/32", "udp", 53), Egress("10.0.0.0/8", "tcp")),
        ),
    ],
)
def test_where_a_service_may_connect_to(egress: list[str], meant: object) -> None:
    wiring = read_sla(sla("demo", microservice("web", egress=egress)))[0].services[0].wiring
    assert wiring.egress == meant


def test_addresses_that_are_wished_for() -> None:
    addresses = {"rr_ip": "10.30.0.7", "closest_ip_v6": "auto", "instances": [{"from": "10.30.0.8", "start": 2}]}
    wishes = read_sla(sla("demo", microservice("web", addresses=addresses)))[0].services[0].addresses
    assert [(wish.policy, wish.version, wish.address, wish.number) for wish in wishes] == [
        ("round_robin", 4, "10.30.0.7", None),
        ("round_robin", 6, "", None),
        ("closest", 4, "", None),
        ("closest", 6, "", None),
        ("instance", 4, "10.30.0.8", 2),
    ]
