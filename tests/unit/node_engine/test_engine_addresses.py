"""Addresses of instances: given before their interfaces are made, and said only where these are."""

from __future__ import annotations

from typing import Any

import pytest

from mangrove.model.specification import Specification
from mangrove.network.plan import Grant
from node_engine.engine import Engine
from tests.unit.node_engine.engine_world import World

WEB = Specification(name="shop.prod.web.prod", runtime="docker", image="nginx")


class Networked(World):
    """granted: what the node's instances may have."""

    def __init__(self, *grants: Grant) -> None:
        granted = self.granted = list(grants)

        class OnNetwork(Engine):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, grants=lambda: tuple(granted), **options)

        super().__init__(OnNetwork)

    def deploy(self, number: int) -> str:
        id = self.want(WEB, number)
        self.assign()
        self.settle()
        return id

    def interfaces(self) -> dict[str, str]:
        return self.runtimes["docker"].attached

    def addresses(self) -> dict[str, str]:
        """As the parent is told."""
        return {id: status.ipv4 for id, status in self.told.items()}

    def end(self, *ids: str) -> None:
        for id in ids:
            self.runtimes["docker"].end(id, 1)
        self.engine.poke("docker", self.clock.now())
        self.run(60.0)


def test_an_instance_has_its_address_before_its_interface_is_made() -> None:
    world = Networked(Grant("10.18.0.0/26"))
    web = world.deploy(0)
    assert world.addresses() == world.interfaces() == {web: "10.18.0.2"}
    world.crash()
    world.assign()
    world.settle()
    world.end(web)
    assert world.addresses() == world.interfaces() == {web: "10.18.0.2"}


@pytest.mark.parametrize("lost", [False, True])
def test_what_runs_is_not_said_to_have_an_address_that_its_interface_does_not_have(lost: bool) -> None:
    world = Networked(*[Grant("10.18.0.0/26")] * lost)
    web = world.deploy(0)
    world.granted[:] = [Grant("10.18.9.0/26")]
    late = world.deploy(1)
    assert world.addresses() == {web: "", late: "10.18.9.2"}
    assert set(world.engine.local_instances()) == {late}
    world.crash()
    world.assign()
    world.settle()
    assert world.addresses() == {web: "", late: "10.18.9.2"}
    world.end(web)
    assert world.addresses() == world.interfaces() == {web: "10.18.9.3", late: "10.18.9.2"}
