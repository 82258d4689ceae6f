"""Host side of fused_cuda."""

import torch


def fused_cuda(model, kernel, x):
    linear, norm = model.gemm, model.group_norm
    if x.dim() != 2:
        raise RuntimeError(f"fused_cuda takes an input (N, in_features), not {tuple(x.shape)}")
    in_kernel = kernel.knobs["linear_bias"] == "fused"
    y = torch.mm(x, linear.weight.t()) if in_kernel else torch.addmm(linear.bias, x, linear.weight.t())
    n, c = y.shape
    # A slice of the channels holds block_size / lanes groups.
    slices = -(-norm.num_groups // (kernel.knobs["block_size"] // kernel.knobs["lanes"]))
    minima = torch.empty(slices, n, dtype=y.dtype, device=y.device)
    kernel.launch(
        "group_min",
        y, aligned(linear.bias) if in_kernel else None,
        aligned(norm.weight), aligned(norm.bias), minima,
        n, c, norm.num_groups, norm.eps,
    )  # fmt: skip
    return plus_bias(kernel, minima, model.bias)
