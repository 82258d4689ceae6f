"""hardswish_gn_mean: knobs, constraints and variants."""

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """N samples, I input and C output channels, G groups, K the kernel's edge, D x H x W the input's size.

    S output positions a channel; `conv_bias_present` says whether the convolution has a bias.
    """
    in_channels, out_channels, kernel_size, *rest = init
    num_groups, bias, *extra = [*rest, *(4, True)[len(rest) :]]
    (shape,) = shapes
    n, c, *spatial = shape
    if extra or len(spatial) != 3 or c != in_channels or out_channels % num_groups:
        raise ValueError("wants an input (N, in_channels, D, H, W) and num_groups that divides out_channels")
    out = [size - kernel_size + 1 for size in spatial]
    if min(out) < 1:
        raise ValueError("the input is smaller than the convolution's kernel")
    return {
        **{"N": n, "I": in_channels, "C": out_channels, "G": num_groups, "K": kernel_size},
        **{"D": spatial[0], "H": spatial[1], "W": spatial[2], "S": out[0] * out[1] * out[2]},
        "conv_bias_present": bool(bias),
    }


VARIANTS = (
    Variant(
        name="direct_cpu",
        device="cpu",
        source="direct_cpu.cpp",
        doc="direct convolution that keeps its output in registers, with hardswish and statistics",
        knobs=(
            Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
            Knob("positions", (1, 2, 3, 4, 6), 2, "vectors of output positions a tile"),
            Knob("channels", (1, 2, 4, 6, 8, 12, 16, 24), 8, "output channels a tile"),
            Knob("planes", (1, 2, 4, 8, 16, 32, 64), 32, "output planes a task"),
            Knob("repack", (False, True), False, "copy a task's input first even where it can be read in place"),
            Knob("outer", ("positions", "channels"), "positions", "the outer loop over a plane's tiles"),
        ),
        constraints=(
            Constraint("the tile fits 32 registers", lambda k, f: k.positions * (k.channels + 1) <= 31),
        ),
    ),
)
