"""Pulse: three services that watch the machines they run on. See README.md beside this file.

It needs nothing but Python's standard library, and nothing of Mangrove.
"""
