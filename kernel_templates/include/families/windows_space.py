"""Knobs and constraints of families/windows.cuh; both depend on the windows' shape, (depth, height, width) each."""

from tuner.space import Constraint, Knob


def cuda_knobs(prefix="", kernel=(1, 1, 1), stride=(1, 1, 1), dilation=(1, 1, 1)):
    deep, high = (size > 1 or step > 1 for size, step in zip(kernel[:2], stride[:2]))
    rows, slices = (4, 2, 2, 1, 1)[min(kernel[1], 6) - 2] if kernel[1] > 1 else 1, 1
    if kernel[1] > stride[1]:
        rows = 2 if deep else 4
    if kernel[0] > stride[0]:
        slices = 2 if kernel[0] < 4 else 4
    return (
        Knob(f"{prefix}block_size", (128, 256, 512), 128, "threads a block, at most"),
        Knob(f"{prefix}vector_width", (2, 4, 8), 8, "elements a load; 16 bytes at most"),
        Knob(f"{prefix}rows", (1, 2, 4, 8) if high else (1,), rows if high else 1, "results a thread along the height"),
        Knob(
            f"{prefix}slices",
            (1, 2, 4, 8) if deep else (1,),
            slices if deep else 1,
            "results a thread along the depth",
        ),
        Knob(f"{prefix}streaming", (False, True), False, "what is read leaves the caches first"),
    )


def cuda_constraints(prefix="", kernel=(1, 1, 1), stride=(1, 1, 1), dilation=(1, 1, 1)):
    """Facts: elementsize (bytes), and PREFIXwidth, PREFIXout_height, PREFIXout_depth."""

    def knob(k, name):
        return getattr(k, prefix + name)

    def fact(f, name):
        return getattr(f, prefix + name)

    def shared_bytes(k):
        """Of what is pooled above each column, as start_windows counts it at the most."""
        return 4 * knob(k, "vector_width") * knob(k, "block_size") * knob(k, "rows") * knob(k, "slices")

    def registers(k, f):
        """Rows of a slice that are loaded together, what is found of them, and about 30 more."""
        rows, width = knob(k, "rows"), knob(k, "vector_width")
        span = (rows - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1
        read = min(span, rows * kernel[1]) * width * f.elementsize // 4
        return read + (knob(k, "slices") + 1) * rows * width + 30

    return (
        Constraint(f"{prefix}vector of 4 to 16 bytes", lambda k, f: 4 <= knob(k, "vector_width") * f.elementsize <= 16),
        Constraint(
            f"{prefix}vector divides the width",
            lambda k, f: knob(k, "vector_width") == 2 or fact(f, "width") % knob(k, "vector_width") == 0,
        ),
        Constraint(f"{prefix}shared memory", lambda k, f: shared_bytes(k) <= min(96 * 1024, f.shared_memory_per_block)),
        Constraint(f"{prefix}registers", lambda k, f: registers(k, f) <= 168),
        Constraint(f"{prefix}rows within the height", lambda k, f: knob(k, "rows") < 2 * fact(f, "out_height")),
        Constraint(f"{prefix}slices within the depth", lambda k, f: knob(k, "slices") < 2 * fact(f, "out_depth")),
    )
