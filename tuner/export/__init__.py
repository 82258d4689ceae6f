"""Winners as files for others: one module a format."""
