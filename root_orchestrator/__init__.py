"""The root orchestrator: REST API, users, and placement of services onto clusters."""
