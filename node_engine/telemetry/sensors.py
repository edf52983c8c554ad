"""How warm the machine is, and how full its battery: by psutil, where the kernel says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psutil

from mangrove.base.clock import Clock
from mangrove.model.attempt import Battery

_log = logging.getLogger(__name__)

#: Seconds for which a reading is used again: temperatures move slowly, and some chips take milliseconds to answer.
_PERIOD = 10.0
#: Chips told of at most, the warmest ones; machines have a handful, and some servers one for each of many disks.
_CHIPS = 16
#: What a sensor may say (degrees Celsius): broken ones say nonsense, such as -273 or 65261.85.
_COLDEST, _WARMEST = -60.0, 200.0
_MOST_NAME = 40


class Sensors:
    """read_temperatures, read_battery: as psutil's functions of that name."""

    def __init__(
        self,
        clock: Clock,
        read_temperatures: Callable[[], Any] = psutil.sensors_temperatures,
        read_battery: Callable[[], Any] = psutil.sensors_battery,
    ) -> None:
        self._clock = clock
        self._read_temperatures = read_temperatures
        self._read_battery = read_battery
        self._until = float("-inf")
        self._newest: tuple[dict[str, float], Battery | None] = ({}, None)

    def read(self) -> tuple[dict[str, float], Battery | None]:
        """The warmest sensor of each chip (degrees Celsius), by the chip's name; and the battery, if there is one."""
        now = self._clock.now()
        if now >= self._until:
            self._until = now + _PERIOD
            self._newest = self._temperatures(), self._battery()
        return self._newest

    def _temperatures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for chip, sensors in self._asked(self._read_temperatures, {}).items():
            known = [each.current for each in sensors if each.current and _COLDEST < each.current < _WARMEST]
            if known:
                found[chip[:_MOST_NAME]] = round(float(max(known)), 1)
        warmest = sorted(found, key=lambda chip: found[chip], reverse=True)[:_CHIPS]
        return {chip: found[chip] for chip in sorted(warmest)}

    def _battery(self) -> Battery | None:
        battery = self._asked(self._read_battery, None)
        if battery is None or not 0 <= battery.percent <= 100:
            return None
        return Battery(round(float(battery.percent), 1), bool(battery.power_plugged))

    def _asked(self, question: Callable[[], Any], otherwise: Any) -> Any:
        """What psutil says; it fails at what some drivers write, in many ways."""
        try:
            return question()
        except Exception as error:
            _log.debug("sensors: %s", error)
            return otherwise
