"""gn_mean: variants, and where its numbers differ from what it shares with others."""

import conv3d_space as space  # of ../include

from tuner.template import Variant


def axes(init, shapes):
    """Those of conv3d_space."""
    in_channels, out_channels, kernel_size, num_groups = init
    return space.axes(shapes, in_channels, out_channels, kernel_size, num_groups)


KERNEL = 3
CHANNEL_TILES = 3  # 24 channels
TILE_D = (1, 2, 3, 4, 6, 8, 11, 16, 22, 30)  # 22 planes and 30 rows are the problem's own
TILE_H = (4, 8, 15, 30, 60)

VARIANTS = (
    Variant(
        "fused_cuda",
        "cuda",
        "fused_cuda.cu",
        *space.fused_cuda(blocks_per_group=3),
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
        "conv_mma",
        "cuda",
        "conv_mma.cu",
        *space.conv_mma(
            KERNEL,
            warps=((4, 6, 8, 12, 16), 4),
            channel_tiles=CHANNEL_TILES,
            tile_d=(TILE_D, 4),
            tile_h=(TILE_H, 30),
            promote=((0, 1, 2), 2),
        ),
        minimum=(8, 0),
        host="conv3d_group_norm",
        doc="implicit matrix product on tensor cores that keeps only statistics of its output",
    ),
    Variant(
        "direct_cpu",
        "cpu",
        "direct_cpu.cpp",
        *space.direct_cpu(planes=16, taps=((0, 3, 5), KERNEL)),
        host="direct_conv",
        doc="direct convolution that keeps its output in registers, with the statistics",
    ),
    Variant(
        "conv_wgmma",
        "cuda",
        "conv_wgmma.cu",
        *space.conv_wgmma(KERNEL, CHANNEL_TILES, tile_d=(TILE_D, 4), tile_h=(TILE_H, 15), sums="together"),
        minimum=(9, 0),
        exact=True,
        host="conv3d_group_norm",
        doc="conv_mma with Hopper's warpgroup products",
    ),
    Variant(
        "conv_simt",
        "cuda",
        "conv_simt.cu",
        *space.conv_simt(KERNEL, CHANNEL_TILES, tile_d=(TILE_D, 4), tile_h=(TILE_H, 30)),
        minimum=(8, 0),
        host="conv3d_group_norm",
        doc="direct convolution in plain fp32 that keeps only statistics of its output",
    ),
)
