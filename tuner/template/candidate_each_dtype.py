# ---- dtypes: in place of the above, where the inputs, or the kernels, are not all of one ----


class KernelOfEach(Kernel):
    """A kernel whose inputs are of `dtypes`, in order, and whose parameters are of `dtype`."""

    def __init__(self, dtypes, **arguments):
        super().__init__(**arguments)
        self.dtypes = dtypes


def nearest_kernel(inputs):
    """The kernel for inputs of these dtypes whose shapes are the nearest (sum of |log ratio| over the axes)."""
    dtypes = tuple(x.dtype for x in inputs)

    def distance(kernel):
        total = 0.0
        for tuned, x in zip(kernel.shapes, inputs):
            if len(tuned) != x.dim():
                return kernel.dtypes != dtypes, math.inf
            total += sum(abs(math.log(max(a, 1) / max(b, 1))) for a, b in zip(tuned, x.shape))
        return kernel.dtypes != dtypes, total

    return KERNELS[0] if len(KERNELS) == 1 else min(KERNELS, key=distance)


def forward(model, *inputs):
    """`run` on tensors that have values."""
    if WRAPPED is not None and any(map(WRAPPED, inputs)):
        raise RuntimeError("ModelNew does not run inside vmap or another of torch.func: call it on the whole batch")
    kernel = nearest_kernel(inputs)
    device = inputs[0].device
    if device.type != kernel.device:
        raise RuntimeError(f"{kernel.name} is a {kernel.device} kernel; the input is on {device}")
    parameters = list(model.parameters())
    wanted = [*zip(inputs, kernel.dtypes), *((x, kernel.dtype) for x in parameters)]
    for i, (x, dtype) in enumerate(wanted):
        if x.dtype != dtype or x.device != device or x.layout != torch.strided:
            what = f"input {i + 1}" if i < len(inputs) else "a parameter"
            raise RuntimeError(
                f"{kernel.name} takes as {what} a strided {dtype} tensor on {device}; "
                f"found one that is {x.layout} {x.dtype} on {x.device}"
            )
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        raise RuntimeError("ModelNew has no backward: an input requires a gradient; call it under torch.no_grad()")
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return forward(model, *inputs)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        result = kernel.host(model, kernel, *inputs)
    if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
        return without_backward(result, parameters)
    return result


def without_backward(result, parameters):
    """The result, whose gradient raises; what has none, as integers have not, stays."""
    if not isinstance(result, torch.Tensor):
        return type(result)(without_backward(each, parameters) for each in result)
    return NoBackward.apply(result, *parameters) if result.is_floating_point() else result
