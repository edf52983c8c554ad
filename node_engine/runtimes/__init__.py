"""What actually runs instances: one interface, several runtimes."""
