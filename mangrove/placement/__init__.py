"""Where should it run? A pure function of a fleet table and a request: filter, then score, then reserve."""
