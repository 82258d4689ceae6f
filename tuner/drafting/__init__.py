"""Drafting: a template made from a problem. See docs/architecture.md."""
