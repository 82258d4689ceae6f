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


MEMORY_FORMAT = Knob(
    "memory_format", ("contiguous", "channels_last"), "contiguous", "layout of the convolution and of its output"
)
CONV_BIAS = Knob("conv_bias", ("conv", "fused"), "fused", "who adds the convolution's bias: it, or the statistics")

FUSED_CUDA_KNOBS = (
    Knob("block_size", (64, 128, 256, 512, 1024), 256, "threads a block"),
    Knob("unroll", (1, 2, 4, 8, 16), 4, "vectors a thread has in flight"),
    Knob("vector_width", (1, 2, 4), 4, "floats a load"),
    Knob("blocks_per_group", (1, 2, 3, 4, 6, 8, 12, 16), 4, "blocks a (sample, group)"),
    Knob("reduction", ("shuffle", "shared"), "shuffle", "how a block adds up"),
    Knob("finish", ("kernel", "last_block"), "kernel", "a second kernel, or each sample's last block"),
    Knob("order", ("forward", "backward"), "forward", "blocks over the tensor; its end may still be in L2"),
    CONV_BIAS,
    MEMORY_FORMAT,
    Knob("cudnn_benchmark", (False, True), False, "cuDNN times its algorithms for this shape"),
    Knob("tf32", (False, True), False, "let cuDNN use TF32 where PyTorch's flag does"),
)


def _slice_fills_block(k, f):
    """A block's slice is at least one load by every thread; the smallest point is always allowed."""
    whole = k.block_size * k.unroll * k.vector_width
    if k.block_size == 64 and k.unroll == 1 and k.blocks_per_group == 1:
        return True
    if k.memory_format == "channels_last":
        return f.C * f.S >= f.G * k.blocks_per_group * whole
    slices = -(-k.blocks_per_group * f.G // f.C)
    return f.S >= slices * whole


FUSED_CUDA_CONSTRAINTS = (
    # 65536 registers a multiprocessor; a thread holds its loads and about 40 values more.
    Constraint("loads fit the registers", lambda k, f: k.block_size * (k.unroll * k.vector_width + 40) <= 65536),
    Constraint("vector_width divides C", lambda k, f: k.memory_format == "contiguous" or f.C % k.vector_width == 0),
    Constraint("a slice fills the block's loads", _slice_fills_block),
)

DIRECT_CPU_KNOBS = (
    Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
    Knob("positions", (1, 2, 3, 4, 6), 2, "vectors of output positions a tile"),
    Knob("channels", (1, 2, 4, 6, 8, 12, 16, 24), 8, "output channels a tile"),
    Knob("planes", (1, 2, 4, 8, 16, 32, 64), 8, "output planes a task"),
    Knob("repack", (False, True), False, "copy a task's input first even where it can be read in place"),
    Knob("outer", ("positions", "channels"), "positions", "the outer loop over a plane's tiles"),
)

DIRECT_CPU_CONSTRAINTS = (
    Constraint("the tile fits 32 registers", lambda k, f: k.positions * (k.channels + 1) <= 31),
    Constraint("the tile is not twice the channels", lambda k, f: k.channels < 2 * f.C),
    Constraint("a task is not twice the planes", lambda k, f: k.planes < 2 * (f.D - f.K + 1)),
)


VARIANTS = (
    Variant(
        name="fused_cuda",
        device="cuda",
        source="fused_cuda.cu",
        doc="convolution by cuDNN, then one read of its output",
        knobs=FUSED_CUDA_KNOBS,
        constraints=FUSED_CUDA_CONSTRAINTS,
    ),
    Variant(
        name="direct_cpu",
        device="cpu",
        source="direct_cpu.cpp",
        doc="direct convolution that keeps its output in registers, with hardswish and statistics",
        knobs=DIRECT_CPU_KNOBS,
        constraints=DIRECT_CPU_CONSTRAINTS,
    ),
)
