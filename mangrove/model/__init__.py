"""What is declared and what is observed: the nouns of Mangrove as plain, immutable data."""
