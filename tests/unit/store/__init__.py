"""Every store against one contract, and what is particular to each."""
