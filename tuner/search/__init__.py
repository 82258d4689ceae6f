"""Which points to measure, and which of them wins."""
