# ---- runtime: builds a kernel once, launches it, and says plainly what it does not take ----

NUMBERS = {
    "bool": ctypes.c_bool, "char": ctypes.c_byte, "signed char": ctypes.c_byte, "unsigned char": ctypes.c_ubyte,
    "short": ctypes.c_short, "unsigned short": ctypes.c_ushort, "int": ctypes.c_int, "unsigned int": ctypes.c_uint,
    "long": ctypes.c_long, "unsigned long": ctypes.c_ulong, "long long": ctypes.c_longlong,
    "unsigned long long": ctypes.c_ulonglong, "float": ctypes.c_float, "double": ctypes.c_double,
}  # fmt: skip
ELEMENTS = {  # what a pointer may lead to; one to any other type takes every tensor
    "float*": (torch.float32,), "double*": (torch.float64,), "half*": (torch.float16,),
    "bfloat16*": (torch.bfloat16,), "int*": (torch.int32,), "long*": (torch.int64,), "long long*": (torch.int64,),
    "short*": (torch.int16,), "signed char*": (torch.int8,), "unsigned char*": (torch.uint8, torch.bool),
    "bool*": (torch.bool,),
}  # fmt: skip


class Function:
    """A C function whose signature is known: what it is called with is converted or refused before it runs."""

    def __init__(self, name, function, signature, device):
        returns, _, inside = signature[:-1].partition("(")
        self.name, self.function, self.device = name, function, device
        self.parameters = [parameter.rpartition(" ")[0] for parameter in inside.split(", ") if parameter]
        self.names = [parameter.rpartition(" ")[2] for parameter in inside.split(", ") if parameter]
        function.restype = None if returns == "void" else ctypes.c_int
        function.argtypes = [NUMBERS.get(kind, ctypes.c_void_p) for kind in self.parameters]
        self.takes_stream = self.parameters[-1:] == ["void*"]

    def __call__(self, arguments, stream):
        kinds = self.parameters[:-1] if self.takes_stream else self.parameters
        if len(arguments) != len(kinds):
            wanted = ", ".join(f"{kind} {name}" for kind, name in zip(kinds, self.names))
            raise TypeError(f"{self.name} takes {len(kinds)} arguments ({wanted}), not {len(arguments)}")
        values = []
        for i, (kind, value) in enumerate(zip(kinds, arguments)):
            plain = type(value)  # what comes as a rule, ahead of all that may come
            if plain is torch.Tensor and value.dtype in ELEMENTS.get(kind, ()) and value.device.type == self.device:
                values.append(value.data_ptr())
            elif (plain is int and kind == "long long") or (plain is float and kind == "double"):
                values.append(value)
            else:
                values.append(self.handed(i, kind, value))
        return self.function(*values, stream) if self.takes_stream else self.function(*values)

    def handed(self, i, kind, value):
        """What C is given for argument `i`. Raises TypeError for what is none of its kind, OverflowError by range."""
        is_tensor = isinstance(value, torch.Tensor)
        if kind.endswith("*"):
            if value is None:
                return None
            if is_tensor and value.device.type == self.device and value.dtype in ELEMENTS.get(kind, (value.dtype,)):
                return value.data_ptr()
        elif not is_tensor and kind in ("float", "double"):
            if hasattr(value, "__float__"):
                return float(value)
        elif not is_tensor and hasattr(value, "__index__"):
            number = value.__index__()
            if kind == "bool" or NUMBERS[kind](number).value == number:
                return number
            raise OverflowError(f"{self.name}: {number} is out of the range of its argument {kind} {self.names[i]}")
        given = f"a {value.dtype} tensor on {value.device}" if is_tensor else f"{value!r}"
        raise TypeError(f"{self.name} takes {kind} {self.names[i]} as argument {i + 1}, not {given}")


