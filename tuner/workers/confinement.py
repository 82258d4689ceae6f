"""What a process that runs candidates may not do to others. Linux; elsewhere nothing is confined.

Inside a Landlock domain a process can neither trace, read nor write the memory of one outside, whoever
its user is; since Linux 6.12 it cannot signal it either. Its orphans stay its children, so that they are
seen and end with it.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = (
    444,
    445,
    446,
)  # numbers of system calls, the same on every architecture but alpha
_VERSION = 1
_MAKE_BLOCK_DEVICE = 1 << 11  # something has to be forbidden for there to be a domain
_REFER = 1 << 13  # to rename from one folder into another, which a domain denies unless a rule allows it
_REFER_SINCE = 2  # version of the interface
_BENEATH = 1  # the kind of rule that says what is allowed below a folder
_SCOPE_SIGNAL = 1 << 1
_SIGNALS_SINCE = 6  # version of the interface
_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER = 38, 36


class _Ruleset(ctypes.Structure):
    _fields_ = [("file_system", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def confine() -> bool:
    """Confine this process from now on, and whatever it starts. Whether the system could."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    if version < _REFER_SINCE:  # a candidate that builds itself renames what it has built
        return False
    rules = _Ruleset(_MAKE_BLOCK_DEVICE | _REFER, 0, _SCOPE_SIGNAL if version >= _SIGNALS_SINCE else 0)
    size = 24 if version >= _SIGNALS_SINCE else 8  # of the fields that this version knows
    handle = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if handle < 0:
        return False
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    everywhere = _Beneath(_REFER, root)
    libc.syscall(_ADD_RULE, handle, ctypes.c_uint32(_BENEATH), ctypes.byref(everywhere), ctypes.c_uint32(0))
    os.close(root)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    refused = libc.syscall(_RESTRICT_SELF, handle, ctypes.c_uint32(0))
    os.close(handle)
    return not refused
