"""When slots are to be decided again."""

from __future__ import annotations

from mangrove.roles.wakes import Wakes


def test_each_is_woken_once_at_the_soonest_moment_it_asked_for() -> None:
    wakes = Wakes()
    wakes.ask("a", 30.0)
    wakes.ask("b", 20.0)
    wakes.ask("a", 10.0)
    wakes.ask("a", 40.0)
    assert wakes.next() == 10.0
    assert wakes.due(9.9) == []
    assert wakes.due(10.0) == ["a"]
    assert wakes.due(100.0) == ["b"], "and not a again"
    assert wakes.next() == float("inf")
    wakes.ask("a", 40.0)
    assert wakes.due(100.0) == ["a"]


def test_what_asks_again_with_each_piece_of_news_is_remembered_once() -> None:
    """Such as an image that is pulled for an hour, with a line every two seconds, or what waits for a silent child."""
    wakes, woken = Wakes(), 0
    for second in range(0, 3600, 2):
        woken += len(wakes.due(second))
        wakes.ask("a", second + 300.0)
        wakes.ask("b", 7200.0 - second * 1e-9)  # the same moment, but for what two clocks make of it
        assert len(wakes) == 2
    assert woken <= 3600 / 300
