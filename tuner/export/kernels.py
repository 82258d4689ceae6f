"""Hugging Face's kernel-builder: build.toml, the source, a binding that registers its launchers, Python, a test.

The launchers become operators of the extension; the package's ModelNew calls them where the single file goes through
ctypes. The rest of its host code is the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuner.export.form import LOADED, Form, identifier
from tuner.export.kernelbench import ExportError
from tuner.export.module import test_file
from tuner.export.submission import submission
from tuner.records import Record
from tuner.template import Template, render
from tuner.template.render import Candidate
from tuner.template.signatures import Parameter, Signature, signatures


def form(template: Template, records: Sequence[Record], candidate: Candidate, reference: str) -> Form:
    """Raises ExportError for several winners, whose launchers would share names, and for what has no signature."""
    if len(records) != 1:
        raise ExportError("kernels: holds one winner; give the config one shape")
    record, name = records[0], identifier(template.name)
    variant = template.variant(record.point.variant)
    text = render.kernel_source(template, variant, record.point, record.workload.dtype)
    launchers = {n: each for n, each in signatures(text).items() if n != "tuner_error"}
    if not launchers:
        raise ExportError(f"kernels: {template.folder / variant.source} has no launcher whose signature can be told")
    backend = variant.device
    source = f"{name}_{backend}/{name}.{'cu' if backend == 'cuda' else 'cpp'}"
    capability = ""
    if backend == "cuda":
        major, minor = variant.minimum
        exact = f"{major}.{minor}{'a' if variant.exact else ''}"
        capability = f'cuda-capabilities = ["{exact}"]\n' if variant.minimum != (0, 0) else ""
    files = {
        "build.toml": _BUILD.format(name=name.replace("_", "-"), key=name, backend=backend, source=source,
                                    capability=capability),
        "flake.nix": _FLAKE,
        "README.md": submission(f"torch-ext/{name}", records, {variant.name: variant.doc}),
        source: text,
        "torch-ext/torch_binding.cpp": binding(launchers, backend),
        f"torch-ext/{name}/__init__.py": _INIT,
        f"torch-ext/{name}/model_new.py": candidate.text,
        "tests/reference.py": reference,
        f"tests/test_{name}.py": test_file(name, records),
    }  # fmt: skip
    probe = LOADED + _PROBE
    for key, value in (("NAME", name), ("SOURCE", source), ("BACKEND", backend)):
        probe = probe.replace(f"@{key}@", value)
    return Form(files=files, probe=probe)


def binding(launchers: dict[str, Signature], backend: str) -> str:
    """C++ that registers each launcher as an operator of the same name."""
    cuda = backend == "cuda"
    parts = [_INCLUDES + ("#include <c10/cuda/CUDAStream.h>\n" if cuda else "") + "\nnamespace {\n" + _HELPERS]
    defined = []
    for name, each in launchers.items():
        stream = ["c10::cuda::getCurrentCUDAStream().stream()" if cuda else "nullptr"] if each.takes_stream else []
        given = [f"{_cpp(p)} a{i}" for i, p in enumerate(each.arguments)]
        passed = [_passed(p, i) for i, p in enumerate(each.arguments)] + stream
        code = f"{name}({', '.join(passed)})"
        body = f"check({code});" if each.returns != "void" else f"{code};"
        parts.append(f"void op_{name}({', '.join(given)}) {{\n  {body}\n}}\n")
        schema = ", ".join(_schema(p, i) for i, p in enumerate(each.arguments))
        defined.append(
            f'  ops.def("{name}({schema}) -> ()");\n  ops.impl("{name}", c10::DispatchKey::{_key(cuda)}, &op_{name});'
        )
    declared = "".join(f'extern "C" {_declared(name, each)};\n' for name, each in launchers.items())
    declared += 'extern "C" const char* tuner_error(int code);\n'
    body = "\n".join(parts[1:])
    registered = "\n".join(defined)
    return (
        f"{parts[0].replace('namespace {', declared + chr(10) + 'namespace {', 1)}\n{body}\n}}  // namespace\n\n"
        f"TORCH_LIBRARY_EXPAND(TORCH_EXTENSION_NAME, ops) {{\n{registered}\n}}\n\n"
        "REGISTER_EXTENSION(TORCH_EXTENSION_NAME)\n"
    )


def _key(cuda: bool) -> str:
    return "CUDA" if cuda else "CPU"


def _declared(name: str, each: Signature) -> str:
    kinds = ["void*" if p.is_pointer else p.type for p in each.parameters]
    return f"{each.returns} {name}({', '.join(kinds)})"


def _cpp(parameter: Parameter) -> str:
    if parameter.is_pointer:
        return "const std::optional<at::Tensor>&"
    return "double" if parameter.type in ("float", "double") else "bool" if parameter.type == "bool" else "int64_t"


def _passed(parameter: Parameter, i: int) -> str:
    return f"pointer(a{i})" if parameter.is_pointer else f"static_cast<{parameter.type}>(a{i})"


def _schema(parameter: Parameter, i: int) -> str:
    """Which tensors a launcher writes its signature does not tell: each may be."""
    name = parameter.name or f"a{i}"
    if parameter.is_pointer:
        return f"Tensor(a{i}!)? {name}_"
    return f"{'float' if _cpp(parameter) == 'double' else 'bool' if parameter.type == 'bool' else 'int'} {name}_"


_BUILD = """\
[general]
name = "{name}"
version = 1
license = "mit"
backends = ["{backend}"]

