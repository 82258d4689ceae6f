"""Host side of matrix products in fp32 from pieces in half precision: split.cuh, then cuBLAS, then finish.cuh.

A source that includes both headers serves them; one with few_rows among its schemes has few_rows.py and .cuh, too.
Knobs, in space.py, come as keyword arguments of the same names.
"""

import math

import torch

# Fewer results than these cuBLAS may compute in float with K cut among many blocks, which makes its error smaller than
# a tensor core's; such a product is quick in float, unless K is long enough for slices to do the same.
SPLIT_LEAST_RESULTS = 2**21
SPLIT_LONG_K = 2**16


def split_product(model, kernel, name, x, weight, *, scheme, calls, slice_k, weights):
    """x (..., K) times weight (N, K) transposed -> (..., N), contiguous. `name` is the layer's path, for its pieces."""
    made = split_made(model, kernel, name, x, weight, scheme, calls, slice_k, weights)
    y = torch.matmul(x, weight.t()) if made is None else made.finished(kernel)
    return y.view(*x.shape[:-1], weight.shape[0])


def split_parts(model, kernel, name, x, weight, *, scheme, calls, slice_k, weights):
    """(product (..., N), row_scale, column_scale): what split_product returns is product * row_scale * column_scale.

    row_scale has a number for each row of K values of x, column_scale (N) for each of the weight. What comes after
    the product applies them on its way, and a pass over the product is saved where K is one slice and calls is 1.
    """
    made = split_made(model, kernel, name, x, weight, scheme, calls, slice_k, weights)
    parts, shape = None if made is None else made.parts(kernel), (*x.shape[:-1], weight.shape[0])
    if parts is None:
        y = torch.matmul(x, weight.t()) if made is None else made.finished(kernel)
        parts = y, *(torch.ones(count, dtype=y.dtype, device=y.device) for count in (y.numel() // shape[-1], shape[-1]))
    return parts[0].view(shape), *parts[1:]


def split_made(model, kernel, name, x, weight, scheme, calls, slice_k, weights):
    """The product of a layer, still in parts; None where it is to be computed in fp32."""
    rows = x.reshape(-1, x.shape[-1])
    if scheme == "few_rows" and few_rows_serves(rows, weight):
        return FewRows(kernel, rows, weight)
    if not split_serves(scheme, 1, rows.shape[0], *weight.shape):
        return None
    form = 2 if calls == 2 else 3, slice_k
    wide = split_weight(model, kernel, name, weight, form, weights)
    return SplitSums(SplitPieces(rows[None], *form, left=True).fill(kernel), wide)


def split_matmul(kernel, a, b, *, scheme, calls, slice_k):
    """torch.matmul(a, b) of two activations with at least two dimensions each, contiguous."""
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if not split_serves(scheme, math.prod(batch), a.shape[-2], b.shape[-1], a.shape[-1]):
        return torch.matmul(a, b)
    shape, flat = (*batch, a.shape[-2], b.shape[-1]), b.dim() == 2  # flat: one product of the rows of all batches
    a = a.reshape(1, -1, a.shape[-1]) if flat else a.expand(*batch, *a.shape[-2:]).flatten(0, -3)
    b = b[None] if flat else b.expand(*batch, *b.shape[-2:]).flatten(0, -3)
    form = 2 if calls == 2 else 3, slice_k
    left = SplitPieces(a, *form, left=True).fill(kernel)
    right = SplitPieces(b.transpose(1, 2), *form, left=False).fill(kernel)
    return SplitSums(left, right).finished(kernel).view(shape)


def split_serves(scheme, batch, m, n, k):
    """Whether the product is made of pieces."""
    if scheme == "fp32" or k == 0 or (batch * m * n < SPLIT_LEAST_RESULTS and k < SPLIT_LONG_K):
        return False
    if not hasattr(torch.ops.aten.bmm, "dtype_out"):
        raise RuntimeError("split_product needs torch.bmm with out_dtype: PyTorch 2.8 or later")
    return True


class SplitPieces:
    """A matrix (batch, rows, k) cut into pieces, `parts` a value, in slices of K of at most `slice_k` values.

    Where the rows are contiguous and k is not, the pieces lie likewise. `left` says which factor it is, `kept` that
    fingerprints of the rows are to tell later what has changed.
    """

    def __init__(self, source, parts, slice_k, left, kept=False):
        self.batch, self.rows, self.k = source.shape
        self.turned = source.stride(1) == 1 and source.stride(2) != 1 and self.k > 1
        self.source = source if self.turned or source.stride(2) == 1 else source.contiguous()
        self.parts, self.left = parts, left
        self.width = -(-self.k // (16 * -(-self.k // slice_k))) * 16
        self.slices = -(-self.k // self.width)
        self.padded = -(-self.rows // 8) * 8

        def buffer(*shape, dtype):
            return torch.empty(self.batch * self.slices, *shape, dtype=dtype, device=source.device)

        shape = (parts * self.width, self.padded) if self.turned else (self.padded, parts * self.width)
        self.pieces = buffer(*shape, dtype=torch.float16)
        self.scales = buffer(self.padded, dtype=torch.float32)
        self.largest = buffer(self.padded, dtype=torch.int32) if self.turned else None
        self.fingerprints = buffer(self.padded, dtype=torch.int64) if kept and not self.turned else None

    def fill(self, kernel, check=False):
        """Derive the pieces; with `check` only of rows that are not those of the last call."""
        source, sizes = self.source, (self.batch, self.rows, self.k, self.source.stride(0))
        form = self.padded, self.width, self.slices, self.parts, self.left
        buffers = source, self.pieces, self.scales
        if self.turned:
            kernel.launch("split_columns", *buffers, self.largest, *sizes, source.stride(2), *form)
        else:
            kernel.launch("split_rows", *buffers, self.fingerprints, *sizes, source.stride(1), *form, check)
        return self

    def columns(self, first, count):
        """(batch * slices, rows, count * width): of each row the pieces from the one numbered `first` on."""
        first, count = first * self.width, count * self.width
        if self.turned:
            return self.pieces[:, first : first + count].transpose(1, 2)
        return self.pieces[:, :, first : first + count]


class SplitCache:
    """The pieces of weights of the last forward, by the layer's name, and what they were made for.

    A copied or pickled model starts with an empty cache.
    """

    def __init__(self):
        self.kept = {}

    def __reduce__(self):
        return SplitCache, ()


def split_weight(model, kernel, name, weight, form, weights):
    """The pieces of the parameter `weight` (N, K), as the knob `weights` says.

    fresh: cut in every forward. checked: read in every forward, and a row cut again when its 64-bit fingerprint has
    changed, whoever wrote it (a version counter would not see what is written through `.data`). While a graph is
    captured, and where K is not contiguous, always fresh.
    """
    if weights == "fresh" or weight.stride(1) != 1 or torch.cuda.is_current_stream_capturing():
        return SplitPieces(weight[None], *form, left=False).fill(kernel)
    kept = model.__dict__.setdefault("split_cache", SplitCache()).kept
    # Another stream may not have waited for the one that filled the buffers.
    made_of = kernel, form, tuple(weight.shape), weight.device, torch.cuda.current_stream().cuda_stream
    known, pieces = kept.pop(name, (None, None))  # back when they are whole
    if known != made_of:
        pieces = SplitPieces(weight[None], *form, left=False, kept=True)
    pieces.source = weight[None]
    pieces.fill(kernel, check=known == made_of)
    kept[name] = made_of, pieces
    return pieces


class SplitSums:
    """The product (batch, m, n) of the pieces of a (batch, m, k) and of b (batch, n, k), before its scales."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        pairs = [(a.columns(0, 3), b.columns(0, 3))]
        if a.parts == 2:  # the cross terms, then high times high
            pairs = [(a.columns(0, 2), b.columns(0, 2)), (a.columns(1, 1), b.columns(0, 1))]
        z = a.batch * a.slices
        self.sums = torch.empty(len(pairs), z, a.rows, b.padded, dtype=torch.float32, device=a.pieces.device)
        for plane, (left, right) in zip(self.sums, pairs):
            left, right = left[:, : a.rows], right.transpose(1, 2)
            if z == 1:
                torch.ops.aten.mm.dtype_out(left[0], right[0], torch.float32, out=plane[0])
            else:
                torch.ops.aten.bmm.dtype_out(left, right, torch.float32, out=plane)

    def finished(self, kernel):
        """The product, contiguous."""
        out = torch.empty(self.a.batch, self.a.rows, self.b.rows, dtype=torch.float32, device=self.sums.device)
        kernel.launch("finish_product", *self.buffers, out, *self.sizes)
        return out

    def parts(self, kernel):
        """(product, a's scales, b's), or None where sums are still to be added up."""
        if self.sums.shape[:2] != (1, 1) or self.b.padded != self.b.rows:
            return None
        kernel.launch("repair_product", *self.buffers, *self.sizes)
        return self.sums[0, 0], self.a.scales[0, : self.a.rows], self.b.scales[0]

    @property
    def buffers(self):
        return self.sums, self.a.scales, self.b.scales, self.a.source, self.b.source

    @property
    def sizes(self):
        a, b = self.a, self.b
        sizes = a.batch, a.rows, b.rows, a.k, a.slices, len(self.sums), a.padded, b.padded
        return *sizes, *a.source.stride(), *b.source.stride()
