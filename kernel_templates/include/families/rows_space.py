"""Knobs and constraints of families/rows.cuh."""

from tuner.space import Constraint, Knob

WHOLE_BLOCK = 1024  # of threads_per_row


def workspace_bytes(rounds, state_bytes=32):
    """rows_workspace<F>() in bytes, or more: of all states only SumsState<N>, of 8 * N bytes, may exceed 32."""
    return (1 << 17) + rounds * 8192 * state_bytes


def cuda_knobs(prefix="", length=8192, kept=True):
    """The defaults are for rows of `length` elements, all segments together.

    `kept` says whether a row is needed again after its first round: for results of its elements, or another round.
    """
    vectors = -(-length // 4)
    sharers = next((t for t in (4, 8, 16, 32) if vectors <= t * 8), WHOLE_BLOCK)
    block = 128 if sharers < WHOLE_BLOCK else next((b for b in (128, 256) if vectors <= b * 4), 512)
    each = -(-vectors // (block if sharers == WHOLE_BLOCK else sharers))
    unroll = next((u for u in (1, 2, 4) if each <= u), 8)
    keep = "registers" if each <= 8 else "shared"
    if keep == "shared":
        block = 256
    if not kept:
        keep, unroll = "again", min(unroll, 4)
        block = min(block, 256)
    return (
        Knob(f"{prefix}block_size", (64, 128, 256, 512, 1024), block, "threads a block"),
        Knob(f"{prefix}threads_per_row", (4, 8, 16, 32, WHOLE_BLOCK), sharers, "of a block; 1024: all of them"),
        Knob(f"{prefix}vector_width", (2, 4, 8), 4, "elements a load or store"),
        Knob(f"{prefix}unroll", (1, 2, 4, 8, 16), unroll, "vectors a thread has under way, and all that it keeps"),
        Knob(f"{prefix}keep", ("again", "registers", "shared"), keep, "where a row stays between rounds, if anywhere"),
        Knob(f"{prefix}reduction", ("shuffle", "shared"), "shuffle", "how a block adds up"),
        Knob(f"{prefix}split", (0, 2, 4, 8, 16), 0, "blocks a multiprocessor that too few rows are split among"),
        Knob(f"{prefix}chunk_mb", (0, 8, 16, 24, 32), 0, "of split rows, read again from L2 before others are; 0: all"),
    )


def cuda_constraints(prefix="", length=None, kept=None):
    """Facts: cores, elementsize (bytes), and PREFIXsegments, PREFIXrows, PREFIXlength.

    What cuda_knobs is told beside the prefix is not looked at.
    """

    def get(k, name):
        return getattr(k, prefix + name)

    def elements(f):
        return getattr(f, f"{prefix}segments") * getattr(f, f"{prefix}length")

    def rows(f):
        return getattr(f, f"{prefix}rows")

    def shared(k):
        return get(k, "threads_per_row") == WHOLE_BLOCK

    def held(k):
        """Elements that a thread has under way."""
        return get(k, "unroll") * get(k, "vector_width")

    def reach(k):
        """Elements of a row that its threads in one block have under way together."""
        return held(k) * (get(k, "block_size") if shared(k) else get(k, "threads_per_row"))

    def kept(k):
        return get(k, "keep") != "again"

    def keeps(k, f):
        """One block keeps a row, and half of it would not; or so do blocks that fit the device together."""
        if not kept(k):
            return True
        if elements(f) <= reach(k) and get(k, "keep") == "registers":
            return elements(f) > reach(k) // 2 or get(k, "unroll") == 1
        if get(k, "keep") == "shared":  # twice, and 1 KB that the system takes
            each = f.shared_memory_per_block // (2 * get(k, "block_size") * held(k) * f.elementsize + 1024)
        else:
            each = max(1, 65536 // (get(k, "block_size") * (held(k) + 48)))  # registers, about
        blocks = f.cores * each
        return shared(k) and -(-elements(f) // reach(k)) <= blocks

    def fills(k, f):
        """Threads have something to read, and a row is not one warp's for long."""
        if kept(k):
            return True
        if shared(k):
            return elements(f) >= reach(k) or get(k, "unroll") == 1
        return reach(k) // 2 < elements(f) <= 32 * reach(k)

    def splits(k, f):
        """Rows are split where they are too few, and only there."""
        split = get(k, "split")
        if kept(k):
            return split == 0
        if split == 0:
            return rows(f) >= f.cores or elements(f) <= 4 * reach(k)
        return shared(k) and 2 * rows(f) <= f.cores * split and elements(f) >= 2 * reach(k)

    def chunks(k, f):
        """Chunks are of split rows that do not all fit."""
        chunk = get(k, "chunk_mb") * 1_000_000
        row_bytes = elements(f) * f.elementsize
        return chunk == 0 or (get(k, "split") > 0 and row_bytes <= chunk < row_bytes * rows(f))

    def vector_bytes(k, f):
        return get(k, "vector_width") * f.elementsize

    return (
        Constraint(f"{prefix}vector of 4 to 16 bytes", lambda k, f: 4 <= vector_bytes(k, f) <= 16),
        Constraint(f"{prefix}at most 64 elements a thread", lambda k, f: held(k) <= 64),
        Constraint(
            f"{prefix}a block fits the registers", lambda k, f: get(k, "block_size") * (held(k) + 24) <= 65536
        ),
        Constraint(f"{prefix}warps' rows: 256 threads", lambda k, f: shared(k) or get(k, "block_size") <= 256),
        Constraint(f"{prefix}registers hold the row, and are not half empty", keeps),
        Constraint(f"{prefix}a row fills its threads", fills),
        Constraint(f"{prefix}rows are split where they are too few", splits),
        Constraint(f"{prefix}chunks are of split rows", chunks),
        Constraint(f"{prefix}a warp adds up by shuffles", lambda k, f: shared(k) or get(k, "reduction") == "shuffle"),
    )
