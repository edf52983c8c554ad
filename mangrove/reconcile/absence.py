"""When what runs on a child that is not heard may be replaced: a pure function of its policy and of the silence."""

from __future__ import annotations

from typing import NamedTuple

from mangrove.model.specification import Disconnect

#: A child that has taken an attempt and says nothing more of it for as long (seconds) is not believed to get on; lines
#: on how a pull goes count as news. As Nomad's `healthy_deadline`.
NO_NEWS = 300.0
#: Seconds after which what acts on `gone` is replaced when the child's connection broke. A child whose connection was
#: cut tries again after 0.5 to 0.65 s and greets within a round trip, so it is back by then; a start takes well below a
#: second more, so that a crash costs two.
GONE_GRACE = 1.0


class Absence(NamedTuple):
    """A child that is not heard.

    unheard: seconds since its last word. counted: those of them in which this parent could have heard it; infinite when
    an operator has removed it. lease: the parent's. silent: whether the lease is over. gone: seconds since its
    connection broke; None when that is not known. held: seconds for which nothing on it is replaced, because too many
    fell silent with it.
    """

    unheard: float
    counted: float
    lease: float
    silent: bool = True
    gone: float | None = None
    held: float = 0.0

    @property
    def for_good(self) -> bool:
        """Whether it is no child any more, by an operator's word."""
        return self.counted == float("inf")

    @property
    def words(self) -> str:
        """What was wrong with the child, to stand behind its name."""
        return f"silent for {self.unheard:.1f} s" if self.silent else "lost its connection"

    @property
    def state(self) -> str:
        """What is wrong with it for as long as that lasts: without figures, since they change all the time."""
        return "is silent" if self.silent else "has lost its connection"


def time_to_replace(policy: Disconnect, absence: Absence) -> float:
    """Seconds until what has this policy is replaced if the child stays away: 0 for now; infinite when that takes more
    than time, such as the lease, which ends with a word of its own."""
    if policy.lost_after == "never":
        return float("inf")
    wait = policy.replaced_after(absence.lease) - absence.counted if absence.silent else float("inf")
    if policy.act_on_gone and not policy.exclusive and absence.gone is not None:
        wait = min(wait, GONE_GRACE - absence.gone)
    return max(wait, absence.held, 0.0)


def time_to_have_stopped(policy: Disconnect, absence: Absence) -> float:
    """Seconds until an attempt on the child is known to have stopped by itself; infinite for what never does."""
    return max(0.0, policy.stopped_after - absence.unheard) if policy.exclusive else float("inf")
