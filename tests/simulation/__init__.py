"""The production state machines of root, cluster and node on a virtual clock and a network that tries to break them."""
