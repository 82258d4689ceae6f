"""Host side of few_rows.cuh: a layer's product for at most 1024 rows, its weight read once and cut in registers."""

import torch

FEW_ROWS_MOST = 1024
FEW_ROWS_CHUNK, FEW_ROWS_TILE = 64, 128  # values of K a step, rows of the weight a block; as in few_rows.cuh


def few_rows_serves(rows, weight):
    """Whether the kernel takes this product: few rows, and a weight whose rows are multiples of 16 bytes."""
    return 0 < rows.shape[0] <= FEW_ROWS_MOST and weight.shape[1] > 0 and weight.shape[1] % 4 == 0


def few_rows_slices(tiles, k, multiprocessors):
    """The fewest slices of K, up to eight of at least 1024 values, that keep most of the multiprocessors at work.

    A block computes one of `tiles` parts of the result, on one multiprocessor, for a slice.
    """

    def work(slices):
        waves = -(-tiles * slices // multiprocessors)
        return tiles * slices / (waves * multiprocessors)

    counts = range(1, max(1, min(8, k // 1024)) + 1)
    return next((count for count in counts if work(count) >= 0.9), max(counts, key=work))


class FewRows:
    """rows (m, K) times weight (n, K) transposed, as sums of slices of K and as scales."""

    def __init__(self, kernel, rows, weight):
        self.rows, self.weight = rows if rows.stride(1) == 1 else rows.contiguous(), aligned(weight)
        (self.m, self.k), self.n = rows.shape, weight.shape[0]
        columns, chunks = 64 if self.m <= 64 else 128, -(-self.k // FEW_ROWS_CHUNK)
        x_tiles = -(-self.m // columns)
        self.x_padded, self.padded = x_tiles * columns, -(-self.n // 8) * 8
        properties, tiles = torch.cuda.get_device_properties(rows.device), x_tiles * -(-self.n // FEW_ROWS_TILE)
        chunks_each = -(-chunks // few_rows_slices(tiles, self.k, properties.multi_processor_count))
        self.slices = -(-chunks // chunks_each)

        def buffer(*shape, dtype=torch.float32):
            return torch.empty(shape, dtype=dtype, device=rows.device)

        pieces = buffer(self.x_padded, chunks * 2 * FEW_ROWS_CHUNK, dtype=torch.float16)
        largest = buffer(self.x_padded, dtype=torch.int32)
        self.x_scales, self.scales = buffer(self.slices, self.x_padded), buffer(self.slices, self.padded)
        self.sums = buffer(self.slices, self.m, self.padded)
        kernel.launch(
            "few_rows_pieces", self.rows, pieces, largest, self.x_scales,
            self.m, self.k, self.rows.stride(0), self.x_padded, columns, self.slices,
        )  # fmt: skip
        kernel.launch(
            "few_rows_product", self.weight, pieces, self.sums, self.scales,
            self.m, self.n, self.k, self.k, self.padded, columns, chunks_each, self.slices,
        )  # fmt: skip

    def finished(self, kernel):
        """The product (m, n), contiguous."""
        out = torch.empty(self.m, self.n, dtype=torch.float32, device=self.sums.device)
        kernel.launch("finish_product", *self.buffers, out, *self.sizes)
        return out

    def parts(self, kernel):
        """(product, x's scales (m), the weight's (n)), or None where a sum over slices is still to be made."""
        if self.slices > 1 or self.padded != self.n:
            return None
        kernel.launch("repair_product", *self.buffers, *self.sizes)
        return self.sums[0], self.x_scales[0, : self.m], self.scales[0]

    @property
    def buffers(self):
        return self.sums, self.x_scales, self.scales, self.rows, self.weight

    @property
    def sizes(self):
        sizes = 1, self.m, self.n, self.k, self.slices, 1, self.x_padded, self.padded
        return *sizes, 0, self.rows.stride(0), 1, 0, self.k, 1
