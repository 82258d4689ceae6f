"""The cache of winners: what a `put` stores whole or not at all, and what a reader believes only when it is proved."""

from tuner.store.entry import CorruptEntry, Entry, EntryFault, StaleEntry
from tuner.store.key import SOFTWARE, Digests, Key, differences, explain, record_key, tuned
from tuner.store.layout import LOCK, NEW_RECORD, NEW_TEXT, QUARANTINE, RECORD, TEXT, folder_of, folders, shipped_cache
from tuner.store.misses import UNCONFIRMED, Answer, nearest, unconfirmed, why
from tuner.store.reading import entries, fetch, get, load_checked, scan, winners
from tuner.store.writing import put, remove, sweep

__all__ = [
    "LOCK",
    "NEW_RECORD",
    "NEW_TEXT",
    "QUARANTINE",
    "RECORD",
    "SOFTWARE",
    "TEXT",
    "UNCONFIRMED",
    "Answer",
    "CorruptEntry",
    "Digests",
    "Entry",
    "EntryFault",
    "Key",
    "StaleEntry",
    "differences",
    "entries",
    "explain",
    "fetch",
    "folder_of",
    "folders",
    "get",
    "load_checked",
    "nearest",
    "put",
    "record_key",
    "remove",
    "scan",
    "shipped_cache",
    "sweep",
    "tuned",
    "unconfirmed",
    "why",
    "winners",
]