[torch]
src = ["torch-ext/torch_binding.cpp"]

[kernel.{key}]
backend = "{backend}"
depends = ["torch"]
{capability}src = ["{source}"]
"""

_FLAKE = """\
{
  description = "A tuned kernel";

  inputs.kernel-builder.url = "github:huggingface/kernels";

  outputs =
    { self, kernel-builder }:
    kernel-builder.lib.genKernelFlakeOutputs {
      inherit self;
      path = ./.;
    };
}
"""

_INCLUDES = """\
#include <optional>

#include <torch/library.h>

#include "registration.h"
"""

_HELPERS = """
void* pointer(const std::optional<at::Tensor>& tensor) { return tensor ? tensor->data_ptr() : nullptr; }

void check(int code) { TORCH_CHECK(code == 0, tuner_error(code), " (error ", code, ")"); }
"""

_INIT = '''\
"""A tuned kernel: `ModelNew` has the reference's constructor, parameters and result."""

from . import model_new
from ._ops import ops


def _function(kernel, symbol):
    """The launcher `symbol` as an operator of this extension; it raises what goes wrong, and finds the stream."""
    operator = getattr(ops, symbol)
    return lambda arguments, stream: operator(*arguments)


model_new.Kernel.function = _function
ModelNew = model_new.ModelNew

__all__ = ["ModelNew"]
'''

# What kernel-builder adds: registration.h, _ops.py and the built extension.
_PROBE = '''\
import hashlib
import types

import torch
from torch.utils import cpp_extension

PLACE = "@PLACE@"
REGISTRATION = """
#pragma once
#include <torch/library.h>
#define TORCH_LIBRARY_EXPAND(NAME, MODULE) TORCH_LIBRARY(NAME, MODULE)
#define REGISTER_EXTENSION(NAME)
"""
sources = [os.path.join(PLACE, "torch-ext/torch_binding.cpp"), os.path.join(PLACE, "@SOURCE@")]
texts = [open(path).read() for path in sources]
name = "@NAME@_" + hashlib.sha256("".join(texts).encode()).hexdigest()[:16]
root = os.path.join(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root(), name)
library = os.path.join(root, name + ".so")
if os.path.exists(library):
    torch.ops.load_library(library)
else:
    os.makedirs(os.path.join(root, "include"), exist_ok=True)
    with open(os.path.join(root, "include", "registration.h"), "w") as file:
        file.write(REGISTRATION)
    flags = ["-O3", "-std=c++20", "-DTORCH_EXTENSION_NAME=" + name]
    if "@BACKEND@" == "cpu":
        flags += ["-march=native", "-ffp-contract=fast", "-fno-math-errno", "-pthread"]
    cpp_extension.load(name=name, sources=sources, extra_cflags=flags, extra_cuda_cflags=["-O3", "-std=c++20"],
                       extra_include_paths=[os.path.join(root, "include")], build_directory=root,
                       is_python_module=False)
package = "@NAME@"
made = types.ModuleType(package + "._ops")
made.ops = getattr(torch.ops, name)
sys.modules[package + "._ops"] = made
ModelNew = _file("torch-ext/@NAME@/__init__.py").ModelNew
'''
