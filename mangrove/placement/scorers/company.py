"""Scores by what is on a child already, and by its labels."""

from __future__ import annotations

import numpy as np

from mangrove.model.specification import Preference
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Rows


class Spread:
    """Few of the service in one place: on a node (no `key`), in a cluster (`cluster`), or with one value of a label.

    On clusters without a key: few for each of its nodes.
    """

    def separable(self, preference: Preference) -> bool:
        return preference.key in ("", "cluster")

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        table = fleet.table
        there = table.tallies.of(("service", request.specification.name))
        if preference.key == "cluster" and fleet.noun == "node":
            return np.zeros(np.broadcast(there[rows], more).shape)
        if preference.key == "cluster":
            return np.asarray(1.0 / (1.0 + there[rows] + more))
        if not preference.key:
            return np.asarray(1.0 / (1.0 + (there[rows] + more) / np.maximum(table.nodes[rows], 1)))
        label = table.attribute(f"label {preference.key}")
        together = np.bincount(label.codes[: table.size], weights=there[: table.size], minlength=len(label.values))
        return np.asarray(1.0 / (1.0 + together[label.codes[rows]] + more))


class ImagePresent:
    """Where an instance with the same image is: the image need not be pulled."""

    def separable(self, preference: Preference) -> bool:
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        there = fleet.table.tallies.of(("image", request.specification.image))[rows]
        if not request.specification.image:
            return np.zeros(np.broadcast(there, more).shape)
        return np.asarray((there + more > 0).astype(np.float64))


class Affinity:
    """Where the services in `names` (as `application.namespace.service.namespace`) are: the share of them."""

    def separable(self, preference: Preference) -> bool:
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        total = np.zeros(np.broadcast(fleet.table.attempts[rows], more).shape)
        for name in preference.names:
            there = fleet.table.tallies.of(("service", name))[rows]
            total += (there + more if name == request.specification.name else there) > 0
        return total / max(1, len(preference.names))


class AntiAffinity(Affinity):
    """Where none of the services in `names` is."""

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        return 1.0 - super().score(request, fleet, preference, rows, more)


class PreferredLabels:
    """Where the label `key` is one of `names`, or is set at all when there are none."""

    def separable(self, preference: Preference) -> bool:
        return True

    def score(self, request: Request, fleet: Fleet, preference: Preference, rows: Rows, more: Amounts | int) -> Numbers:
        label = fleet.table.attribute(f"label {preference.key}")
        mask = (
            label.any_of(preference.names, rows)
            if preference.names
            else label.where("set", lambda value: any(word is not None for word in value), rows)
        )
        return mask + np.zeros(np.shape(more))
