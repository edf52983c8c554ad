"""The loops that make what is observed equal what is desired, as pure functions: a parent's over slots, a child's over
attempts."""
