"""Host side of drafted kernels: what they are given."""



def operand(x, *sizes):
    """`x`, contiguous and at a multiple of 16 bytes. Raises RuntimeError where its sizes are others than these."""
    if tuple(x.shape) != sizes:
        raise RuntimeError(f"a tensor of sizes {tuple(x.shape)} stands where {sizes} is computed with")
    return aligned(x)


def pooled_size(size, kernel, stride, padding, dilation):
    """Results of a pooling along a dimension of `size` elements in ceil mode, as PyTorch counts them."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-reach // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count
