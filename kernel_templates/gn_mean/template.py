"""gn_mean: knobs, constraints and variants."""

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """N samples, C channels in G groups, S positions a channel after the convolution."""
    in_channels, out_channels, kernel_size, num_groups = init
    (shape,) = shapes
    n, c, *spatial = shape
    if len(spatial) != 3 or c != in_channels or out_channels % num_groups:
        raise ValueError("wants an input (N, in_channels, D, H, W) and num_groups that divides out_channels")
    out = [size - kernel_size + 1 for size in spatial]
    if min(out) < 1:
        raise ValueError("the input is smaller than the convolution's kernel")
    return {"N": n, "C": out_channels, "G": num_groups, "S": out[0] * out[1] * out[2]}


VARIANTS = (
    Variant(
        name="fused_cpu",
        device="cpu",
        source="fused_cpu.cpp",
        doc="convolution by PyTorch, then one read of its output",
        knobs=(Knob("accumulators", (1, 2, 4, 8), 4, "independent accumulators a row"),),
        constraints=(Constraint("accumulators<=S", lambda k, f: k.accumulators <= f.S),),
    ),
)
