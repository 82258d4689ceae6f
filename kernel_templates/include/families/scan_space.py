"""Knobs and constraints of families/scan.cuh."""

from tuner.space import Constraint, Knob


def cuda_knobs(prefix=""):
    return (
        Knob(f"{prefix}block_size", (128, 256, 512, 1024), 256, "threads a block"),
        Knob(f"{prefix}vector_width", (2, 4, 8), 4, "elements a load or store"),
        Knob(f"{prefix}unroll", (1, 2, 4, 8), 1, "vectors a thread has under way"),
        Knob(f"{prefix}warp_a_row", (False, True), False, "a warp scans a row, else a block"),
    )


def cuda_constraints(prefix=""):
    """Facts: elementsize (bytes), and PREFIXlength, PREFIXinner."""

    def knob(k, name):
        return getattr(k, prefix + name)

    def fact(f, name):
        return getattr(f, prefix + name)

    def chunk_fits(k, f):
        """What a warp or block takes at once is not mostly beyond the row."""
        threads = 32 if knob(k, "warp_a_row") else knob(k, "block_size")
        least = threads <= 128 and knob(k, "unroll") == 1
        chunk = threads * knob(k, "vector_width") * knob(k, "unroll")
        return least or fact(f, "inner") > 1 or chunk < 2 * fact(f, "length")

    return (
        Constraint(f"{prefix}vector of 4 to 16 bytes", lambda k, f: 4 <= knob(k, "vector_width") * f.elementsize <= 16),
        Constraint(
            f"{prefix}at most 32 elements a thread",
            lambda k, f: knob(k, "vector_width") * knob(k, "unroll") * (1 if fact(f, "inner") == 1 else 8) <= 32,
        ),
        Constraint(
            f"{prefix}registers",
            lambda k, f: knob(k, "block_size") * knob(k, "vector_width") * knob(k, "unroll") <= 512 * 32,
        ),
        Constraint(f"{prefix}chunk within the row", chunk_fits),
        Constraint(f"{prefix}warps of rows only", lambda k, f: not knob(k, "warp_a_row") or fact(f, "inner") == 1),
        Constraint(
            f"{prefix}small blocks of warps", lambda k, f: not knob(k, "warp_a_row") or knob(k, "block_size") <= 256
        ),
    )
