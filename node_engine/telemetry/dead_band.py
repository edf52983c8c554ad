"""What is worth telling: a figure that moved, or one that was not told for a while."""

from __future__ import annotations

from mangrove.model.attempt import GpuUsage, Usage

#: Seconds after which even an unchanged figure is told again, so that the parent knows how old it is.
_REPEAT = 60.0
#: Moves that count: percents of CPU, memory and GPU, and the same in bytes for a small device (1 % of 1 GiB).
_PERCENT, _BYTES = 1.0, 10 * 2**20
#: Degrees Celsius of a sensor that count: a processor's moves by some with every burst of work.
_DEGREES = 3.0


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
            or _sensors_moved(before, now)
        )


def _sensors_moved(before: Usage, now: Usage) -> bool:
    if before.temperatures.keys() != now.temperatures.keys() or (before.battery is None) != (now.battery is None):
        return True
    if any(abs(degrees - before.temperatures[chip]) >= _DEGREES for chip, degrees in now.temperatures.items()):
        return True
    if before.battery is not None and now.battery is not None:
        charged = abs(now.battery.percent - before.battery.percent) >= _PERCENT
        if charged or now.battery.charging != before.battery.charging:
            return True
    if [gpu.id for gpu in before.gpus] != [gpu.id for gpu in now.gpus]:
        return True
    return any(_gpu_moved(*pair) for pair in zip(before.gpus, now.gpus, strict=True))


def _gpu_moved(before: GpuUsage, now: GpuUsage) -> bool:
    return (
        abs((now.load or 0.0) - (before.load or 0.0)) >= _PERCENT
        or abs((now.used or 0) - (before.used or 0)) >= _BYTES
        or abs((now.temperature or 0.0) - (before.temperature or 0.0)) >= _DEGREES
    )
