"""Mangrove, a hierarchical edge orchestrator: what all of its programs share."""

__version__ = "0.1.0"
