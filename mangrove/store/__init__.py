"""Where a parent keeps what must not be lost. One narrow interface; memory and SQLite behind it."""
