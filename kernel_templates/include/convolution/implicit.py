"""Host side of convolutions with implicit.cuh: the memory that they need."""


def implicit_boxes(knobs, prefix, sizes, stride=None):
    """Boxes of a sample's channel, of which each leaves a state where positions are reduced.

    `sizes` are the output's, one a spatial dimension; `stride` is a transposed convolution's.
    """
    width, depth = knobs[f"{prefix}tile_width"], knobs[f"{prefix}tile_depth"]
    tile = (depth, 64 * knobs[f"{prefix}warpgroups"] // (depth * width), width)[-len(sizes) :]
    stride = stride or (1,) * len(sizes)
    count = 1
    for size, step, side in zip(sizes, stride, tile):
        outputs = -(-size // step)  # of a class
        count *= -(-outputs // side)
    for step in stride[:-1]:
        count *= step
    return count
