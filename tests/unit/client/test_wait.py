from __future__ import annotations

from collections.abc import Iterator

import pytest

from mangrove.base.errors import NotFound, Unavailable
from mangrove.client.wait import TimedOut, wait_until


def test_it_gives_what_it_waited_for() -> None:
    answers = iter([0, None, "", "here"])
    assert wait_until(lambda: next(answers), 10, what="it", interval=0.001) == "here"


def test_it_gives_up_and_says_on_what() -> None:
    with pytest.raises(TimedOut, match=r"^waited 0.05 s for two instances to run$"):
        wait_until(list, 0.05, what="two instances to run", interval=0.001)


def test_it_bears_with_a_parent_that_is_away() -> None:
    answers: Iterator[Unavailable | bool] = iter([Unavailable("restarting"), True])

    def ask() -> bool:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert wait_until(ask, 10, what="it", interval=0.001)

    def away() -> bool:
        raise Unavailable("restarting")

    with pytest.raises(TimedOut, match=r"waited 0 s for it \(restarting\)"):
        wait_until(away, 0, what="it")


def test_other_errors_end_it() -> None:
    def ask() -> bool:
        raise NotFound("no such service")

    with pytest.raises(NotFound):
        wait_until(ask, 10, what="it")