class Kernel:
    """One tuned kernel: its source, its knobs and the host function that launches it.

    `shapes` are the input shapes it was tuned for, `minimum` the compute capability it needs; with `exact`, it uses
    instructions of that very architecture (sm_90a and the like). `signatures` are those of the functions that the
    source exports, as far as they are known.
    """

    def __init__(
        self, name, host, device, tuned_on, shapes, dtype, knobs, source, minimum=(0, 0), exact=False, signatures=()
    ):
        self.name, self.host, self.device, self.tuned_on = name, host, device, tuned_on
        self.shapes, self.dtype, self.knobs, self.source = shapes, dtype, knobs, source
        self.minimum, self.exact, self.signatures = minimum, exact, dict(signatures)
        self.loaded = None
        self.functions = {}

    def flags(self, capability=None):
        """Compiler flags; CUDA code is built for the device that it runs on and for no other."""
        if self.device == "cpu":
            return ["-O3", "-std=c++17", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-pthread"]
        major, minor = capability or torch.cuda.get_device_capability()
        if (major, minor) < self.minimum or (self.exact and (major, minor) != self.minimum):
            raise RuntimeError(
                f"{self.name} needs compute capability {'' if self.exact else 'at least '}"
                f"{self.minimum[0]}.{self.minimum[1]}; this device has {major}.{minor}"
            )
        target = f"{major}{minor}{'a' if self.exact else ''}"
        return ["-O3", "-std=c++17", "-Xptxas=-v", f"-gencode=arch=compute_{target},code=sm_{target}"]

    def library(self, capability=None, verbose=False):
        """The built library: found by content hash, or compiled beside its place and renamed into it.

        Nothing waits for a lock: two processes that build the same kernel at once each
        build their own copy, and the last rename wins with the same content.
        """
        if self.loaded is None:
            from torch.utils import cpp_extension

            flags = self.flags(capability)
            machine = [torch.__version__, str(torch.version.cuda)]
            if self.device == "cpu" and os.path.exists("/proc/cpuinfo"):  # -march=native depends on it
                with open("/proc/cpuinfo") as lines:
                    machine += sorted({line for line in lines if line.startswith(("flags", "Features"))})
            text = "\n".join([self.source, *flags, *machine])
            name = f"{self.name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
            path = os.path.join(root, name, f"{name}.so")
            if not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                options = {"is_python_module": False, "verbose": verbose}
                if "no_implicit_headers" in inspect.signature(cpp_extension.load_inline).parameters:
                    options["no_implicit_headers"] = True  # PyTorch 2.8 and later: seconds instead of a minute
                if self.device == "cpu":
                    options.update(cpp_sources=[self.source], extra_cflags=flags)
                else:
                    options.update(cpp_sources=[""], cuda_sources=[self.source], extra_cuda_cflags=flags)
                with tempfile.TemporaryDirectory(dir=root, prefix=f"{name}.") as folder:
                    cpp_extension.load_inline(name=name, build_directory=folder, **options)
                    os.replace(os.path.join(folder, f"{name}.so"), path)
            self.loaded = ctypes.CDLL(path)
        return self.loaded

    def launch(self, symbol, *arguments):
        """Call the launcher `symbol`; the current stream follows the arguments.

        Tensors become pointers and numbers what the function takes; where its signature is not known, integers are
        `long long` and floats `double`. Raises TypeError or OverflowError for arguments that it does not take,
        RuntimeError with the driver's words when it reports an error.
        """
        function = self.functions.get(symbol)
        if function is None:
            function = self.functions[symbol] = self.function(symbol)
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else None
        code = function(arguments, stream)
        if code:
            explain = getattr(self.library(), "tuner_error", None)
            if explain is None:
                raise RuntimeError(f"{self.name}: {symbol} failed with error {code}")
            explain.restype, explain.argtypes = ctypes.c_char_p, [ctypes.c_int]
            raise RuntimeError(f"{self.name}: {symbol} failed: {explain(code).decode()} (error {code})")

    def function(self, symbol):
        """What calls the C function `symbol` with arguments and a stream."""
        function = getattr(self.library(), symbol)
        if symbol in self.signatures:
            return Function(f"{self.name}: {symbol}", function, self.signatures[symbol], self.device)

        def by_value(arguments, stream):
            kinds = {int: ctypes.c_longlong, bool: ctypes.c_longlong, float: ctypes.c_double}
            typed = [kinds.get(type(a), ctypes.c_void_p) for a in arguments]
            values = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
            return function(*[kind(value) for kind, value in zip(typed, values)], ctypes.c_void_p(stream))

        return by_value


class NoBackward(torch.autograd.Function):
    """Marks a result whose gradient was asked for too late to be had, so that none is silently wrong."""

    @staticmethod
    def forward(context, result, *parameters):
        return result.view_as(result)

    @staticmethod
    def backward(context, gradient):
        raise RuntimeError("ModelNew has no backward: run it under torch.no_grad(), or train with the reference")


def aligned(x, size=16):
    """`x` itself when it is contiguous and starts on a multiple of `size` bytes, else such a copy; None stays None."""
    if x is None or (x.is_contiguous() and (is_traced([x]) or x.data_ptr() % size == 0)):
        return x
    return x.clone(memory_format=torch.contiguous_format)


def nearest_kernel(inputs):
    """The kernel tuned for these shapes, or for the nearest ones (sum of |log ratio| over the axes)."""

    def distance(kernel):
        total = 0.0
        for tuned, x in zip(kernel.shapes, inputs):
            if len(tuned) != x.dim():
                return math.inf
            total += sum(abs(math.log(max(a, 1) / max(b, 1))) for a, b in zip(tuned, x.shape))
        return total

    return KERNELS[0] if len(KERNELS) == 1 else min(KERNELS, key=distance)


def run(model, *inputs):
    """The whole forward of ModelNew: refuse what the kernel does not take, then launch it."""
    if torch.jit.is_tracing():
        raise RuntimeError("ModelNew cannot be traced by torch.jit: use torch.compile or torch.export")
    if is_traced(inputs):
        return traced(model, inputs)
    return forward(model, *inputs)


def forward(model, *inputs):
    """`run` on tensors that have values."""
    if WRAPPED is not None and any(map(WRAPPED, inputs)):
        raise RuntimeError("ModelNew does not run inside vmap or another of torch.func: call it on the whole batch")
    kernel = nearest_kernel(inputs)
    device = inputs[0].device
    if device.type != kernel.device:
        raise RuntimeError(f"{kernel.name} is a {kernel.device} kernel; the input is on {device}")
    parameters = list(model.parameters())
    for what, tensors in (("an input", inputs), ("a parameter", parameters)):
        for x in tensors:
            if x.dtype != kernel.dtype or x.device != device or x.layout != torch.strided:
                raise RuntimeError(
                    f"{kernel.name} takes strided {kernel.dtype} tensors, all on one device ({device}); "
                    f"found {what} that is {x.layout} {x.dtype} on {x.device}"
                )
    wanted = torch.is_grad_enabled()
    if wanted and any(x.requires_grad for x in inputs):
        raise RuntimeError("ModelNew has no backward: an input requires a gradient; call it under torch.no_grad()")
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            return forward(model, *inputs)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        result = kernel.host(model, kernel, *inputs)
    if wanted and any(parameter.requires_grad for parameter in parameters):
        return NoBackward.apply(result, *parameters)
    return result


def preload(capability=None, verbose=False):
    """Compile (or find) and load every kernel of this file now instead of at the first call."""
    for kernel in KERNELS:
        kernel.library(capability, verbose)
