"""The search space: one variant for each device, its knobs, and what no point may be."""

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """Named sizes for the constraints."""
    ((*_, size),) = shapes
    return {"size": size}


VARIANTS = (
    Variant(
        name="rms_norm_cuda",
        device="cuda",
        source="rms_norm.cu",
        host="rms_norm",
        doc="one block a row",
        knobs=(
            Knob("block_size", (64, 128, 256, 512, 1024), 256, "threads of a block"),
            Knob("reduction", ("shuffle", "shared"), "shuffle", "how the threads' sums become one"),
        ),
        constraints=(Constraint("a thread has an element", lambda k, f: k.block_size <= max(64, 2 * f.size)),),
    ),
    Variant(
        name="rms_norm_cpu",
        device="cpu",
        source="rms_norm.cpp",
        host="rms_norm",
        doc="one row after the other, several sums at a time",
        knobs=(
            Knob("sums", (1, 2, 4, 8, 16), 4, "sums that run beside each other"),
            Knob("threads", (1, 2, 4, 8), 2, "threads"),
        ),
        constraints=(Constraint("threads<=cores", lambda k, f: k.threads <= max(2, f.cores)),),
    ),
)
