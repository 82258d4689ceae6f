"""Drafting: a template made from a problem. See docs/drafting.md."""
