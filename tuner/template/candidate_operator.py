# ---- operator: the whole forward as one operation of PyTorch, for torch.compile, torch.export and fake tensors ----

MODELS = weakref.WeakValueDictionary()  # by the name that stands for a model in a graph
NAMES = iter(map(str, range(2**62)))
HAS_OPERATORS = hasattr(torch.library, "register_fake") and hasattr(torch.compiler, "is_compiling")  # 2.4 and later
WRAPPED = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", None)


def registered(model_class):
    """The class, whose models have names: a graph holds tensors and texts, and no models.

    One that is copied or unpickled gets a name of its own.
    """
    construct, restore = model_class.__init__, model_class.__setstate__

    def named(model):
        model.name_in_graphs = next(NAMES)
        MODELS[model.name_in_graphs] = model
        model_class.operation = operation() if HAS_OPERATORS else None

    @functools.wraps(construct)
    def __init__(self, *arguments, **keywords):
        construct(self, *arguments, **keywords)
        named(self)

    def __setstate__(self, state):
        restore(self, state)
        named(self)

    model_class.__init__, model_class.__setstate__ = __init__, __setstate__
    return model_class


@functools.lru_cache(None)
def operation():
    """`torch.ops.tuner.NAME(model's name, inputs, parameters and buffers) -> results`, defined at its first use."""
    text = "".join(f"{kernel.name} {kernel.knobs} {kernel.source}" for kernel in KERNELS)
    name = f"{KERNELS[0].name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    while hasattr(torch.ops.tuner, name):  # this file was executed before
        name += "_"
    library = torch.library.Library("tuner", "FRAGMENT")
    library.define(f"{name}(str model, Tensor[] inputs, Tensor[] state) -> Tensor[]")
    library.impl(name, operate, "CompositeExplicitAutograd")
    torch.library.register_fake(f"tuner::{name}", operate_on_fakes, lib=library)
    MODELS.library = library  # which takes the operation with it when it goes
    return getattr(torch.ops.tuner, name).default


def is_traced(inputs):
    """Whether a graph is being made of what is called, or the inputs only stand for tensors."""
    compiling = HAS_OPERATORS and torch.compiler.is_compiling()
    return compiling or any(type(x) not in (torch.Tensor, nn.Parameter) for x in inputs)


def traced(model, inputs):
    """The forward as an operation in a graph; its result has no gradient."""
    if not HAS_OPERATORS:
        raise RuntimeError("ModelNew takes plain tensors alone: in graphs, and on fakes, it needs PyTorch 2.4 or later")
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        raise RuntimeError("ModelNew has no backward: an input requires a gradient; call it under torch.no_grad()")
    state = [x.detach() for x in (*model.parameters(), *model.buffers())]
    results = model.operation(model.name_in_graphs, [x.detach() for x in inputs], state)
    return results[0] if len(results) == 1 else tuple(results)


def operate(name, inputs, state):
    """The operation on tensors: the model's own forward, with the parameters and buffers that are given."""
    model = named_model(name)
    own = [*model.parameters(), *model.buffers()]
    if any(mine.data_ptr() != given.data_ptr() for mine, given in zip(own, state)):
        model = with_state(model, dict(zip(map(id, own), state)))
    given = {x.untyped_storage().data_ptr() for x in (*inputs, *state)}
    with torch.no_grad():
        results = as_list(forward(model, *inputs))
    return [x.clone() if x.untyped_storage().data_ptr() in given else x for x in results]


def operate_on_fakes(name, inputs, state):
    """What the results will look like: the host function on tensors without values, launching nothing."""
    model = named_model(name)
    own = [*model.parameters(), *model.buffers()]
    kernel = copy.copy(nearest_kernel(inputs))
    kernel.launch = lambda symbol, *arguments: None
    with torch.no_grad():
        results = as_list(kernel.host(with_state(model, dict(zip(map(id, own), state))), kernel, *inputs))
    return [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device) for x in results]


def as_list(results):
    return [results] if isinstance(results, torch.Tensor) else list(results)


def named_model(name):
    model = MODELS.get(name)
    if model is None:
        raise RuntimeError("the ModelNew that this graph was made of is gone: keep it, or make the graph again")
    return model


def with_state(module, given):
    """A copy of the module with other parameters and buffers, by their ids, and copies of all else that it holds."""
    other = module.__class__.__new__(module.__class__)
    other.__dict__.update((key, copy.copy(value)) for key, value in module.__dict__.items())
    for tensors in (other._parameters, other._buffers):
        tensors.update((key, given.get(id(x), x)) for key, x in tensors.items())
    other._modules.update((key, inner and with_state(inner, given)) for key, inner in other._modules.items())
    return other
