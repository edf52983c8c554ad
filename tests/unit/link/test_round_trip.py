"""What a child tells of its way to the parent is coarse, and steady."""

from __future__ import annotations

from mangrove.link.round_trip import RoundTrip


def told(*milliseconds: float) -> list[float]:
    trip = RoundTrip()
    found = []
    for each in milliseconds:
        trip.note(each / 1000)
        found.append(trip.milliseconds)
    return found


def test_nothing_is_told_before_it_was_measured() -> None:
    assert RoundTrip().milliseconds == 0


def test_it_is_told_in_steps() -> None:
    assert [told(each)[0] for each in (0.3, 1.0, 1.3, 4, 18, 90, 10**7)] == [1, 1, 2, 5, 20, 100, 50_000]


def test_a_busy_moment_does_not_count() -> None:
    assert told(4, 300, 40, 4.2, 900) == [5] * 5


def test_it_does_not_go_to_and_fro() -> None:
    assert told(*[4.9, 5.1] * 10) == [5] * 20


def test_a_longer_way_shows_when_all_newest_ones_are_long() -> None:
    assert told(4, *[40] * 8)[-2:] == [5, 50]
    assert told(*[40] * 8, 4)[-1] == 5, "a shorter one at once"
