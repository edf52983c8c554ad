"""MQTT brokers that a parent runs as its own child processes: one account per child, each with its own topics only."""
