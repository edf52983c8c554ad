"""Soft preferences among the children that pass: a higher score is better."""

from mangrove.placement.scorers.best_fit import best_fit

__all__ = ["best_fit"]
