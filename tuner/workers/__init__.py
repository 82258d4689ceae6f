"""Worker processes and the typed calls to them."""
