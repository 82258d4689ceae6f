"""The skeleton of every gn_min_bias candidate: the reference's constructor, parameters and order."""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    """Linear, then GroupNorm, the minimum over the channels and the sum with the bias in fused kernels."""

    def __init__(self, in_features, out_features, num_groups, bias_shape):
        super().__init__()
        self.gemm = nn.Linear(in_features, out_features)
        self.group_norm = nn.GroupNorm(num_groups, out_features)
        self.bias = nn.Parameter(torch.randn(bias_shape))

    def forward(self, x):
        return run(self, x)


def plus_bias(kernel, minima, bias, *more):
    """minima (slices, N), bias -> (minimum over the slices as (N, 1)) + bias, broadcast.

    A bias with one element in its last two dimensions, such as (1, C, 1, 1), is written by the
    kernel: for it the result is one row of N for each bias. Any other is left to PyTorch. `more` are
    further arguments of the variant's `add_bias`.
    """
    slices, n = minima.shape
    if any(size != 1 for size in bias.shape[-2:]):
        return minima.amin(0)[:, None] + bias
    out = minima.new_empty(torch.broadcast_shapes((n, 1), bias.shape))
    kernel.launch("add_bias", minima, aligned(bias), out, slices, n, bias.numel(), *more)
    return out
