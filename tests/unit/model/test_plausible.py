"""What a child reports of itself and cannot be true."""

from __future__ import annotations

import math

import msgspec
import pytest

from mangrove.model.child import Capacity
from mangrove.model.plausible import nonsense_in
from mangrove.model.position import Position
from mangrove.model.resources import Counted, Resources

ROOM = Resources(cpu=4000, memory=4096, disk=10_000, gpus=1, vram=100, counted=(Counted("tpu", 2),))
#: A cluster that has promised more of one of its nodes than that has left.
SANE = Capacity(
    ROOM,
    largest=(ROOM, Resources(cpu=-500, memory=100)),
    nodes=3,
    architectures=("amd64",),
    labels={"zone": "sea"},
    label_values={"zone": ("sea", None)},
    position=Position(90, -180, 1000),
    round_trip=0.5,
)


def test_what_can_be_is_believed() -> None:
    assert nonsense_in(SANE) == ""
    assert nonsense_in(Capacity()) == ""
    assert nonsense_in(Capacity(nodes=0)) == "", "a cluster without nodes"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"allocatable": Resources(memory=-5)}, "memory is -5"),
        ({"allocatable": Resources(cpu=10**40)}, "cpu is 1000000"),
        ({"allocatable": Resources(counted=(Counted("tpu", -1),))}, "tpu is -1"),
        ({"allocatable": Resources(counted=(Counted("tpu", 1), Counted("tpu", 1)))}, "counted twice"),
        ({"nodes": -1}, "nodes is -1"),
        ({"nodes": 10**9}, "nodes is 1000000000"),
        ({"nodes": 0}, "nodes is 0, and there are rooms"),
        ({"largest": (Resources(memory=4097),)}, "memory of a single node is 4097, more than all nodes have"),
        ({"largest": (Resources(counted=(Counted("fpga", 1),)),)}, "fpga of a single node is 1"),
        ({"position": Position(91, 0)}, "position is 91,0,0"),
        ({"position": Position(math.nan, 0)}, "position is nan,0,0"),
        ({"position": Position(0, 0, -1)}, "position is 0,0,-1"),
        ({"position": Position(1e308, -1e308)}, "position is 1e+308"),
        ({"round_trip": -1.0}, "round_trip is -1.0"),
        ({"round_trip": math.nan}, "round_trip is NaN"),
        ({"round_trip": 1e300}, "round_trip is 1e+300"),
        ({"labels": {"a": "x" * 1001}}, "labels has a word"),
        ({"label_values": {"a": ("x" * 1001, None)}}, "labels has a word"),
        ({"addons": ("x" * 1001,)}, "addons has a word"),
        ({"runtimes": ("x" * 1001,)}, "runtimes has a word"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, object], said: str) -> None:
    assert said in nonsense_in(msgspec.structs.replace(SANE, **wrong))
