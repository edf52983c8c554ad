"""Applications to try Mangrove with."""
