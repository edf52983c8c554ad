"""What a node has and what it uses."""

from node_engine.telemetry.gpus import Gpus
from node_engine.telemetry.telemetry import Telemetry

__all__ = ["Gpus", "Telemetry"]
