"""Knobs and constraints of the products that emitted hosts leave to the libraries, for CUDA and for the CPU.

Knobs are named after the keyword arguments of split_product.py and convolution.py, behind a prefix. Constraints read
the facts f.<prefix>m, n, k (of a matrix product; m counts the rows of all batches).
"""

from tuner.space import Constraint, Knob

FLOAT_RATE = 51e12  # operations a second that cuBLAS reaches in fp32 on a Hopper, where there is work for all of it
HALF_RATE = 700e12  # and in half precision, with float sums
BANDWIDTH = 3e12  # bytes a second
SLICES = (2048, 4096, 8192, 16384)


def product_knobs(prefix="", weight=True, few_rows=False):
    """Of a matrix product in fp32 on a GPU; `weight` where its second factor is a parameter.

    `few_rows` offers few_rows.cuh, for a layer of at most 1024 rows in a source that is built for sm_90a alone. Of
    factors that have one sign, as activations may, sums grow with K, and so does what truncating them costs.
    """
    first = 4096 if weight and not few_rows else 2048
    schemes = ("fp32", "fp16x3", *(("few_rows",) if few_rows else ()))
    knobs = (
        Knob("scheme", schemes, schemes[-1], "fp32, three products of half-precision pieces, or those in one kernel"),
        Knob("calls", (1, 2), 1, "products of pieces: one over three times K, or the cross terms apart"),
        Knob("slice_k", SLICES, first, "values of K that a tensor core sums, truncating"),
    )
    if weight:
        kept = "fresh" if few_rows else "checked"
        knobs += (Knob("weights", ("fresh", "checked"), kept, "cut each time, or again where it has changed"),)
    return _prefixed(prefix, knobs)


def product_constraints(prefix=""):
    """Points that equal another, or that cannot win."""

    def fact(f, name):
        return getattr(f, prefix + name)

    def knob(k, name):
        return getattr(k, prefix + name)

    def first(k):
        """Whether the knobs of the pieces stand where they are measured once, where there are none."""
        kept = getattr(k, prefix + "weights", "fresh") != "fresh"
        return knob(k, "calls") == 1 and knob(k, "slice_k") == SLICES[0] and not kept

    def cuts(k, f):
        """A slice is the shortest, or shorter slices are more."""
        return knob(k, "slice_k") == SLICES[0] or fact(f, "k") > knob(k, "slice_k") // 2

    def wins(k, f):
        """What the pieces take stays under what fp32 takes, estimated with a half to spare."""
        return knob(k, "scheme") != "fp16x3" or _pieces_s(f, fact, knob(k, "slice_k")) < 1.5 * _float_s(f, fact)

    def few(k, f):
        return knob(k, "scheme") != "few_rows" or (fact(f, "m") <= 1024 and fact(f, "k") % 4 == 0)

    return (
        Constraint(f"{prefix}choices of fp16x3 alone", lambda k, f: knob(k, "scheme") == "fp16x3" or first(k)),
        Constraint(f"{prefix}slices that cut K", cuts),
        Constraint(f"{prefix}pieces can win", wins),
        Constraint(f"{prefix}few rows of whole vectors", few),
    )


def _float_s(f, fact):
    """Seconds that a product takes in fp32, about."""
    return 2 * fact(f, "m") * fact(f, "n") * fact(f, "k") / FLOAT_RATE


def _pieces_s(f, fact, slice_k):
    """Seconds that it takes in pieces, about: cutting, multiplying, and the results of each slice twice."""
    m, n, k = fact(f, "m"), fact(f, "n"), fact(f, "k")
    slices = -(-k // slice_k)
    bytes_moved = (m + n) * k * 10 + m * n * (8 * slices + 4) + 6 * m * k
    return 6 * m * n * k / HALF_RATE + bytes_moved / BANDWIDTH + 20e-6


def convolution_knobs(prefix="", device="cuda", can_flip=False, channels=64, layout=True, turn=False):
    """Of a convolution; `can_flip` where it is transposed with stride 1, `channels` are those that go in, a group.

    `layout` is whether its layout is a choice, `turn` that knob's default. Defaults as benchmarks/drafts.py found them:
    with fewer than 16 channels the kernels for contiguous memory were up to twice as fast, and those in TF32 lie
    outside eager's own accuracy.
    """
    few = device == "cuda" and channels < 16
    order = "contiguous" if few else "channels_last"
    orders = Knob("layout", ("contiguous", "channels_last"), order, "of the convolution and of its output")
    layouts = (orders,) if layout else ()
    flipped = ("flipped",) if can_flip else ()
    if device == "cpu":
        form = Knob("form", ("torch", *flipped), "torch", "of a transposed convolution: as such, or as an ordinary one")
        return _prefixed(prefix, (*layouts, form) if can_flip else layouts)
    first = "flipped" if can_flip else "cudnn"
    return _prefixed(
        prefix,
        (
            *layouts,
            Knob("form", ("torch", "cudnn", *flipped), first, "who computes the convolution, and as what"),
            Knob("benchmark", (False, True), True, "let cuDNN time its algorithms at the first call"),
            Knob("tf32", (False, True), not few, "let cuDNN use TF32 where PyTorch's flag does"),
            Knob("turn", (False, True), turn, "bring the input into channels-last memory by a kernel of our own"),
        ),
    )


def convolution_constraints(prefix="", device="cuda"):
    """Points that equal another."""
    if device == "cpu":
        return ()

    def knob(k, name):
        return getattr(k, prefix + name)

    def turns(k, f):
        return not knob(k, "turn") or getattr(k, f"{prefix}layout", "channels_last") == "channels_last"

    return (
        Constraint(
            f"{prefix}cuDNN's choices where it is called",
            lambda k, f: knob(k, "form") != "torch" or (not knob(k, "benchmark") and knob(k, "tf32")),
        ),
        Constraint(f"{prefix}a turn where the memory changes", turns),
    )


def _prefixed(prefix, knobs):
    return tuple(Knob(prefix + knob.name, knob.choices, knob.default, knob.doc) for knob in knobs)
