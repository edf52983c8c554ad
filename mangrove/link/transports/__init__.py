"""How messages travel: MQTT in production, memory in the simulator. Thin: no decisions, no state but the connection."""
