"""relu_gn: knobs, constraints and variants."""

import math

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """N samples, I channels in, C out in G groups; P positions of a channel in, S after the convolution."""
    in_channels, out_channels, kernel_size, groups = init[:4]
    (shape,) = shapes
    n, c, *spatial = shape
    if len(spatial) != 3 or c != in_channels or out_channels % groups:
        raise ValueError("wants an input (N, in_channels, D, H, W) and groups that divides out_channels")
    kernel = [kernel_size] * 3 if isinstance(kernel_size, int) else list(kernel_size)
    out = [size + k - 1 for size, k in zip(spatial, kernel, strict=True)]
    return {"N": n, "I": c, "C": out_channels, "G": groups, "P": math.prod(spatial), "S": math.prod(out)}


def _turned(k):
    """Whether the input and the result change their layout at all."""
    return k.memory_format == "channels_last"


def _idle(k, *names):
    """Whether these knobs stand at their first choice: where they say nothing, no kernel is measured twice."""
    return all(getattr(k, name) == _FIRST[name] for name in names)


FUSED_CUDA = Variant(
    name="fused_cuda",
    device="cuda",
    source="fused_cuda.cu",
    minimum=(8, 0),
    doc="convolution by cuDNN; layout, ReLU and GroupNorm fused, each sample read again from L2",
    knobs=(
        Knob("conv", ("transposed", "flipped"), "flipped", "as such, or as an ordinary one with the weight flipped"),
        Knob("memory_format", ("contiguous", "channels_last"), "channels_last", "layout of the convolution"),
        Knob("cudnn_benchmark", (False, True), True, "let cuDNN time its algorithms at the first call"),
        Knob("layout", ("fused", "torch"), "fused", "who changes the input's layout"),
        Knob("samples_per_chunk", (1, 2, 4, 8, 16), 16, "samples convolved and normalised at a time"),
        Knob("schedule", ("passes", "interleaved"), "interleaved", "statistics and result: two launches, or one"),
        Knob("lead", (1, 2, 4), 2, "units by which the statistics run ahead, interleaved"),
        Knob("reverse", (False, True), True, "begin with what the convolution wrote last"),
        Knob("split", (32, 64, 128, 256), 128, "blocks that share one unit's statistics"),
        Knob("block_size", (128, 256, 512), 256, "threads a block"),
        Knob("vector_width", (1, 2, 4), 4, "floats a load or store"),
        Knob("unroll", (1, 2, 4, 8), 4, "vectors a thread has under way in the statistics"),
        Knob("reduction", ("shuffle", "shared"), "shuffle", "how a block reduces"),
        Knob("streaming", (False, True), True, "second read and result leave the caches first"),
        Knob("exchange", ("shared", "registers"), "registers", "how a tile is turned over"),
        Knob("exchange_lanes", (4, 8, 16), 8, "lanes of a warp along the rows that are written"),
        Knob("tile_positions", (32, 64, 128), 64, "positions of a tile of the result"),
        Knob("tile_channels", (32, 64, 128), 64, "channels of a tile of the result"),
        Knob("tiles_per_block", (1, 2, 4), 1, "tiles of the result a block writes"),
        Knob("layout_positions", (64, 128), 128, "positions of a tile of the input"),
    ),
    constraints=(
        Constraint("chunk within the batch", lambda k, f: k.samples_per_chunk < 2 * max(f.N, 1)),
        Constraint("split within the positions", lambda k, f: k.split <= max(f.S, 32)),
        Constraint("lead of interleaved only", lambda k, f: k.schedule == "interleaved" or _idle(k, "lead")),
        Constraint(
            "tiles of channels last only",
            lambda k, f: _turned(k)
            or _idle(k, "layout", "exchange", "exchange_lanes", "tile_positions", "tile_channels"),
        ),
        Constraint(
            "layout tiles of the fused layout only",
            lambda k, f: (_turned(k) and k.layout == "fused") or _idle(k, "layout_positions"),
        ),
        Constraint(
            "vector_width divides",
            lambda k, f: f.S % k.vector_width == 0 and (not _turned(k) or f.C // f.G % k.vector_width == 0),
        ),
        Constraint(
            "single floats turn through shared memory",
            lambda k, f: k.vector_width > 1 or _idle(k, "exchange", "exchange_lanes"),
        ),
        Constraint(
            "a warp fits the tile",
            lambda k, f: k.exchange_lanes * k.vector_width <= k.tile_positions
            and 32 // k.exchange_lanes * k.vector_width <= k.tile_channels,
        ),
        Constraint(
            "every thread has a patch",
            lambda k, f: not _turned(k) or k.tile_positions * k.tile_channels >= k.block_size * k.vector_width**2,
        ),
        Constraint(
            "at most four patches in registers",
            lambda k, f: k.exchange == "shared"
            or k.tile_positions * k.tile_channels <= 4 * k.block_size * k.vector_width**2,
        ),
        Constraint("tile<=32KiB", lambda k, f: k.tile_positions * k.tile_channels <= 8192),
    ),
)  # fmt: skip
_FIRST = {knob.name: knob.choices[0] for knob in FUSED_CUDA.knobs}

FUSED_CPU = Variant(
    name="fused_cpu",
    device="cpu",
    source="fused_cpu.cpp",
    doc="convolution by PyTorch; ReLU and GroupNorm in two reads and one write of its output",
    knobs=(
        Knob("conv", ("transposed", "flipped"), "flipped", "as such, or as an ordinary one with the weight flipped"),
        Knob("memory_format", ("contiguous", "channels_last"), "channels_last", "layout of the convolution"),
        Knob("in_place", (False, True), False, "result in the convolution's output"),
        Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
        Knob("accumulators", (1, 2, 4, 8), 4, "vectors that are added to in turn"),
        Knob("run", (64, 256, 1024), 64, "positions a thread takes at once, channels last"),
        Knob("grain", (1, 2, 4), 1, "groups, or runs of positions, a thread takes at a time"),
        Knob("threads", (1, 2, 4, 8, 16, 32, 64), 2, "threads of the operations after the convolution"),
    ),
    constraints=(
        Constraint("threads<=cores", lambda k, f: k.threads <= max(f.cores, 1)),
        Constraint("contiguous in place only", lambda k, f: not (_turned(k) and k.in_place)),
        Constraint("runs of channels last only", lambda k, f: _turned(k) or k.run == 64),
        Constraint("accumulators of contiguous only", lambda k, f: not _turned(k) or k.accumulators == 4),
    ),
)

VARIANTS = (FUSED_CUDA, FUSED_CPU)
