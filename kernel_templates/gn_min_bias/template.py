"""gn_min_bias: knobs, constraints and variants."""

from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    """N samples, K input features, C output features in G groups of CG, B elements of the bias."""
    in_features, out_features, num_groups, bias_shape = init
    (shape,) = shapes
    if len(shape) != 2 or shape[1] != in_features or out_features % num_groups:
        raise ValueError("wants an input (N, in_features) and num_groups that divides out_features")
    biases = 1
    for size in bias_shape:
        biases *= size
    per_group = out_features // num_groups
    return {"N": shape[0], "K": in_features, "C": out_features, "G": num_groups, "CG": per_group, "B": biases}


GROUP_MIN = (
    Knob("block_size", (64, 128, 256, 512), 256, "threads a block of the GroupNorm kernel"),
    Knob("lanes", (1, 2, 4, 8, 16, 32), 4, "threads a group"),
    Knob("vector_width", (1, 2, 4), 4, "floats a load"),
    Knob("vectors", (1, 2, 4), 1, "loads a thread and row"),
    Knob("rows", (4, 8, 16, 32), 8, "rows a block"),
    Knob("unroll", (1, 2, 4), 4, "rows that a thread has in flight"),
    Knob("reduction", ("shuffle", "shared"), "shuffle", "of a row's minimum over the block"),
    Knob("store_block", (128, 256, 512), 256, "threads a block that writes the result"),
    Knob("store_width", (1, 4), 4, "floats a store"),
    Knob("store_rows", (4, 16, 64), 16, "biases that a thread writes the result of"),
    Knob("streaming", (False, True), True, "store the result past the caches"),
)
SPLIT = (
    Knob("scheme", ("fp16_int8", "fp16x3"), "fp16_int8", "format of the cross terms' pieces"),
    Knob("weights", ("checked", "fresh"), "checked", "split again where it has changed, or in every forward"),
    Knob("k_slices", (1, 2, 4), 1, "slices of K, summed in float"),
    Knob("split_block", (128, 256, 512), 256, "threads that split a row"),
    Knob("split_unroll", (1, 4, 8), 4, "loads that such a thread has in flight"),
)

HELD = 1024  # a group of more channels than this no combination of knobs holds in registers

FITS = (
    Constraint(
        "a group fits its threads' registers",
        lambda k, f: k.lanes * k.vector_width * k.vectors >= min(f.CG, HELD) or f.CG > HELD,
    ),
    Constraint(
        "no thread of a group idles",
        lambda k, f: k.lanes * k.vector_width * k.vectors < 2 * f.CG or k.lanes * k.vectors == 1 or f.CG > HELD,
    ),
    Constraint("vector_width divides CG", lambda k, f: f.CG % k.vector_width == 0),
    Constraint("unroll divides rows", lambda k, f: k.rows % k.unroll == 0),
    Constraint("a slice holds no more groups than there are", lambda k, f: k.block_size // k.lanes < 2 * max(f.G, 64)),
)


def fits_registers(k, products):
    """Whether a thread can hold its channels' weights and, of each row in flight, the values of all `products`."""
    held = k.vector_width * k.vectors * (4 + k.unroll * products)
    return held + 40 <= min(200, 65536 // k.block_size)


VARIANTS = (
    Variant(
        name="fused_cuda",
        device="cuda",
        source="fused_cuda.cu",
        doc="product by cuBLAS in float, then GroupNorm and minimum from one read of it, and the broadcast sum",
        knobs=(
            Knob("linear_bias", ("gemm", "fused"), "fused", "who adds the linear layer's bias"),
            *GROUP_MIN,
        ),
        constraints=(
            *FITS,
            Constraint("registers", lambda k, f: fits_registers(k, 1)),
            Constraint("minima fit 48 KB", lambda k, f: k.reduction == "shuffle" or k.rows * k.block_size <= 12288),
        ),
    ),
    Variant(
        name="split_cuda",
        device="cuda",
        source="split_cuda.cu",
        minimum=(8, 0),
        doc="product of half-precision and eight-bit pieces by cuBLAS, at float's accuracy; the rest as fused_cuda",
        knobs=(*SPLIT, *GROUP_MIN),
        constraints=(
            *FITS,
            Constraint("registers", lambda k, f: fits_registers(k, 1 + k.k_slices)),
            Constraint("minima fit 48 KB", lambda k, f: k.reduction == "shuffle" or k.rows * k.block_size <= 12288),
            Constraint(
                "slices of K are long enough to matter", lambda k, f: k.k_slices == 1 or 512 * k.k_slices <= f.K
            ),
            Constraint("integer sums do not overflow", lambda k, f: k.scheme != "fp16_int8" or f.K <= 65536),
        ),
    ),
    Variant(
        name="fused_cpu",
        device="cpu",
        source="fused_cpu.cpp",
        doc="product by PyTorch, then GroupNorm and minimum from one read of it, and the broadcast sum",
        knobs=(
            Knob("linear_bias", ("gemm", "fused"), "fused", "who adds the linear layer's bias"),
            Knob("vector_width", (4, 8, 16), 16, "floats a vector"),
            Knob("accumulators", (1, 2, 4), 1, "independent vectors of a sum over a group"),
            Knob("rows", (1, 4, 16, 64), 16, "rows a piece of work"),
            Knob("biases", (1, 8, 64, 512), 64, "biases whose results are a piece of work"),
            Knob("threads", (0, 1, 2, 4), 0, "threads; 0 takes PyTorch's number"),
        ),
        constraints=(
            Constraint(
                "a group holds the vectors",
                lambda k, f: k.vector_width * k.accumulators <= f.CG or (k.vector_width == 4 and k.accumulators == 1),
            ),
            Constraint("no more threads than cores", lambda k, f: k.threads <= f.cores),
        ),
    ),
)
