"""Knobs and constraints of families/map.cuh."""

from tuner.space import Constraint, Knob


def cuda_knobs(prefix=""):
    return (
        Knob(f"{prefix}block_size", (128, 256, 512), 256, "threads a block"),
        Knob(f"{prefix}vector_width", (2, 4, 8), 8, "elements a load or store; 16 bytes at most"),
        Knob(f"{prefix}unroll", (1, 2, 4, 8), 2, "vectors of a tensor a thread has under way"),
        Knob(f"{prefix}streaming", (False, True), False, "what is read and written leaves the caches first"),
    )


def cuda_constraints(prefix=""):
    """Facts: elementsize (bytes), and PREFIXrows, PREFIXlength."""

    def read(k, f):
        """Bytes of a vector, and of what a thread reads of a tensor."""
        vector = getattr(k, f"{prefix}vector_width") * f.elementsize
        return vector, vector * getattr(k, f"{prefix}unroll")

    def fills(k, f):
        """Every multiprocessor has a block, or blocks cannot be smaller."""
        count = getattr(f, f"{prefix}rows") * getattr(f, f"{prefix}length")
        least = getattr(k, f"{prefix}unroll") == 1 and getattr(k, f"{prefix}block_size") == 128
        return least or getattr(k, f"{prefix}block_size") * read(k, f)[1] // f.elementsize * f.cores <= count

    return (
        Constraint(f"{prefix}vector of 4 to 16 bytes", lambda k, f: 4 <= read(k, f)[0] <= 16),
        Constraint(f"{prefix}at most 64 bytes of a tensor a thread", lambda k, f: read(k, f)[1] <= 64),
        Constraint(f"{prefix}every multiprocessor has a block", fills),
    )
