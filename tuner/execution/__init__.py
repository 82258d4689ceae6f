"""Processes: workers and their protocol, the compile pool, the measuring lane."""
