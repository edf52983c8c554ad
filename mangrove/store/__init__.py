"""Where a parent keeps what must not be lost. One narrow interface; memory, SQLite and MongoDB behind it."""
