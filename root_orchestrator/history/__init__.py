"""What nodes and instances used in the last weeks: sampled, down-sampled, kept in few documents, read again."""
