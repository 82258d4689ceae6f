"""Knobs and constraints of Conv3d, an activation, GroupNorm and mean, as template.py of several templates share them.

Each function gives a variant's (knobs, constraints); its arguments are what templates set differently. A knob whose
choices differ, too, is a pair (choices, default).
"""

from tuner.space import Constraint, Knob


def axes(shapes, in_channels, out_channels, kernel_size, num_groups):
    """N samples, I input and C output channels, G groups, K the kernel's edge, D x H x W the input's size.

    S positions a channel after the convolution.
    """
    (shape,) = shapes
    n, c, *spatial = shape
    if len(spatial) != 3 or c != in_channels or out_channels % num_groups:
        raise ValueError("wants an input (N, in_channels, D, H, W) and num_groups that divides out_channels")
    out = [size - kernel_size + 1 for size in spatial]
    if min(out) < 1:
        raise ValueError("the input is smaller than the convolution's kernel")
    return {
        **{"N": n, "I": in_channels, "C": out_channels, "G": num_groups, "K": kernel_size},
        **{"D": spatial[0], "H": spatial[1], "W": spatial[2], "S": out[0] * out[1] * out[2]},
    }


# ---- the convolution by PyTorch, then one read of its output ----

MEMORY_FORMAT = Knob(
    "memory_format", ("contiguous", "channels_last"), "contiguous", "layout of the convolution and of its output"
)
CONV_BIAS = Knob("conv_bias", ("conv", "fused"), "fused", "who adds the convolution's bias: it, or the statistics")


def fused_cuda(blocks_per_group):
    """`blocks_per_group` is the default."""
    knobs = (
        Knob("block_size", (64, 128, 256, 512, 1024), 256, "threads a block"),
        Knob("unroll", (1, 2, 4, 8, 16), 4, "vectors a thread has in flight"),
        Knob("vector_width", (1, 2, 4), 4, "floats a load"),
        Knob("blocks_per_group", (1, 2, 3, 4, 6, 8, 12, 16), blocks_per_group, "blocks a (sample, group)"),
        Knob("reduction", ("shuffle", "shared"), "shuffle", "how a block adds up"),
        Knob(
            "finish", ("kernel", "overlap", "last_block"), "kernel", "second kernel, one that starts early, last block"
        ),
        Knob("order", ("forward", "backward"), "forward", "blocks over the tensor; its end may still be in L2"),
        CONV_BIAS,
        MEMORY_FORMAT,
        Knob("cudnn_benchmark", (False, True), False, "cuDNN times its algorithms for this shape"),
        Knob("tf32", (False, True), False, "let cuDNN use TF32 where PyTorch's flag does"),
    )
    constraints = (
        Constraint("loads fit the registers", lambda k, f: k.block_size * _fused_registers(k) <= 65536),
        Constraint("vector_width divides C", lambda k, f: k.memory_format == "contiguous" or f.C % k.vector_width == 0),
        Constraint("a slice fills the block's loads", _slice_fills_block),
        Constraint("overlap needs sm_90", lambda k, f: k.finish != "overlap" or f.capability >= (9, 0)),
    )
    return knobs, constraints


