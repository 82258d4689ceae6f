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
    Knob("finish", ("kernel", "overlap", "last_block"), "kernel", "second kernel, one that starts early, last block"),
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
        return f.G * k.blocks_per_group * whole <= f.C * f.S
    slices = -(-k.blocks_per_group * f.G // f.C)
    return slices * whole <= f.S


def _registers(k):
    """What a thread holds, about: its loads, 40 values more, and per channel its sums (as ptxas spills beyond)."""
    return k.unroll * k.vector_width + 40 + (12 * k.vector_width if k.memory_format == "channels_last" else 0)


FUSED_CUDA_CONSTRAINTS = (
    Constraint("loads fit the registers", lambda k, f: k.block_size * _registers(k) <= 65536),
    Constraint("vector_width divides C", lambda k, f: k.memory_format == "contiguous" or f.C % k.vector_width == 0),
    Constraint("a slice fills the block's loads", _slice_fills_block),
    Constraint("overlap needs sm_90", lambda k, f: k.finish != "overlap" or f.capability >= (9, 0)),
)

FUSED_CPU_KNOBS = (
    Knob("vector_width", (4, 8, 16), 8, "floats a vector"),
    Knob("accumulators", (1, 2, 4, 8), 4, "vectors that are added to in turn"),
    Knob("grain", (1, 2, 4, 8, 16, 32), 4, "rows a thread takes at a time"),
    Knob("threads", (1, 2, 4, 8, 16, 32, 64), 2, "threads of the statistics"),
    CONV_BIAS,
    MEMORY_FORMAT,
)

FUSED_CPU_CONSTRAINTS = (
    Constraint("threads<=cores", lambda k, f: k.threads <= f.cores),
    Constraint("grain leaves work for every thread", lambda k, f: k.grain == 1 or k.grain * k.threads <= f.N * f.C),
    Constraint(
        "a row fills the accumulators",
        lambda k, f: k.vector_width * k.accumulators <= (f.S if k.memory_format == "contiguous" else f.C * f.S)
        or (k.vector_width, k.accumulators) == (4, 1),
    ),
    Constraint(
        "vector_width<=C",
        lambda k, f: k.memory_format == "contiguous" or k.vector_width <= max(4, f.C),
    ),
)

DIRECT_CPU_KNOBS = (
    Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
    Knob("positions", (1, 2, 3, 4, 6), 2, "vectors of output positions a tile"),
    Knob("channels", (1, 2, 4, 6, 8, 12, 16, 24), 8, "output channels a tile"),
    Knob("planes", (1, 2, 4, 8, 16, 32, 64), 8, "output planes a task"),
    Knob("taps", (0, 3, 4, 5), 4, "of a kernel's row, unrolled; 0: a loop"),
    Knob("repack", (False, True), False, "copy a task's input first even where it can be read in place"),
    Knob("outer", ("positions", "channels"), "positions", "the outer loop over a plane's tiles"),
)

DIRECT_CPU_CONSTRAINTS = (
    Constraint("the tile fits 32 registers", lambda k, f: k.positions * (k.channels + 1) <= 31),
    Constraint("the tile is not twice the channels", lambda k, f: k.channels < 2 * f.C),
    Constraint("a task is not twice the planes", lambda k, f: k.planes < 2 * (f.D - f.K + 1)),
    Constraint("taps is 0 or K", lambda k, f: k.taps in (0, f.K)),
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
        name="fused_cpu",
        device="cpu",
        source="fused_cpu.cpp",
        doc="convolution by PyTorch, then one read of its output",
        knobs=FUSED_CPU_KNOBS,
        constraints=FUSED_CPU_CONSTRAINTS,
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


# ---- the convolution on tensor cores; its output is never written ----

CONV_MMA_KNOBS = (
    Knob("scheme", ("fp16x3", "tf32x3", "fp16", "tf32"), "fp16x3", "operands; x3 splits them to keep fp32 accuracy"),
    Knob("warps", (4, 6, 8, 12, 13, 16), 4, "warps a block"),
    Knob("m_tiles", (1, 2), 2, "tiles of 16 output columns a warp"),
    Knob("channel_tiles", (1, 2, 3, 4), 2, "tiles of 8 output channels a warp"),
    Knob("tile_d", (1, 2, 3, 4, 5, 7, 10, 13), 5, "output planes a block"),
    Knob("tile_h", (4, 8, 15, 29, 60), 29, "output rows a block"),
    Knob("row_chunks", (1, 2, 3, 4), 4, "parts of a plane's rows that go to different warps"),
    Knob("weights", ("registers", "shared"), "shared", "where a warp keeps its weights"),
    Knob("promote", (0, 1, 3), 1, "k-steps a tensor core adds up before fp32 takes over; 0: all"),
    Knob("min_blocks", (1, 2, 3, 4), 2, "blocks a multiprocessor that the compiler leaves registers for"),
)


def _conv_mma_sizes(k, f):
    """Of one block: k-steps for an input row, words a weight fragment, output planes and rows."""
    steps = -(-f.I * f.K * f.K // (16 if k.scheme.startswith("fp16") else 8))
    return steps, 4 if k.scheme.endswith("x3") else 2, min(k.tile_d, f.D - f.K + 1), min(k.tile_h, f.H - f.K + 1)


def _conv_mma_shared(k, f):
    """min_blocks blocks fit a multiprocessor's shared memory: weights, moments and the input box of each."""
    steps, words, planes, rows = _conv_mma_sizes(k, f)
    fixed = f.K * steps * k.channel_tiles * 32 * words + 8 * k.channel_tiles * (1 + 6 * k.warps) + 20
    run = (rows + f.K - 1) * f.W
    box = (planes + f.K - 1) * f.I * (run + (48 - run % 32) % 32) + 16 * k.m_tiles + 16
    return k.min_blocks * (4 * (fixed + box) + 1024) <= f.shared_memory_per_block + 1024


def _conv_mma_registers(k, f):
    """What a thread holds at the least: accumulators, sums, kept weights and about 40 more."""
    steps, words, *_ = _conv_mma_sizes(k, f)
    kept = f.K * steps * words if k.weights == "registers" else max(1, min(k.promote, steps)) * words
    group = max(1, min(k.promote, steps))
    gathered = group * k.m_tiles * 2 * words
    need = k.channel_tiles * (4 * k.m_tiles * (f.K + (k.promote > 0)) + 6 + kept) + gathered + 40
    return need <= min(255, 512 // -(-k.warps * k.min_blocks // 4))  # 512 a lane in each quarter of a multiprocessor


def _conv_mma_units(k, f):
    """Every warp has something to do."""
    *_, planes, rows = _conv_mma_sizes(k, f)
    return k.warps <= planes * -(-(f.W - f.K + 1) // (16 * k.m_tiles)) * min(k.row_chunks, rows)


CONV_MMA_CONSTRAINTS = (
    Constraint("3 input channels, kernel 4", lambda k, f: f.I == 3 and f.K == 4),
    Constraint("whole blocks of channels", lambda k, f: -(-f.C // 8) % k.channel_tiles == 0 or k.channel_tiles == 1),
    Constraint("tile_d<=D", lambda k, f: k.tile_d == 1 or k.tile_d <= f.D - f.K + 1),
    Constraint("tile_h<=H", lambda k, f: k.tile_h == 4 or k.tile_h <= f.H - f.K + 1),
    Constraint("every warp works", _conv_mma_units),
    Constraint("promote<=k-steps", lambda k, f: k.promote < 2 or k.promote <= _conv_mma_sizes(k, f)[0]),
    Constraint("shared memory", _conv_mma_shared),
    Constraint("registers", _conv_mma_registers),
)

VARIANTS += (
    Variant(
        name="conv_mma",
        device="cuda",
        source="conv_mma.cu",
        minimum=(8, 0),
        doc="implicit matrix product on tensor cores with hardswish that keeps only statistics",
        knobs=CONV_MMA_KNOBS,
        constraints=CONV_MMA_CONSTRAINTS,
    ),
)


# ---- the same with Hopper's warpgroup products, all of a kernel's rows in one ----

CONV_WGMMA_KNOBS = (
    Knob("scheme", ("fp16x3", "fp16"), "fp16x3", "operands; x3 splits them to keep fp32 accuracy"),
    Knob("warps", (4, 8, 12, 16), 4, "warps a block"),
    Knob("tile_d", (1, 2, 3, 4, 5, 7, 10, 13), 4, "output planes a block"),
    Knob("tile_h", (4, 8, 15, 29, 60), 15, "output rows a block"),
    Knob("row_chunks", (1, 2, 3, 4), 1, "parts of a plane's rows that go to different warpgroups"),
    Knob("min_blocks", (1, 2, 3, 4), 3, "blocks a multiprocessor that the compiler leaves registers for"),
    Knob("sums", ("together", "cross_apart", "rows"), "rows", "what one accumulator adds up, truncating"),
)

_CHANNEL_TILES = 2  # of 8 channels each, a block, as in the source


def _conv_wgmma_shared(k, f):
    """min_blocks blocks fit a multiprocessor's shared memory: weights, moments and the input box of each."""
    planes, rows = min(k.tile_d, f.D - f.K + 1), min(k.tile_h, f.H - f.K + 1)
    channels, steps = 8 * _CHANNEL_TILES, -(-f.I * f.K * f.K // 16)
    weights = (2 if k.scheme == "fp16x3" else 1) * steps * (2 * f.K - 1) * channels * 8
    run = (rows + f.K - 1) * f.W
    box = (planes + f.K - 1) * f.I * (run + (48 - run % 32) % 32) + 32
    words = weights + channels * (1 + 6 * k.warps) + k.warps + box
    return k.min_blocks * (4 * words + 1024) <= f.shared_memory_per_block + 1024


def _conv_wgmma_units(k, f):
    """Every warpgroup has something to do; it takes four strips of one plane and 16 columns."""
    planes, rows = min(k.tile_d, f.D - f.K + 1), min(k.tile_h, f.H - f.K + 1)
    return k.warps // 4 <= -(-planes * -(-(f.W - f.K + 1) // 16) // 4) * min(k.row_chunks, rows)


CONV_WGMMA_CONSTRAINTS = (
    Constraint("3 input channels, kernel 4", lambda k, f: f.I == 3 and f.K == 4),
    Constraint("tile_d<=D", lambda k, f: k.tile_d == 1 or k.tile_d <= f.D - f.K + 1),
    Constraint("tile_h<=H", lambda k, f: k.tile_h == 4 or k.tile_h <= f.H - f.K + 1),
    Constraint("every warpgroup works", _conv_wgmma_units),
    Constraint("registers", lambda k, f: k.warps * k.min_blocks <= (16 if k.sums == "together" else 12)),  # 128, 168
    Constraint("fp16 sums together", lambda k, f: k.scheme == "fp16x3" or k.sums == "together"),
    # together, 36 products truncate each value: too many for fp32 accuracy
    Constraint("fp16x3 sums apart", lambda k, f: k.scheme == "fp16" or k.sums != "together"),
    Constraint("shared memory", _conv_wgmma_shared),
)

VARIANTS += (
    Variant(
        name="conv_wgmma",
        device="cuda",
        source="conv_wgmma.cu",
        minimum=(9, 0),
        exact=True,
        doc="conv_mma with Hopper's warpgroup products",
        knobs=CONV_WGMMA_KNOBS,
        constraints=CONV_WGMMA_CONSTRAINTS,
    ),
)
