"""What is worth telling: a figure that moved, or one that was not told for a while."""

from __future__ import annotations

from mangrove.model.attempt import Usage

#: Seconds after which even an unchanged figure is told again, so that the parent knows how old it is.
_REPEAT = 60.0
#: Moves that count: percents of CPU, memory and GPU, and the same in bytes for a small device (1 % of 1 GiB).
_PERCENT, _BYTES = 1.0, 10 * 2**20


class DeadBand:
    """Remembers what was told, by attempt (and the empty key)."""

    def __init__(self) -> None:
        self._told: dict[str, Usage] = {}

    def worth_telling(self, usage: dict[str, Usage]) -> dict[str, Usage]:
        """Those that moved; what is not measured any more is forgotten."""
        news = {id: one for id, one in usage.items() if self._moved(self._told.get(id), one)}
        self._told = {id: news.get(id) or self._told[id] for id in usage}
        return news

    def _moved(self, before: Usage | None, now: Usage) -> bool:
        if before is None or now.measured - before.measured >= _REPEAT:
            return True
        return (
            abs(now.cpu - before.cpu) >= _PERCENT
            or abs(now.gpu - before.gpu) >= _PERCENT
            or abs(now.memory - before.memory) >= _BYTES
            or abs(now.vram - before.vram) >= _BYTES
            or abs(now.gpu_temperature - before.gpu_temperature) >= _PERCENT
        )
