"""How long a candidate takes, and under which conditions."""
