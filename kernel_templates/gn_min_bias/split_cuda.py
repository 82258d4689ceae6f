"""Host side of split_cuda."""

import torch

# A product with fewer outputs than 128 multiprocessors' tiles of 128 x 128 is one that cuBLAS may cut along K, which
# makes float's error smaller than the pieces'; so is that of a short sum. Both are quick in float.
SPLIT_CUDA_LEAST_OUTPUTS = 2**21
SPLIT_CUDA_LEAST_K = 1024


class SplitCudaPieces:
    """A matrix (rows, k) cut into two pieces a value: buffers that the kernel `split` fills.

    Rows and k are padded with zeros to what the tensor cores' products ask for. `lo_first` says
    in which order the pieces stand for the cross product: one factor's as [hi lo], the other's as [lo hi].
    """

    def __init__(self, kernel, source, lo_first):
        rows, self.k = source.shape
        self.rows, self.padded_k = max(32, -(-rows // 8) * 8), -(-self.k // 16) * 16
        self.on_grid, self.lo_first = kernel.knobs["scheme"] == "fp16_int8", lo_first

        def buffer(*shape, dtype):
            return torch.empty(shape, dtype=dtype, device=source.device)

        self.half = buffer(self.rows, self.padded_k * (1 if self.on_grid else 2), dtype=torch.float16)
        self.grid = buffer(self.rows, self.padded_k * 2, dtype=torch.int8) if self.on_grid else None
        self.scales = buffer(self.rows, dtype=torch.float32)
        self.uneven = buffer(self.rows, dtype=torch.uint8)
        self.fingerprints = buffer(self.rows, dtype=torch.int64)

    def fill(self, kernel, source, check=False):
        """Derive the pieces; with `check` only of rows that are not those of the last call."""
        kernel.launch(
            "split", source, self.half, self.grid, self.scales, self.uneven, self.fingerprints,
            *source.shape, self.rows, self.padded_k, self.lo_first, check,
        )  # fmt: skip
        return self

    @property
    def hi(self):
        return self.half[:, self.padded_k :] if self.lo_first and not self.on_grid else self.half[:, : self.padded_k]

    @property
    def both(self):
        return self.grid if self.on_grid else self.half


class SplitCudaCache:
    """The weight's pieces of the last forward, and what they were made for.

    A copied or pickled model starts with an empty cache.
    """

    def __init__(self):
        self.made_of, self.pieces = None, None

    def __reduce__(self):
        return SplitCudaCache, ()


def split_cuda_weight(model, kernel, weight):
    """The pieces of `weight`, the parameter in contiguous memory, as the knob `weights` says.

    fresh: split in every forward. checked: read in every forward, and a row split again when its
    64-bit fingerprint has changed, whoever wrote it (a version counter would not see what is
    written through `.data`). While a graph is captured, always fresh.
    """
    if kernel.knobs["weights"] == "fresh" or torch.cuda.is_current_stream_capturing():
        return SplitCudaPieces(kernel, weight, True).fill(kernel, weight)
    cache = model.__dict__.setdefault("split_cuda_cache", SplitCudaCache())
    # Another stream may not have waited for the one that filled the buffers.
    made_of = kernel, tuple(weight.shape), weight.device, torch.cuda.current_stream().cuda_stream
    known = made_of == cache.made_of
    pieces = cache.pieces if known else SplitCudaPieces(kernel, weight, True)
    cache.made_of = None  # until the pieces are whole
    pieces.fill(kernel, weight, check=known)
    cache.pieces, cache.made_of = pieces, made_of
    return pieces


def split_cuda_products(model, kernel, x):
    """The product's parts as arguments of `group_min_of_pieces`, and the tensors that these point to.

    x (N, K) in contiguous memory.
    """
    weight = aligned(model.gemm.weight)
    wide = split_cuda_weight(model, kernel, weight)
    tall = SplitCudaPieces(kernel, x, False).fill(kernel, x)
    if wide.on_grid:
        cross = torch._int_mm(tall.both, wide.both.t())
    else:
        cross = torch.ops.aten.mm.dtype(tall.both, wide.both.t(), torch.float32)
    # hi . hi over slices of K, each a multiple of 16 long.
    step = -(-tall.padded_k // (16 * kernel.knobs["k_slices"])) * 16
    starts = range(0, tall.padded_k, step)
    products = torch.empty(len(starts), *cross.shape, dtype=torch.float32, device=x.device)
    for product, start in zip(products, starts):
        a, b = tall.hi[:, start : start + step], wide.hi[:, start : start + step]
        torch.ops.aten.mm.dtype_out(a, b.t(), torch.float32, out=product)
    sizes = cross.shape[1], cross.numel(), len(starts)
    if wide.on_grid:  # which does not serve every row
        kernel.launch(
            "recompute", x, weight, tall.scales, wide.scales, tall.uneven, wide.uneven, products, cross,
            x.shape[0], *weight.shape, *sizes,
        )  # fmt: skip
    return (products, cross, tall.scales, wide.scales), sizes


def split_cuda(model, kernel, x):
    linear, norm = model.gemm, model.group_norm
    if x.dim() != 2:
        raise RuntimeError(f"split_cuda takes an input (N, in_features), not {tuple(x.shape)}")
    if not hasattr(torch.ops.aten.mm, "dtype"):
        raise RuntimeError("split_cuda needs torch.mm with out_dtype: PyTorch 2.8 or later")
    (n, k), c = x.shape, linear.out_features
    # A slice of the channels holds block_size / lanes groups.
    slices = -(-norm.num_groups // (kernel.knobs["block_size"] // kernel.knobs["lanes"]))
    minima = torch.empty(slices, n, dtype=torch.float32, device=x.device)
    rest = aligned(linear.bias), aligned(norm.weight), aligned(norm.bias), minima, n, c, norm.num_groups
    if n * c < SPLIT_CUDA_LEAST_OUTPUTS or k < SPLIT_CUDA_LEAST_K:
        kernel.launch("group_min", torch.mm(x, linear.weight.t()), *rest, norm.eps)
    else:
        pieces, sizes = split_cuda_products(model, kernel, aligned(x))
        kernel.launch("group_min_of_pieces", *pieces, *rest, *sizes, norm.eps)
    return plus_bias(kernel, minima, model.bias)
