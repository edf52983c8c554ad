"""What an SLA says about where to run: read, and refused with the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mangrove.base.errors import InvalidInput
from mangrove.model.position import Position
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Preference, Specification
from root_orchestrator.api.oakestra.sla import read_sla


def read(**fields: Any) -> Specification:
    service = {
        "microservice_name": "web",
        "microservice_namespace": "test",
        "virtualization": "container",
        "code": "image",
        **fields,
    }
    application = {"application_name": "app", "application_namespace": "test", "microservices": [service]}
    [declared] = read_sla({"sla_version": "v2.0", "customerID": "", "applications": [application]})
    return declared.services[0].specification


def constraints(*wishes: dict[str, Any]) -> tuple[Constraint, ...]:
    return read(constraints=list(wishes)).constraints


def test_each_constraint_is_read() -> None:
    here = Position(48.1, 11.5)
    assert constraints(
        {"type": "clusters", "allowed": ["a", "b;c"]},
        {"type": "geo", "location": "48.1,11.5", "threshold": 100, "rigidness": 0.9, "convergence_time": 300},
        {"type": "geo", "area": "munich"},
        {"type": "latency", "area": "munich", "threshold": 100},
        {"type": "latency", "area": "48.1,11.5", "threshold": 0.5},
        {"type": "latency", "threshold": 5},
        {"type": "latency", "threshold": 5, "service": "shop.prod.db.prod"},
        {"type": "addons", "needs": ["x"]},
        {"type": "label", "key": "zone", "values": ["a"]},
        {"type": "label", "key": "cores", "operator": "ge", "values": ["4"]},
        {"type": "label", "key": "ssd", "operator": "exists"},
        {"type": "tolerates", "key": "gpu"},
        {"type": "per_node", "threshold": 2},
    ) == (
        Constraint("clusters", names=("a", "b", "c")),
        Constraint("geo", position=here, threshold=100),
        Constraint("geo", key="munich"),
        Constraint("latency", key="munich", threshold=100),
        Constraint("latency", position=here, threshold=0.5),
        Constraint("latency", threshold=5),
        Constraint("latency", names=("shop.prod.db.prod",), threshold=5),
        Constraint("addons", names=("x",)),
        Constraint("label", key="zone", names=("a",)),
        Constraint("label", key="cores", operator="ge", names=("4",)),
        Constraint("label", key="ssd", operator="exists"),
        Constraint("tolerates", key="gpu"),
        Constraint("per_node", threshold=2),
    )


def test_what_asks_for_nothing_is_none() -> None:
    assert constraints({"type": "clusters"}, {"type": "addons"}, {"type": "direct"}) == ()


def test_amounts_of_counted_things() -> None:
    wanted = read(vtpus=2, bandwidth_in=5, vram=100, resources={"camera": 1, "bandwidth_out": 7})
    # The field of its own is kept only, as by Oakestra: files that have it must run where no node says what it bears.
    assert wanted.resources == Resources(vram=100, counted=counted({"bandwidth_out": 7, "camera": 1, "tpu": 2}))


def test_a_platform_is_a_system_and_an_architecture() -> None:
    wanted = read(platform="linux/aarch64", arch=["arm64", "amd64"])
    assert (wanted.operating_systems, wanted.architectures) == (("linux",), ("arm64",))


def test_preferences_are_read() -> None:
    assert read(
        placement=[
            {"by": "spread", "key": "zone", "weight": 2},
            {"by": "nearest", "location": "48.1,11.5"},
            {"by": "affinity", "services": ["app.test.db.test"]},
        ]
    ).preferences == (
        Preference("spread", 2.0, "zone"),
        Preference("nearest", position=Position(48.1, 11.5)),
        Preference("affinity", names=("app.test.db.test",)),
    )


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"constraints": [{"type": "geo", "location": "moon"}]}, "constraints[0].location", "LATITUDE,LONGITUDE"),
        ({"constraints": [{"type": "geo", "location": "95,0"}]}, "constraints[0].location", "not on Earth"),
        ({"constraints": [{"type": "geo", "location": "5,0", "threshold": -1}]}, "constraints[0].threshold", "km"),
        ({"constraints": [{"type": "latency", "threshold": 5, "service": "a b"}]}, "constraints[0].service", "name"),
        (
            {"constraints": [{"type": "latency", "threshold": 5, "service": "x", "area": "y"}]},
            "constraints[0].service",
            "two constraints",
        ),
        (
            {"constraints": [{"type": "latency", "threshold": 5, "service": "app.test.web.test"}]},
            "constraints[0].service",
            "the service itself",
        ),
        ({"constraints": [{"type": "geo", "area": "munich", "threshold": -1}]}, "constraints[0].threshold", "km"),
        ({"constraints": [{"type": "geo", "area": "a b"}]}, "constraints[0].area", "no name"),
        ({"constraints": [{"type": "geo", "location": "nan,0"}]}, "constraints[0].location", "not on Earth"),
        ({"constraints": [{"type": "geo", "location": "1e999,0"}]}, "constraints[0].location", "not on Earth"),
        ({"constraints": [{"type": "near"}]}, "constraints[0].type", "no known constraint"),
        ({"constraints": [{"type": "latency", "threshold": float("inf")}]}, "constraints[0].threshold", "ms"),
        ({"constraints": [{"type": "per_node", "threshold": float("nan")}]}, "constraints[0].threshold", "from 1"),
        ({"constraints": [{"type": "per_node", "threshold": 1e30}]}, "constraints[0].threshold", "from 1"),
        (
            {"constraints": [{"type": "label", "key": "a", "operator": "lt", "values": ["nan"]}]},
            "constraints[0].values",
            "one number",
        ),
        ({"placement": [{"by": "spread", "weight": float("nan")}]}, "placement[0].weight", "not 0"),
        ({"placement": [{"by": "nearest", "location": "0,181"}]}, "placement[0].location", "not on Earth"),
        ({"memory": -1}, "memory", "-1"),
        ({"vcpus": 10**40}, "vcpus", "1000"),
        ({"resources": {"camera": -1}}, "resources", "-1"),
        ({"constraints": [{"type": "latency", "threshold": 1e9}]}, "constraints[0].threshold", "ms"),
        ({"constraints": [{"type": "latency", "threshold": float("nan")}]}, "constraints[0].threshold", "ms"),
        ({"constraints": [{"type": "addons", "needs": ["a b"]}]}, "constraints[0].needs", "no name"),
        ({"constraints": [{"type": "label", "values": ["a"]}]}, "constraints[0].key", "no name"),
        ({"constraints": [{"type": "label", "key": "a"}]}, "constraints[0].values", "is empty"),
        (
            {"constraints": [{"type": "label", "key": "a", "operator": "lt", "values": ["much"]}]},
            "constraints[0].values",
            "one number",
        ),
        ({"constraints": [{"type": "label", "key": "a", "operator": "is"}]}, "constraints[0].operator", "not_exists"),
        ({"constraints": [{"type": "per_node", "threshold": 0.5}]}, "constraints[0].threshold", "from 1"),
        ({"constraints": [{"type": "tolerates"}]}, "constraints[0].key", "no name"),
        ({"resources": {"Bad Name": 1}}, "resources", "no name of a resource"),
        ({"resources": {"tpu": 1}, "vtpus": 1}, "resources", "of its own"),
        ({"resources": {"camera": 0}}, "resources", "a whole number"),
        ({"platform": "!"}, "platform", "no platform"),
        ({"platform": "linux/amd64", "arch": ["arm64"]}, "platform", "`arch` does not allow"),
        ({"placement": [{"by": "magic"}]}, "placement[0].by", "best_fit"),
        ({"placement": [{"by": "spread", "weight": 0}]}, "placement[0].weight", "not 0"),
        ({"placement": [{"by": "labels"}]}, "placement[0].key", "no name"),
        ({"placement": [{"by": "affinity"}]}, "placement[0].services", "is empty"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        read(**fields)
    assert caught.value.field.startswith(f"applications[0].microservices[0].{field}")


@pytest.mark.parametrize(
    "wishes",
    [
        [{"type": "clusters", "allowed": ["a"]}, {"type": "clusters", "allowed": ["b"]}],
        [{"type": "direct", "node": "a;b"}, {"type": "direct", "node": "c"}],
        [
            {"type": "label", "key": "zone", "values": ["a"]},
            {"type": "label", "key": "zone", "operator": "not_in", "values": ["a", "b"]},
        ],
        [
            {"type": "label", "key": "zone", "operator": "exists"},
            {"type": "label", "key": "zone", "operator": "not_exists"},
        ],
        [
            {"type": "label", "key": "cores", "operator": "gt", "values": ["4"]},
            {"type": "label", "key": "cores", "operator": "le", "values": ["4"]},
        ],
        [
            {"type": "label", "key": "cores", "values": ["2", "few"]},
            {"type": "label", "key": "cores", "operator": "gt", "values": ["2"]},
        ],
        [
            {"type": "label", "key": "zone", "values": ["a", "b"]},
            {"type": "label", "key": "zone", "values": ["b", "c"]},
            {"type": "label", "key": "zone", "values": ["a", "c"]},
        ],
        [
            {"type": "label", "key": "zone", "values": ["a", "b"]},
            {"type": "label", "key": "zone", "operator": "not_in", "values": ["a"]},
            {"type": "label", "key": "zone", "operator": "not_in", "values": ["b"]},
        ],
        [{"type": "clusters", "allowed": ["a", "b"]}, {"type": "direct", "cluster": "c"}],
        [{"type": "direct", "cluster": "c", "node": "n"}, {"type": "clusters", "allowed": ["a", "b"]}],
        [{"type": "geo", "area": "munich"}, {"type": "latency", "area": "berlin", "threshold": 5}],
        [{"type": "label", "key": "area", "values": ["berlin"]}, {"type": "geo", "area": "munich"}],
    ],
)
def test_what_contradicts_itself_is_refused(wishes: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInput, match=r"in common|contradicts") as caught:
        constraints(*wishes)
    assert f"constraints[{len(wishes) - 1}]." in caught.value.field


def test_what_leaves_something_is_not_refused() -> None:
    assert len(constraints({"type": "direct", "node": "a;b"}, {"type": "direct", "node": "b;c", "cluster": "x"})) == 2
    between = [{"type": "label", "key": "n", "operator": operator, "values": ["4"]} for operator in ("ge", "le")]
    assert len(constraints(*between)) == 2
    assert len(constraints({"type": "clusters", "allowed": ["a", "b"]}, {"type": "direct", "cluster": "b;c"})) == 2
    some = {"type": "label", "key": "n", "values": ["2", "8"]}
    assert len(constraints(some, {"type": "label", "key": "n", "operator": "gt", "values": ["4"]})) == 2
    assert len(constraints({"type": "geo", "area": "x"}, {"type": "latency", "area": "x", "threshold": 5})) == 2
