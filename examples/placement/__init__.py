"""A scorer of one's own, as docs/placement.md explains it."""
