"""Knobs and constraints of families/columns.cuh."""

from tuner.space import Constraint, Knob


def workspace_bytes(rounds, state_bytes=32):
    """columns_workspace<F>() in bytes, or more: as of rows_space.py."""
    return rounds * (1 << 18) * state_bytes


def cuda_knobs(prefix="", length=64):
    """The defaults are for columns of `length` elements."""
    deep = next((d for d in (1, 2, 4, 8) if length <= d * 8), 16)
    keep = "registers" if length <= 128 else "again"
    unroll = 8 if length > 4 * deep else 4
    return (
        Knob(f"{prefix}block_size", (64, 128, 256, 512, 1024), 256, "threads a block"),
        Knob(f"{prefix}threads_y", (1, 2, 4, 8, 16, 32), deep, "threads that share a column"),
        Knob(f"{prefix}vector_width", (1, 2, 4, 8), 4, "columns a thread, side by side"),
        Knob(f"{prefix}unroll", (2, 4, 8, 16, 32), unroll, "elements of a column a thread reads ahead, or keeps"),
        Knob(f"{prefix}keep", ("again", "registers"), keep, "a column is read again, or kept"),
        Knob(f"{prefix}split", (0, 2, 4, 8, 16), 0, "blocks a multiprocessor that too few columns are split among"),
    )


def cuda_constraints(prefix="", length=None):
    """Facts: cores, elementsize (bytes), and PREFIXouter, PREFIXlength, PREFIXinner. `length` is not looked at."""

    def get(k, name):
        return getattr(k, prefix + name)

    def length(f):
        return getattr(f, f"{prefix}length")

    def reach(k):
        """Elements of a column that its threads have under way together."""
        return get(k, "threads_y") * get(k, "unroll")

    def held(k):
        """Elements that a thread has under way."""
        return get(k, "unroll") * get(k, "vector_width")

    def kept(k):
        return get(k, "keep") == "registers"

    def tiles(k, f):
        side = get(k, "block_size") // get(k, "threads_y") * get(k, "vector_width")
        return -(-getattr(f, f"{prefix}outer") * getattr(f, f"{prefix}inner") // side)

    def keeps(k, f):
        return not kept(k) or (length(f) <= reach(k) and (length(f) > reach(k) // 2 or reach(k) == 2))

    def fills(k, f):
        return kept(k) or length(f) >= reach(k) or reach(k) == 2

    def splits(k, f):
        """Columns are split where they are too few, and only there."""
        split = get(k, "split")
        if kept(k) or split == 0:
            return split == 0 and (kept(k) or tiles(k, f) >= f.cores or length(f) <= 4 * reach(k))
        return 2 * tiles(k, f) <= f.cores * split and length(f) >= 2 * reach(k)

    def side_bytes(k, f):
        """Of a block's reads that lie side by side."""
        return get(k, "block_size") // get(k, "threads_y") * get(k, "vector_width") * f.elementsize

    return (
        Constraint(f"{prefix}vector up to 16 bytes", lambda k, f: get(k, "vector_width") * f.elementsize <= 16),
        Constraint(f"{prefix}at most 64 elements a thread", lambda k, f: held(k) <= 64),
        Constraint(
            f"{prefix}a block fits the registers", lambda k, f: get(k, "block_size") * (held(k) + 24) <= 65536
        ),
        Constraint(f"{prefix}a block reads 64 bytes side by side", lambda k, f: side_bytes(k, f) >= 64),
        Constraint(f"{prefix}registers hold the column, and are not half empty", keeps),
        Constraint(f"{prefix}a column fills its threads", fills),
        Constraint(f"{prefix}columns are split where they are too few", splits),
    )
