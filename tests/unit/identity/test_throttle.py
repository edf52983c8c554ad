from __future__ import annotations

from mangrove.base.clock import VirtualClock
from mangrove.identity.throttle import Throttle


def test_after_too_many_failures_a_key_waits_for_its_window() -> None:
    clock = VirtualClock()
    throttle = Throttle(clock, allowed=3, window=60)
    assert [throttle.wait("a") for _ in range(3)] == [0, 0, 0]
    clock.advance_to(20)
    assert throttle.wait("a") == 40
    assert throttle.wait("b") == 0
    clock.advance_to(60)
    assert throttle.wait("a") == 0


def test_what_is_forgiven_does_not_count() -> None:
    throttle = Throttle(VirtualClock(), allowed=2, window=60)
    for _ in range(10):
        assert throttle.wait("a") == 0
        throttle.forgive("a")
    assert [throttle.wait("a") for _ in range(2)] == [0, 0]
    assert throttle.wait("a") == 60


def test_it_remembers_a_bounded_number_of_keys() -> None:
    throttle = Throttle(VirtualClock(), allowed=1, window=60, keys=2)
    for key in ("a", "b", "c"):
        assert throttle.wait(key) == 0
    assert throttle.wait("c") == 60
    assert throttle.wait("b") == 60
    assert throttle.wait("a") == 0  # forgotten
