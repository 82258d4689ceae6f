"""Searches as they lie on disk, running, ended or killed, and their tables for other tools."""

from tuner.results.searched import Searched, all_searches, named, of_entry, of_ledger

__all__ = ["Searched", "all_searches", "named", "of_entry", "of_ledger"]
