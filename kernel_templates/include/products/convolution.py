"""Host side of a convolution that the library computes, in the layout and form that the knobs of space.py say."""

import torch


def convolution(
    x, weight, bias=None, *, stride, padding, dilation, groups=1, output_padding=None,
    layout, form="torch", benchmark=False, tf32=True, kernel=None,
):  # fmt: skip
    """A convolution of 1 to 3 spatial dimensions; a transposed one where `output_padding` is given.

    x (N, channels, ...) -> (N, channels, ...), contiguous in the layout that `layout` names. `form`: torch, as PyTorch
    does it by default; cudnn, on a GPU alone, with `benchmark` and `tf32` (where PyTorch's own flag allows that, too);
    flipped, the transposed one of stride 1 as an ordinary one of the flipped weight, by cudnn on a GPU. With a bias,
    which cudnn's own functions do not take, cudnn is torch. `kernel` brings x into channels-last memory by
    channels_last.cuh, which it has; None: PyTorch does. Sizes are one number a spatial dimension.
    """
    if x.dim() == 3:  # as PyTorch does, a dimension of size 1 ahead
        sizes = [(1, *stride), (0, *padding), (1, *dilation), groups, output_padding and (0, *output_padding)]
        y = convolution_of(x[:, :, None], weight[:, :, None], bias, *sizes, layout, form, benchmark, tf32, kernel)
        return y[:, :, 0]
    return convolution_of(
        x, weight, bias, stride, padding, dilation, groups, output_padding, layout, form, benchmark, tf32, kernel
    )


def convolution_of(
    x, weight, bias, stride, padding, dilation, groups, output_padding, layout, form, benchmark, tf32, kernel
):
    """`convolution` of 2 or 3 spatial dimensions."""
    memory_format = torch.contiguous_format
    if layout == "channels_last":
        memory_format = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    if form == "flipped":
        weight = flipped_weight(weight, groups)
        padding = [d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding)]
        output_padding = None
    x = arranged(x, memory_format, kernel)
    weight = weight.contiguous(memory_format=memory_format)
    choice = benchmark, True, tf32 and torch.backends.cudnn.allow_tf32
    if form == "torch" or not x.is_cuda or bias is not None:
        transposed = output_padding is not None
        more = output_padding if transposed else [0] * len(stride)
        y = torch.convolution(x, weight, bias, stride, padding, dilation, transposed, more, groups)
    elif output_padding is None:
        y = torch.cudnn_convolution(x, weight, padding, stride, dilation, groups, *choice)
    else:
        y = torch.cudnn_convolution_transpose(x, weight, padding, output_padding, stride, dilation, groups, *choice)
    return y.contiguous(memory_format=memory_format)


def arranged(x, memory_format, kernel):
    """x in this memory format; by the kernel where x is contiguous and is to be channels-last."""
    if kernel is None or x.is_contiguous(memory_format=memory_format) or not x.is_contiguous():
        return x.contiguous(memory_format=memory_format)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    kernel.launch("to_channels_last", x, y, x.shape[0], x.shape[1], x.shape[2:].numel())
    return y


def flipped_weight(weight, groups):
    """The weight of a transposed convolution, (in, out / groups, ...), as an ordinary one's (out, in / groups, ...)."""
    size = weight.shape[2:]
    apart = weight.unflatten(0, (groups, -1)).transpose(1, 2)
    return apart.reshape(-1, apart.shape[2], *size).flip(*range(2, weight.dim()))
