"""Host side of fused_cuda: weight, then for each chunk of samples the input's layout, convolution and the rest."""

import torch


def fused_cuda(model, kernel, x):
    """x (N, in_channels, D, H, W) -> (N, out_channels, D + k - 1, H + k - 1, W + k - 1), contiguous."""
    conv, norm, knobs = model.conv_transpose, model.group_norm, kernel.knobs
    if x.dim() != 5:
        raise RuntimeError(f"fused_cuda takes an input (N, in_channels, D, H, W), not {tuple(x.shape)}")
    last = knobs["memory_format"] == "channels_last"
    layout = torch.channels_last_3d if last else torch.contiguous_format
    if not x.is_contiguous(memory_format=layout):
        x = aligned(x)
    weight = fused_cuda_weight(kernel, conv.weight, layout)
    samples, outputs = x.shape[0], weight.shape[0 if knobs["conv"] == "flipped" else 1]
    sizes = [size + k - 1 for size, k in zip(x.shape[2:], weight.shape[2:])]
    result = torch.empty(samples, outputs, *sizes, dtype=x.dtype, device=x.device)
    chunk = min(knobs["samples_per_chunk"], samples)
    pairs = chunk * norm.num_groups  # of a sample and a group
    workspace = (
        torch.empty(pairs * knobs["split"] * 3, dtype=x.dtype, device=x.device),
        torch.empty(pairs * 2, dtype=x.dtype, device=x.device),
        torch.empty(pairs + 1, dtype=torch.int32, device=x.device),
    )
    turned = None
    if knobs["layout"] == "fused" and not x.is_contiguous(memory_format=layout):
        turned = torch.empty(x[:chunk].shape, dtype=x.dtype, device=x.device, memory_format=layout)
    for first in range(0, samples, max(chunk, 1)):
        part = x[first : first + chunk]
        if turned is not None:
            kernel.launch("change_layout", part, turned, *part.shape[:2], part[0, 0].numel())
            part = turned[: part.shape[0]]
        else:
            part = part.contiguous(memory_format=layout)
        fused_cuda_chunk(model, kernel, part, weight, layout, result[first : first + chunk], workspace)
    return result


def fused_cuda_weight(kernel, weight, layout):
    """The transposed convolution's weight in the form and layout that the knobs ask for."""
    flipped, last = kernel.knobs["conv"] == "flipped", layout == torch.channels_last_3d
    weight = weight.contiguous()
    if not flipped and not last:
        return weight
    inputs, outputs, *size = weight.shape
    shape = (outputs, inputs, *size) if flipped else weight.shape
    arranged = torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=layout)
    kernel.launch("arrange_weight", weight, arranged, inputs, outputs, math.prod(size), flipped, last)
    return arranged


def fused_cuda_chunk(model, kernel, x, weight, layout, result, workspace):
    """Convolution of a few samples, then all that follows; returning frees the memory for the next chunk's output."""
    norm, knobs = model.group_norm, kernel.knobs
    one, nought = [1, 1, 1], [0, 0, 0]
    choice = (1, knobs["cudnn_benchmark"], True, torch.backends.cudnn.allow_tf32)
    if knobs["conv"] == "flipped":
        y = torch.cudnn_convolution(x, weight, [k - 1 for k in weight.shape[2:]], one, one, *choice)
    else:
        y = torch.cudnn_convolution_transpose(x, weight, nought, nought, one, one, *choice)
    y = y.contiguous(memory_format=layout)
    kernel.launch(
        f"normalise_{knobs['memory_format']}",
        y,
        aligned(model.conv_transpose.bias, 4),
        aligned(norm.weight, 4),
        aligned(norm.bias, 4),
        result,
        *workspace,
        *y.shape[:2],
        y[0, 0].numel(),
        norm.num_groups,
        norm.eps,
    )
