"""hardswish_gn_mean: variants, and where its numbers differ from what it shares with others."""

import conv3d_space as space  # of ../include

from tuner.space import Constraint
from tuner.template import Variant


def axes(init, shapes):
    """Those of conv3d_space; `conv_bias_present` says whether the convolution has a bias."""
    # num_groups and bias may be left out
    in_channels, out_channels, kernel_size, num_groups, bias = [*init, *(4, True)[len(init) - 3 :]]
    found = space.axes(shapes, in_channels, out_channels, kernel_size, num_groups)
    return {**found, "conv_bias_present": bool(bias)}


KERNEL = 4
CHANNEL_TILES = 2  # 16 channels
TILE_D = (1, 2, 3, 4, 5, 7, 10, 13)  # 13 planes and 29 rows are the problem's own
TILE_H = (4, 8, 15, 29, 60)
# together, 36 products truncate each value: too many for fp32 accuracy
SUMS_APART = Constraint("fp16x3 sums apart", lambda k, f: k.scheme == "fp16" or k.sums != "together")

VARIANTS = (
    Variant(
        "fused_cuda",
        "cuda",
        "fused_cuda.cu",
        *space.fused_cuda(blocks_per_group=4),
        host="channel_sums_cuda",
        doc="convolution by cuDNN, then one read of its output",
    ),
    Variant(
        "fused_cpu",
        "cpu",
        "fused_cpu.cpp",
        *space.fused_cpu(),
        host="channel_sums_cpu",
        doc="convolution by PyTorch, then one read of its output",
    ),
    Variant(
        "direct_cpu",
        "cpu",
        "direct_cpu.cpp",
        *space.direct_cpu(planes=8, taps=((0, 3, 4, 5), KERNEL)),
        host="direct_conv",
        doc="direct convolution that keeps its output in registers, with hardswish and statistics",
    ),
    Variant(
        "conv_mma",
        "cuda",
        "conv_mma.cu",
        *space.conv_mma(
            KERNEL,
            warps=((4, 6, 8, 12, 13, 16), 4),
            channel_tiles=CHANNEL_TILES,
            tile_d=(TILE_D, 5),
            tile_h=(TILE_H, 29),
            promote=((0, 1, 3), 1),
        ),
        minimum=(8, 0),
        host="conv3d_group_norm",
        doc="implicit matrix product on tensor cores with hardswish that keeps only statistics",
    ),
    Variant(
        "conv_wgmma",
        "cuda",
        "conv_wgmma.cu",
        *space.conv_wgmma(
            KERNEL, CHANNEL_TILES, tile_d=(TILE_D, 4), tile_h=(TILE_H, 15), sums="rows", more=(SUMS_APART,)
        ),
        minimum=(9, 0),
        exact=True,
        host="conv3d_group_norm",
        doc="conv_mma with Hopper's warpgroup products",
    ),
)
