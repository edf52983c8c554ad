"""What the programs log, in the trace of the world they live in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulation.world import World

#: The programs' own loggers; what libraries log follows from no seed.
_NAMES = ("mangrove", "cluster_orchestrator", "node_engine")


class _Ear(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(f"    {record.name.rpartition('.')[2]}: {record.getMessage()}")


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Let the trace hold what the programs log meanwhile."""
    ear = _Ear(world)
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(ear)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(ear)
            logger.setLevel(level)
            logger.propagate = propagate


@contextmanager
def quiet() -> Iterator[None]:
    """Let nobody log, since thousands of faults would make thousands of lines."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
