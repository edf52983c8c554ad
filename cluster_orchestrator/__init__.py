"""The cluster orchestrator: a child of the root, a parent of nodes. Works on its own while the root is away."""
