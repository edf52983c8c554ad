"""The protocol between a parent and its children, without I/O or clock: messages in, messages and events out."""
