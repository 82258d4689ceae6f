"""What a person sees while something runs, and what came of it: on a terminal, in a notebook, in a log."""
