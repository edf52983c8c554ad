"""The Python client in use: each module is a whole program, and is run by the tests against a real tree."""
