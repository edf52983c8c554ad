"""The network between services: who has which address, and what a node has to know to reach the others. Pure."""
