"""What a node's operator says of it by options."""

from __future__ import annotations

import argparse

import pytest

from mangrove.base.errors import InvalidInput
from mangrove.model.child import Capacity
from mangrove.model.position import Position
from mangrove.model.resources import Resources, counted
from node_engine.declared import Declared, add_options, declared_in


def read(*arguments: str) -> Declared:
    options = argparse.ArgumentParser()
    add_options(options)
    return declared_in(options.parse_args(arguments))


def test_all_of_it_is_told() -> None:
    said = read(
        *("--label", "zone=a", "--label", "empty=", "--taint", "gpu", "--taint", "owner=lab", "--addon", "camera"),
        *("--resource", "tpu=2", "--resource", "bandwidth_in=1000", "--location", "48.1,11.5,30"),
    ).told(Capacity(Resources(cpu=1000), runtimes=("docker",)))
    assert said == Capacity(
        Resources(cpu=1000, counted=counted({"bandwidth_in": 1000, "tpu": 2})),
        runtimes=("docker",),
        labels={"zone": "a", "empty": ""},
        taints=("gpu", "owner=lab"),
        addons=("camera",),
        position=Position(48.1, 11.5, 30.0),
    )


def test_nothing_changes_what_was_measured() -> None:
    measured = Capacity(Resources(cpu=1000))
    assert read().told(measured) == measured


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--label", "zone"),
        ("--label", "=a"),
        ("--taint", "a b"),
        ("--taint", "=x"),
        ("--addon", "a=b"),
        ("--resource", "tpu"),
        ("--resource", "TPU=1"),
        ("--resource", "tpu=-1"),
        ("--resource", "tpu=1.5"),
        ("--resource", f"tpu={10**13}"),
        ("--location", "here"),
        ("--location", "99,0"),
    ],
)
def test_what_is_wrong_is_named(option: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(option, value)
    assert caught.value.field == option


def test_no_more_than_a_parent_believes() -> None:
    with pytest.raises(InvalidInput, match="65 times"):
        read(*[word for number in range(65) for word in ("--addon", f"a{number}")])
