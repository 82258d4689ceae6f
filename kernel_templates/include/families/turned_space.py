"""Knobs and constraints of families/turned.cuh."""

from tuner.space import Constraint, Knob


def cuda_knobs(prefix=""):
    return (
        Knob(f"{prefix}block_size", (128, 256, 512), 256, "threads a block"),
        Knob(f"{prefix}vector_width", (2, 4, 8), 4, "elements a load or store, and a side of a thread's patch"),
        Knob(f"{prefix}staged", (False, True), False, "tiles go through shared memory, else patches through registers"),
        Knob(f"{prefix}lanes", (4, 8, 16), 8, "lanes of a warp along the positions of its patches"),
        Knob(f"{prefix}unroll", (1, 2, 4), 4, "patches a thread, or a tile's positions by 32"),
        Knob(f"{prefix}streaming", (False, True), False, "what is read and written leaves the caches first"),
    )


def cuda_constraints(prefix=""):
    """Facts: elementsize (bytes), and PREFIXchannels, PREFIXpositions."""

    def knob(k, name):
        return getattr(k, prefix + name)

    def fact(f, name):
        return getattr(f, prefix + name)

    def turns_patches(k, f):
        """Whether the sizes allow patches in registers."""
        width = knob(k, "vector_width")
        return fact(f, "channels") % width == 0 and fact(f, "positions") % width == 0

    def fits(k, f):
        """A warp's patches are not mostly beyond the sizes."""
        width, lanes = knob(k, "vector_width"), knob(k, "lanes")
        high, wide = lanes * width * knob(k, "unroll"), 32 // lanes * width
        return high <= 2 * max(fact(f, "positions"), 16) and wide <= 2 * max(fact(f, "channels"), 16)

    return (
        Constraint(f"{prefix}vector of 4 to 16 bytes", lambda k, f: 4 <= knob(k, "vector_width") * f.elementsize <= 16),
        Constraint(
            f"{prefix}at most 256 bytes of patches a thread",
            lambda k, f: knob(k, "staged") or knob(k, "vector_width") ** 2 * knob(k, "unroll") * f.elementsize <= 256,
        ),
        Constraint(f"{prefix}patches of whole vectors", lambda k, f: knob(k, "staged") or turns_patches(k, f)),
        Constraint(f"{prefix}patches within the sizes", lambda k, f: knob(k, "staged") or fits(k, f)),
        Constraint(f"{prefix}lanes of patches only", lambda k, f: not knob(k, "staged") or knob(k, "lanes") == 8),
    )
