"""The search space: the sources, their knobs, and what no point may be. Plain Python, without torch."""

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """Named sizes of a workload, for constraints: `init` are the Model's arguments, `shapes` those of its inputs."""
    ((*_, columns),) = shapes
    return {"columns": columns}


VARIANTS = (
    Variant(
        name="rows_cuda",
        device="cuda",
        source="rows.cu",
        host="rows",  # the function rows(model, kernel, x) of rows.py
        doc="one block a row",
        knobs=(
            # Each becomes `#define BLOCK_SIZE 256` ahead of the source: choices in order, the default, a description.
            Knob("block_size", (64, 128, 256, 512, 1024), 256, "threads of a block"),
            Knob("unroll", (1, 2, 4), 1, "elements of a step"),
        ),
        constraints=(
            # Named rules: k has the knobs, f has what `axes` returns and the device's limits.
            Constraint("a thread has an element", lambda k, f: k.block_size <= max(64, 2 * f.columns)),
        ),
    ),
    Variant(
        name="rows_cpu",
        device="cpu",
        source="rows.cpp",
        host="rows",
        doc="one row after the other",
        knobs=(
            Knob("grain", (1, 4, 16, 64), 4, "rows that a thread takes at a time"),
            Knob("threads", (1, 2, 4, 8), 2, "threads"),
        ),
        constraints=(Constraint("threads<=cores", lambda k, f: k.threads <= max(2, f.cores)),),
    ),
)
