"""Knobs and constraints of the families on the CPU: map.hpp, rows.hpp, columns.hpp, windows.hpp, scan.hpp.

`grain` counts thousands (1024) of elements. Of rows and columns it also says where one that is long is cut into parts:
results depend on it by rounding, and never on `threads`.
"""

from tuner.space import Constraint, Knob


def _threads(prefix):
    return Knob(f"{prefix}threads", (1, 2, 4, 8, 16, 32, 64), 2, "threads, at most")


def _grain(prefix, default):
    return Knob(f"{prefix}grain", (4, 16, 64, 256), default, "thousands of elements a thread takes at a time")


def _block(prefix, default):
    return Knob(f"{prefix}block", (32, 64, 128, 256), default, "elements that are computed together")


def _streaming(prefix):
    return Knob(f"{prefix}streaming", (False, True), False, "what is written goes past the caches")


def _keep(prefix):
    return Knob(f"{prefix}keep", (False, True), False, "what is computed of an element is kept between rounds")


def _threads_fit(prefix):
    return Constraint(f"{prefix}threads<=cores", lambda k, f: getattr(k, f"{prefix}threads") <= max(f.cores, 1))


def map_knobs(prefix=""):
    return (_threads(prefix), _grain(prefix, 64), _block(prefix, 256), _streaming(prefix))


def map_constraints(prefix=""):
    """Facts: cores."""
    return (_threads_fit(prefix),)


def rows_knobs(prefix=""):
    return (_threads(prefix), _grain(prefix, 16), _block(prefix, 128), _keep(prefix))


def rows_constraints(prefix=""):
    """Facts: cores."""
    return (_threads_fit(prefix),)


def columns_knobs(prefix=""):
    side = Knob(f"{prefix}columns", (8, 16, 32, 64), 32, "columns side by side that a thread has under way")
    return (_threads(prefix), _grain(prefix, 64), _block(prefix, 64), side, _keep(prefix))


def columns_constraints(prefix=""):
    """Facts: cores."""

    def fits(k, f):
        """A block of the columns fits the first cache, twice."""
        return getattr(k, f"{prefix}block") * getattr(k, f"{prefix}columns") <= 4096

    return (_threads_fit(prefix), Constraint(f"{prefix}a block fits the cache", fits))


def windows_knobs(prefix=""):
    return (
        _threads(prefix),
        Knob(f"{prefix}lines", (1, 2, 4, 8, 16, 32), 16, "results along the height that share what they read"),
        Knob(f"{prefix}slices", (1, 2, 4, 8), 2, "results along the depth that share what they read"),
    )


def windows_constraints(prefix=""):
    """Facts: cores, and PREFIXout_height, PREFIXout_depth."""

    def within(name, size):
        """No more of a tile than half of it lies beyond the plane."""
        return lambda k, f: getattr(k, prefix + name) == 1 or getattr(k, prefix + name) < 2 * getattr(f, prefix + size)

    return (
        _threads_fit(prefix),
        Constraint(f"{prefix}lines within the height", within("lines", "out_height")),
        Constraint(f"{prefix}slices within the depth", within("slices", "out_depth")),
    )


def scan_knobs(prefix=""):
    return (_threads(prefix), _grain(prefix, 64), _block(prefix, 128))


def scan_constraints(prefix=""):
    """Facts: cores."""
    return (_threads_fit(prefix),)