def _slice_fills_block(k, f):
    """A block's slice is at least one load by every thread; the smallest point is always allowed."""
    whole = k.block_size * k.unroll * k.vector_width
    if k.block_size == 64 and k.unroll == 1 and k.blocks_per_group == 1:
        return True
    if k.memory_format == "channels_last":
        return f.G * k.blocks_per_group * whole <= f.C * f.S
    slices = -(-k.blocks_per_group * f.G // f.C)
    return slices * whole <= f.S


def _fused_registers(k):
    """What a thread holds, about: its loads, 40 values more, and per channel its sums (as ptxas spills beyond)."""
    return k.unroll * k.vector_width + 40 + (12 * k.vector_width if k.memory_format == "channels_last" else 0)


def fused_cpu():
    knobs = (
        Knob("vector_width", (4, 8, 16), 8, "floats a vector"),
        Knob("accumulators", (1, 2, 4, 8), 4, "vectors that are added to in turn"),
        Knob("grain", (1, 2, 4, 8, 16, 32), 4, "rows a thread takes at a time"),
        Knob("threads", (1, 2, 4, 8, 16, 32, 64), 2, "threads of the statistics"),
        CONV_BIAS,
        MEMORY_FORMAT,
    )
    constraints = (
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
    return knobs, constraints


# ---- the convolution on the CPU; its output is never written ----


def direct_cpu(planes, taps):
    """`planes` is the default."""
    knobs = (
        Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
        Knob("positions", (1, 2, 3, 4, 6), 2, "vectors of output positions a tile"),
        Knob("channels", (1, 2, 4, 6, 8, 12, 16, 24), 8, "output channels a tile"),
        Knob("planes", (1, 2, 4, 8, 16, 32, 64), planes, "output planes a task"),
        Knob("taps", *taps, "of a kernel's row, unrolled; 0: a loop"),
        Knob("repack", (False, True), False, "copy a task's input first even where it can be read in place"),
        Knob("outer", ("positions", "channels"), "positions", "the outer loop over a plane's tiles"),
    )
    constraints = (
        Constraint("the tile fits 32 registers", lambda k, f: k.positions * (k.channels + 1) <= 31),
        Constraint("the tile is not twice the channels", lambda k, f: k.channels < 2 * f.C),
        Constraint("a task is not twice the planes", lambda k, f: k.planes < 2 * (f.D - f.K + 1)),
        Constraint("taps is 0 or K", lambda k, f: k.taps in (0, f.K)),
    )
    return knobs, constraints


# ---- the convolution on the GPU, a box of the input in shared memory; its output is never written ----

TILES_FIT = (
    Constraint("tile_d<=D", lambda k, f: k.tile_d == 1 or k.tile_d <= f.D - f.K + 1),
    Constraint("tile_h<=H", lambda k, f: k.tile_h == 4 or k.tile_h <= f.H - f.K + 1),
)


def _tile_knobs(tile_d, tile_h, row_chunks, who="warps"):
    return (
        Knob("tile_d", *tile_d, "output planes a block"),
        Knob("tile_h", *tile_h, "output rows a block"),
        Knob("row_chunks", (1, 2, 3, 4), row_chunks, f"parts of a plane's rows that go to different {who}"),
    )


def _min_blocks(default):
    return Knob("min_blocks", (1, 2, 3, 4), default, "blocks a multiprocessor that the compiler leaves registers for")


def _operands(kernel):
    return Constraint(f"3 input channels, kernel {kernel}", lambda k, f: f.I == 3 and kernel == f.K)


def _tile(k, f):
    """Output planes and rows of one block."""
    return min(k.tile_d, f.D - f.K + 1), min(k.tile_h, f.H - f.K + 1)


def _box(k, f):
    """Words of one block's input; each plane and channel is padded as `image_pitch` in conv3d_layout.cuh does."""
    planes, rows = _tile(k, f)
    run = (rows + f.K - 1) * f.W
    return (planes + f.K - 1) * f.I * (run + (48 - run % 32) % 32)


def _fit_shared_memory(k, f, words):
    """Whether min_blocks blocks of so many words fit a multiprocessor's, which takes 1 KiB more for each."""
    return k.min_blocks * (4 * words + 1024) <= f.shared_memory_per_block + 1024


def _registers_allowed(k):
    """Registers of a thread: each quarter of a multiprocessor has 512 a lane for its share of the warps."""
    return min(255, 512 // -(-k.warps * k.min_blocks // 4))


# ---- on tensor cores ----

SCHEME = "operands; x3 splits them to keep fp32 accuracy"


def conv_mma(kernel, warps, channel_tiles, tile_d, tile_h, promote):
    """`channel_tiles` is the default."""
    knobs = (
        Knob("scheme", ("fp16x3", "tf32x3", "fp16", "tf32"), "fp16x3", SCHEME),
        Knob("warps", *warps, "warps a block"),
        Knob("m_tiles", (1, 2), 2, "tiles of 16 output columns a warp"),
        Knob("channel_tiles", (1, 2, 3, 4), channel_tiles, "tiles of 8 output channels a warp"),
        *_tile_knobs(tile_d, tile_h, row_chunks=4),
        Knob("weights", ("registers", "shared"), "shared", "where a warp keeps its weights"),
        Knob("promote", *promote, "k-steps a tensor core adds up before fp32 takes over; 0: all"),
        _min_blocks(2),
    )
    constraints = (
        _operands(kernel),
        Constraint(
            "whole blocks of channels", lambda k, f: -(-f.C // 8) % k.channel_tiles == 0 or k.channel_tiles == 1
        ),
        *TILES_FIT,
        Constraint("every warp works", _mma_units),
        Constraint("promote<=k-steps", lambda k, f: k.promote < 2 or k.promote <= _mma_sizes(k, f)[0]),
        Constraint("shared memory", _mma_shared),
        Constraint("registers", _mma_registers),
    )
    return knobs, constraints


def _mma_sizes(k, f):
    """k-steps for an input row and words a weight fragment."""
    return -(-f.I * f.K * f.K // (16 if k.scheme.startswith("fp16") else 8)), 4 if k.scheme.endswith("x3") else 2


def _mma_units(k, f):
    """Every warp has something to do."""
    planes, rows = _tile(k, f)
    return k.warps <= planes * -(-(f.W - f.K + 1) // (16 * k.m_tiles)) * min(k.row_chunks, rows)


def _mma_shared(k, f):
    """Weights, moments and the input box, as shared_bytes in conv3d_mma_layout.cuh counts them."""
    steps, words = _mma_sizes(k, f)
    fixed = f.K * steps * k.channel_tiles * 32 * words + 8 * k.channel_tiles * (1 + 6 * k.warps) + -(-k.warps // 4) * 4
    return _fit_shared_memory(k, f, fixed + _box(k, f) + 16 * k.m_tiles + 16)


def _mma_registers(k, f):
    """What a thread holds at the least: accumulators, sums, kept weights and about 40 more."""
    steps, words = _mma_sizes(k, f)
    group = max(1, min(k.promote, steps))
    kept = (f.K * steps if k.weights == "registers" else group) * words
    gathered = group * k.m_tiles * 2 * words
    need = k.channel_tiles * (4 * k.m_tiles * (f.K + (k.promote > 0)) + 6 + kept) + gathered + 40
    return need <= _registers_allowed(k)


# ---- the same with Hopper's warpgroup products, all of a kernel's rows in one ----


def conv_wgmma(kernel, channel_tiles, tile_d, tile_h, sums, more=()):
    """`channel_tiles` of 8 channels each are a block's, as in the source; `sums` is the default, `more` constraints."""
    knobs = (
        Knob("scheme", ("fp16x3", "fp16"), "fp16x3", SCHEME),
        Knob("warps", (4, 8, 12, 16), 4, "warps a block"),
        *_tile_knobs(tile_d, tile_h, row_chunks=1, who="warpgroups"),
        _min_blocks(3),
        Knob("sums", ("together", "cross_apart", "rows"), sums, "what one accumulator adds up, truncating"),
    )

    def shared(k, f):
        """Weights, moments and the input box, as shared_bytes in conv3d_wgmma_layout.cuh counts them."""
        channels, steps = 8 * channel_tiles, -(-f.I * f.K * f.K // 16)
        weights = (2 if k.scheme == "fp16x3" else 1) * steps * (2 * f.K - 1) * channels * 8
        return _fit_shared_memory(k, f, weights + channels * (1 + 6 * k.warps) + k.warps + _box(k, f) + 32)

    constraints = (
        _operands(kernel),
        *TILES_FIT,
        Constraint("every warpgroup works", _wgmma_units),
        # leaves a thread 128 registers, or 168
        Constraint("registers", lambda k, f: k.warps * k.min_blocks <= (16 if k.sums == "together" else 12)),
        Constraint("fp16 sums together", lambda k, f: k.scheme == "fp16x3" or k.sums == "together"),
        *more,
        Constraint("shared memory", shared),
    )
    return knobs, constraints


def _wgmma_units(k, f):
    """Every warpgroup has something to do; it takes four strips of one plane and 16 columns."""
    planes, rows = _tile(k, f)
    return k.warps // 4 <= -(-planes * -(-(f.W - f.K + 1) // 16) // 4) * min(k.row_chunks, rows)


# ---- the same in plain fp32 ----


def conv_simt(kernel, channel_tiles, tile_d, tile_h):
    """`channel_tiles` of 8 channels each are a block's, as in the source."""
    knobs = (
        Knob("warps", (4, 6, 8, 12, 16), 4, "warps a block"),
        Knob("planes", (1, 2, 4, 6), 4, "output planes a lane"),
        Knob("lane_channels", (4, 8, 12, 24), 8, "output channels a lane"),
        *_tile_knobs(tile_d, tile_h, row_chunks=4),
        _min_blocks(2),
    )
    channels = 8 * channel_tiles

    def units(k, f):
        """Every warp has something to do."""
        planes, rows = _tile(k, f)
        strips = channels // k.lane_channels * -(-(f.W - f.K + 1) // 32) * -(-planes // k.planes)
        return k.warps <= strips * min(k.row_chunks, rows)

    def shared(k, f):
        """Weights, moments and the input box, as shared_bytes in conv3d_simt_layout.cuh counts them."""
        return _fit_shared_memory(k, f, f.I * f.K**3 * channels + 6 * channels * k.warps + _box(k, f) + 32)

    constraints = (
        Constraint(f"kernel {kernel}", lambda k, f: kernel == f.K),
        Constraint("planes<=tile_d", lambda k, f: k.planes <= k.tile_d),
        *TILES_FIT,
        Constraint("every warp works", units),
        Constraint("registers", _simt_registers),
        Constraint("shared memory", shared),
    )
    return knobs, constraints


def _simt_registers(k, f):
    """What a lane holds: accumulators, sums and about 40 more."""
    return k.lane_channels * (f.K * k.planes + 3) + 40 <= _registers_allowed(k)
