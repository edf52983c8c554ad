"""Amounts: what is free on the child in all, and on its largest single node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mangrove.placement.filters.interface import Numbered, counted
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import MOST, Amounts, Table
from mangrove.placement.words import Mask, Rows


class Fit:
    """There is room: by this parent's own reservations, and by what the child says of its largest nodes."""

    def applies(self, request: Request, fleet: Fleet) -> bool:
        return bool(request.asked) or fleet.table.roomy

    def check(self, request: Request, fleet: Fleet, rows: Rows) -> Mask:
        table = fleet.table
        passed = None
        for key, asked in request.asked:
            mask = _free(table, key, rows) >= asked
            passed = mask if passed is None else np.logical_and(passed, mask, out=mask)
        if table.roomy:
            single = self._on_one_node(request, table, rows)
            passed = single if passed is None else passed & single
        return np.ones(table.size, np.bool_)[rows] if passed is None else passed

    def room(self, request: Request, fleet: Fleet, rows: Rows) -> Amounts:
        table = fleet.table
        room: Amounts = np.full(table.size, MOST)[rows]
        for key, asked in request.asked:
            np.minimum(room, _free(table, key, rows) // asked, out=room)
        np.maximum(room, 0, out=room)
        return np.where(self._on_one_node(request, table, rows), room, 0) if table.roomy else room

    def explain(self, request: Request, fleet: Fleet, rejected: Numbered) -> str:
        noun, clauses = fleet.noun, []
        for key, asked in request.asked:
            rooms = largest_free(fleet.table, key, rejected)
            short = rooms[rooms < asked]
            if len(short):
                who, best = counted(len(short), noun), said(key, max(int(short.max()), 0))
                clauses.append(f"needs {said(key, asked)}: {who} too small or too full (best has {best} free)")
        if not clauses:  # each amount by itself is there, but never together on one node
            return f"no single node of {counted(len(rejected), noun)} has all of it free"
        return "; ".join(clauses)

    def _on_one_node(self, request: Request, table: Table, rows: Rows) -> Mask:
        told = table.rooms[:, rows]
        fits = told == 1
        for key, asked in request.asked:
            free = table.room_free.get(key)
            if free is None:
                return np.asarray(told[0] == 0)
            fits &= free[:, rows] >= asked
        return np.asarray(fits.any(axis=0) | (told[0] == 0))


def largest_free(table: Table, key: str, rows: Rows) -> Amounts:
    """What one instance could get of one amount on each row."""
    free, told = _free(table, key, rows), table.rooms[0][rows] == 1
    rooms = table.room_free.get(key)
    single = np.zeros(free.shape, np.int64) if rooms is None else rooms[:, rows].max(axis=0)
    return np.where(told, np.minimum(free, single), free)


def said(key: str, amount: int) -> str:
    """An amount in words: `1.5 CPU cores`, `512 MiB memory`, `2 tpu`."""
    words = _WORDS.get(key)
    return words(amount) if words is not None else f"{amount} {key.removeprefix('#')}"


def _free(table: Table, key: str, rows: Rows) -> Amounts:
    free = table.free.get(key)
    return np.zeros(table.size, np.int64)[rows] if free is None else free[rows]


def _cores(millicores: int) -> str:
    return f"{millicores / 1000:g} CPU cores" if millicores != 1000 else "1 CPU core"


_WORDS: dict[str, Callable[[int], str]] = {
    "cpu": _cores,
    "memory": lambda amount: f"{amount} MiB memory",
    "disk": lambda amount: f"{amount} MiB disk",
    "gpus": lambda amount: f"{amount} GPU{'' if amount == 1 else 's'}",
    "vram": lambda amount: f"{amount} MiB GPU memory",
}
