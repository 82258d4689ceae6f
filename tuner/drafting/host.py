"""The host function of a plan: Python text that allocates, calls PyTorch for products and launches the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.drafting import calls
from tuner.drafting.axes import Axis
from tuner.drafting.functor import Functor
from tuner.drafting.graph import Constant, Input, Library, Node, Parameter, Product, Ref, View, Window
from tuner.drafting.implicit import bare_launcher
from tuner.drafting.launcher import Argument
from tuner.drafting.naming import Names
from tuner.drafting.owned import Owned
from tuner.drafting.plan import Plan
from tuner.drafting.region import Kernel
from tuner.drafting.sizes import Sizes, convolved, pooled
from tuner.errors import TemplateError

WIDTH = 120
INCLUDED = {"convolution": "convolution", "split_product": "split_product", "split_matmul": "split_product",
            "operand": "operands", "pooled_size": "operands", "implicit_boxes": "implicit"}  # fmt: skip
TORCH_TYPES = {"float": "torch.float32", "double": "torch.float64", "long long": "torch.int64"}


def host(
    name: str,
    plan: Plan,
    functors: dict[str, Functor],
    device: str,
    doc: str,
    few_rows: bool = False,
    fixed: bool = False,
) -> str:
    """The file of the host function `name`. `functors` are those of the plan's kernels, by their names.

    `few_rows` brings along what split_product calls for products of few rows. With `fixed`, numbers that depend on the
    inputs' sizes stand in the text: other sizes are refused.
    """
    return _Host(name, plan, functors, device, doc, few_rows, fixed).text()


@dataclass
class _Host:
    name: str
    plan: Plan
    functors: dict[str, Functor]
    device: str
    doc: str
    few_rows: bool
    fixed: bool
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph = self.plan.graph
        self.names = Names(
            {"model", "kernel", "torch", "math", "knobs", "workspace", "packed", "boxes", "aligned", self.name},
            frozenset(INCLUDED),
        )
        self.sizes = Sizes(self.graph, self.plan.layouts, self.names, self.lines, refuse=self.name)
        self.inputs = sorted((n for n in self.graph.nodes if isinstance(n, Input)), key=lambda node: node.index)
        self.values: dict[Ref, str] = {}
        self.checked: dict[Ref, str] = {}
        self.contiguous: set[Ref] = set()
        self.lengths: dict[Axis, Ref] = {}  # of constants, and the vectors that tell them
        self.met: set[Ref] = set()  # products whose sizes stand checked

    def text(self) -> str:
        for node in self.inputs:
            name = self.names.free(node.name)
            self.values[Ref(node.name)] = name
            self.sizes.tensors[Ref(node.name)] = name
        self._constants()
        self._ranks()
        self._mode()
        for axis, vector in self.lengths.items():
            self.sizes.known[(axis,)] = self.sizes.of(self.plan.layouts.axes(vector))
        alone = [f for f in self.functors.values() if f.kernel.name not in self.plan.ends]
        if self.device == "cuda" and any(f.kernel.family in ("rows", "columns") for f in alone):
            count = max(map(_workspace, alone))
            self._line(f"workspace = torch.empty({count}, dtype=torch.uint8, device={self.first}.device)")
        counts = {ref: calls.counted(self.graph, path, ref) for path, ref in self.graph.updates}
        for step in self.plan.steps:
            if isinstance(step, Kernel):
                self._kernel(step)
            elif isinstance(step.node, Product) and Ref(step.node.name) in self.plan.owned:
                self._own(self.plan.owned[Ref(step.node.name)])
            elif counts.get(Ref(step.node.name)) is None:
                self._call(step.node)
        for path, ref in self.graph.updates:
            more = counts[ref]
            change = f"add_({more:g})" if more is not None else f"copy_({self.value(ref)})"
            self._line(f"{attribute(path)}.{change}")
        outputs = [self._result(ref) for ref in self.graph.outputs]
        self._line(f"return {', '.join(outputs)}")
        return self._file()

    def _result(self, ref: Ref) -> str:
        """A tensor that is returned: of its own memory, for a caller writes into inputs and steps change parameters."""
        node = self.graph[ref]
        while isinstance(node, View):
            node = self.graph[node.operand]
        copied = ".clone(memory_format=torch.contiguous_format)" if isinstance(node, Input | Parameter) else ""
        return f"{self.value(ref)}{copied}"

    @property
    def first(self) -> str:
        """The first input whose elements are numbers of the workload's dtype."""
        floating = [n for n in self.inputs if "float" in n.dtype]
        if not floating:
            raise TemplateError("no input has floating-point elements")
        return self.values[Ref(floating[0].name)]

    # ---- the parts of the function --------------------------------------------------------------------

    def _constants(self) -> None:
        """Sizes that nothing but a constant tells are those of the traced workload."""
        told = {
            axis
            for node in self.graph.nodes
            if isinstance(node, Input | Parameter | Product | Window | Library)
            for axes in self.plan.layouts.of(Ref(node.name))[-1 if _is_matrix_product(node) else 0 :]
            for axis in axes
        }
        for node in self.graph.nodes:
            if not isinstance(node, Constant):
                continue
            for axis in self.plan.layouts.axes(Ref(node.name)):
                if axis in told:
                    continue
                if node.along is not None and told.issuperset(self.plan.layouts.axes(node.along)):
                    self.lengths[axis] = node.along
                else:
                    self.sizes.known[(axis,)] = str(axis.size)
                    self.fixed = True

    def _ranks(self) -> None:
        for node in self.inputs:
            name = self.values[Ref(node.name)]
            if self.fixed:
                self._line(f"if tuple({name}.shape) != {node.shape}:")
                wanted = f"sizes {node.shape}"
            else:
                self._line(f"if {name}.dim() != {len(node.shape)}:")
                wanted = f"{len(node.shape)} dimensions"
            self._line(f'    raise RuntimeError(f"{self.name} takes {name} of {wanted}, not {{tuple({name}.shape)}}")')

    def _mode(self) -> None:
        """A model that was traced in training mode updates its buffers; in the other mode it computes otherwise."""
        if self.graph.updates:
            self._line("if not model.training:")
            self._line(f'    raise RuntimeError("{self.name} is the forward of a model in training mode")')

    def value(self, ref: Ref) -> str:
        """The tensor, as an expression."""
        if ref in self.values:
            return self.values[ref]
        node = self.graph[ref]
        if isinstance(node, Parameter):
            return attribute(node.path)
        if isinstance(node, Constant):
            name = self.names.free(node.name)
            self._line(f"{name} = {node.call}.to({self.first}.device)")
            self.values[ref] = name
            return name
        raise TemplateError(f"{ref.node}: is used before it is computed")

    def operand(self, ref: Ref) -> str:
        """The tensor, contiguous and of the sizes that a kernel computes with."""
        node = self.graph[ref]
        if not isinstance(node, Input | Parameter):
            return self.value(ref) if ref in self.contiguous else f"aligned({self.value(ref)})"
        if ref not in self.checked:
            known = [axis for axes in self.plan.layouts.of(ref) for axis in axes]
            if isinstance(node, Input) and not all(self._is_known(axis) for axis in known):
                self.sizes.shape(ref)  # its dimensions are where these sizes come from
            elif isinstance(node, Parameter) and not all(map(self.sizes.can_know, known)):
                self.sizes.named(ref, f"{attribute(node.path)}.shape")
            shape = self.sizes.shape(ref)
            self.checked[ref] = f"operand({', '.join([self.value(ref), *shape])})"
        return self.checked[ref]

    def _meet(self, ref: Ref) -> None:
        """PyTorch would broadcast a product to an input of other sizes, which its own operands do not tell."""
        node = self.graph[ref]
        if not isinstance(node, Product) or ref in self.met:
            return
        axes = set(self.plan.layouts.axes(ref))
        others = [n for n in self.inputs if Ref(n.name) not in node.refs]
        if any(axes & set(self.plan.layouts.axes(Ref(n.name))) for n in others):
            self.met.add(ref)
            name, sizes = self.value(ref), ", ".join(self.sizes.shape(ref))
            self._line(f"if {name}.shape != ({sizes},):")
            self._line(f'    raise RuntimeError(f"{self.name} does not broadcast {name} of {{tuple({name}.shape)}}")')

    def _is_known(self, axis: Axis) -> bool:
        return any(axis in axes for axes in self.sizes.known)

    def _kernel(self, kernel: Kernel) -> None:
        functor = self.functors[kernel.name]
        self._launch(functor.symbol, functor.arguments, self._planes(kernel))

    def _launch(self, symbol: str, arguments: Sequence[Argument], planes: dict[str, list[str]]) -> None:
        tensors = {a.ref: self.operand(a.ref) for a in arguments if a.kind == "tensor" and a.ref is not None}
        for ref in tensors:
            self._meet(ref)
        for argument in arguments:
            if argument.kind == "result" and argument.ref is not None:
                self._allocate(argument)
        values = [self._argument(argument, tensors, planes) for argument in arguments]
        self._lines("kernel.launch(", [f'"{symbol}"', *values], ")")

    def _own(self, owned: Owned) -> None:
        """A convolution of ours: its sizes, and where no kernel is its end, its launch."""
        node, layouts = owned.node, self.plan.layouts
        name = self.value(node.x)
        self._line(f"if {name}.shape[1] != {owned.channels[0]}:")
        wanted = f"{owned.channels[0]} channels, not {{{name}.shape[1]}}"
        self._line(f'    raise RuntimeError(f"{self.name} takes {node.x.node} of {wanted}")')
        self._line(f'if knobs["{calls.prefix(node)}pieces"] == 1 and not torch.backends.cudnn.allow_tf32:')
        wanted = "computes in TF32, which torch.backends.cudnn.allow_tf32 switches off"
        self._line(f'    raise RuntimeError("{self.name} {wanted}")')
        self.operand(node.x)  # its sizes are known
        into, out = layouts.of(node.x), layouts.of(owned.ref)
        sizes = convolved(node, owned.kernel_sizes, [self.sizes.of(axes) for axes in into[2:]])
        for axes, text, word in zip(out[2:], sizes, ("depth", "height", "width")[-len(sizes) :], strict=True):
            if axes and axes not in self.sizes.known:
                size = self.names.free(word)
                self._line(f"{size} = {text}")
                self.sizes.known[axes] = size
        if out[1]:
            self.sizes.known.setdefault(out[1], str(owned.channels[1]))
        memory = str(owned.packed_bytes)
        if owned.end is not None and owned.end.family == "rows":
            lattice = [self.sizes.of(axes) for axes in out[2:]]
            strides = f", {node.stride}" if owned.is_transposed else ""
            channels = f"{self.sizes.of(out[0])} * {owned.channels[1]}"
            self._line(f'boxes = implicit_boxes(knobs, "{calls.prefix(node)}", ({", ".join(lattice)},){strides})')
            memory += f" + {channels} * boxes * 32"
        self._line(f"packed = torch.empty({memory}, dtype=torch.uint8, device={self.first}.device)")
        if owned.end is None:
            made = bare_launcher(self.plan, owned)
            self._launch(made.symbol, made.arguments, {})

    def _planes(self, kernel: Kernel) -> dict[str, list[str]]:
        """Sizes of the planes that a pooling reads and writes, three each."""
        node = kernel.window
        if node is None:
            return {}
        count = len(node.kernel)
        into = [self.sizes.of(axes) for axes in self.plan.layouts.of(node.operand)[-count:]]
        if node.fixed:
            whole = self.graph[node.operand].shape[-count:]
            self._line(f"if ({', '.join(into)},) != {whole}:")
            self._line(f'    raise RuntimeError("{self.name} pools planes of {whole} alone")')
        dims = self.plan.layouts.of(Ref(node.name))[-count:]
        out = []
        for axes, text, word in zip(dims, pooled(node, into), ("depth", "height", "width")[-count:], strict=True):
            name = self.names.free(f"out_{word}")
            self._line(f"{name} = {text}")
            if axes:
                self.sizes.known[axes] = name
            out.append(name)
        ones = ["1"] * (3 - count)
        return {"in": [*ones, *into], "out": [*ones, *out]}

    def _allocate(self, argument: Argument) -> None:
        assert argument.ref is not None
        ref = argument.ref
        kind = argument.declared.removesuffix("*")
        dtype = TORCH_TYPES.get(kind, f"{self.first}.dtype")
        order = self.plan.orders.get(ref)
        shape = self.sizes.shape(ref) if order is None else [self.sizes.of([axis]) for axis in order]
        name = self.names.free(f"{ref.node}_{ref.field}" if ref.field else ref.node)
        sizes = ", ".join(shape) if shape else "()"
        self._line(f"{name} = torch.empty({sizes}, dtype={dtype}, device={self.first}.device)")
        self.values[ref] = name
        self.contiguous.add(ref)
        if order is None:
            self.sizes.tensors[ref] = name

    def _argument(self, argument: Argument, tensors: dict[Ref, str], planes: dict[str, list[str]]) -> str:
        match argument.kind:
            case "weight":
                assert argument.ref is not None
                return f"operand({self.value(argument.ref)}, {', '.join(map(str, self.graph[argument.ref].shape))})"
            case "packed":
                return "packed"
            case "packed_bytes":
                return "packed.numel()"
            case "tensor" | "result":
                assert argument.ref is not None
                return tensors[argument.ref] if argument.kind == "tensor" else self.values[argument.ref]
            case "size":
                return self.sizes.of(argument.axes)
            case "plane":
                return planes[argument.side][argument.dimension]
        return "workspace" if self.device == "cuda" else "None"

    def _call(self, node: Node) -> None:
        ref = Ref(node.name)
        if isinstance(node, Product):
            head, parts = calls.product(node, self.graph, self.value, self.device, ref in self.plan.last)
        elif isinstance(node, View):
            self._slice(node)
            before = self.graph[node.operand].shape
            head, parts = calls.view(node, self.value(node.operand), before, self.sizes.shape), []
        else:
            head, parts = calls.operator(node, self.graph, self.value), []
        name = self.names.free(node.name)
        if parts:
            is_turned = isinstance(node, Product) and node.is_convolution and ref not in self.plan.last
            end = ").contiguous()" if is_turned else ")"
            self._lines(f"{name} = {head}(", parts, end)
        else:
            self._line(f"{name} = {head}")
        self.values[ref] = self.sizes.tensors[ref] = name
        if isinstance(node, Product):
            self.contiguous.add(ref)

    def _slice(self, node: View) -> None:
        """The sizes of what is sliced, which the text of a slice holds."""
        whole = self.graph[node.operand].shape
        cut = [
            k for k, size in enumerate(whole) if node.kind == "slice" and (size, 1) != (node.shape[k], node.steps[k])
        ]
        for k in cut:
            x = self.value(node.operand)
            self._line(f"if {x}.shape[{k}] != {whole[k]}:")
            self._line(
                f'    raise RuntimeError(f"{self.name} is drafted for a size of {whole[k]}, not {{{x}.shape[{k}]}}")'
            )

    # ---- text -----------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self.lines.append(text)

    def _lines(self, head: str, parts: Sequence[str], end: str) -> None:
        """A call, on one line or with its arguments on lines of their own."""
        one = f"{head}{', '.join(parts)}{end}"
        if len(one) + 4 <= WIDTH:
            self._line(one)
            return
        self._line(head)
        self.lines += [f"    {part}," for part in parts]
        self._line(end)

    def _file(self) -> str:
        body = "\n".join(f"    {line}" for line in self.lines)
        uses = {name: file for name, file in INCLUDED.items() if f"{name}(" in body}
        files: dict[str, list[str]] = {}
        for name, file in uses.items():
            files.setdefault(file, []).append(name)
        imports = "".join(f"from {file} import {', '.join(sorted(names))}\n" for file, names in sorted(files.items()))
        if self.few_rows:
            imports = (
                "from few_rows import FewRows, few_rows_serves  # noqa: F401  split_product calls them\n" + imports
            )
        arguments = ", ".join(self.values[Ref(node.name)] for node in self.inputs)
        knobs = "    knobs = kernel.knobs\n" if "knobs[" in body else ""
        return (
            f'"""Host side of {self.name}."""\n\nimport torch\n{imports}\n\n'
            f'def {self.name}(model, kernel, {arguments}):\n    """{self.doc}"""\n{knobs}{body}\n'
        )


def _is_matrix_product(node: Node) -> bool:
    return isinstance(node, Product) and not node.is_convolution


def attribute(path: str) -> str:
    """A tensor of the model, as an expression; modules of a list are reached by their numbers."""
    module, _, name = path.rpartition(".")
    if all(word.isidentifier() for word in path.split(".")):
        return f"model.{path}"
    return f'model.get_submodule("{module}").{name}' if name.isidentifier() else f'model.get_parameter("{path}")'


def _workspace(functor: Functor) -> int:
    """Bytes, as rows_space.py and columns_space.py have them."""
    if functor.kernel.family == "rows":
        return (1 << 17) + functor.rounds * 8192 * 32
    return functor.rounds * (1 << 18) * 32 if functor.kernel.family == "columns" else 0
