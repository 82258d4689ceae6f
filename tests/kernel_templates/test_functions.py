"""numerics/functions.hpp on the CPU: every scalar function, as PyTorch computes it, in loops that become vectors."""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tuner import template
from tuner.backends import toolchain
from tuner.drafting.scalars import FUNCTIONS

pytestmark = pytest.mark.slow

INCLUDE = template.shipped_folder() / "include"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-I", str(INCLUDE))  # as candidates are built
CALLS = {"pow", "fmod", "sin", "cos", "tan", "sinh", "cosh", "atan"}  # the library's, one element at a time
MOST = 3e38  # the largest magnitude compared: beyond it, one order of operations overflows before another

Functions = Callable[..., torch.Tensor]


def source(kind: str = "float") -> str:
    """A loop over arrays for each function, one a line."""
    inputs = ", ".join(f"const {kind}* __restrict {letter}" for letter in "abcd")
    lines = ['#include "numerics/functions.hpp"']
    for name, count in FUNCTIONS.items():
        arguments = ", ".join(f"{letter}[i]" for letter in "abcd"[:count])
        lines.append(
            f'extern "C" void f_{name}({inputs}, {kind}* __restrict y, long long n) '
            f"{{ for (long long i = 0; i < n; i++) y[i] = fn::{name}({arguments}); }}"
        )
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def functions() -> Functions:
    """Calls a function by name, on tensors of one shape and numbers."""
    return called("float")


@pytest.fixture(scope="module")
def wide_functions() -> Functions:
    """The same in double."""
    return called("double")


def called(kind: str) -> Functions:
    if not toolchain.compiler():
        pytest.skip("no C++ compiler")
    library = toolchain.build(source(kind), FLAGS)

    def call(name: str, x: torch.Tensor, *others: torch.Tensor | float) -> torch.Tensor:
        given = [x, *(o if isinstance(o, torch.Tensor) else torch.full_like(x, o) for o in others)]
        given += [x] * (4 - len(given))
        y = torch.empty_like(x)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*given, y)]
        getattr(library, f"f_{name}")(*pointers, ctypes.c_longlong(x.numel()))
        return y

    return call


def arguments() -> torch.Tensor:
    """Floats of every exponent and sign, many of those near 0, and all special values; no multiple of a vector."""
    bits = torch.arange(0, 2**32, 70001, dtype=torch.int64).to(torch.int32)
    near = [torch.linspace(-width, width, 40001) for width in (1e-3, 1.0, 10.0, 110.0)]
    return torch.cat([bits.view(torch.float32), *near, torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan])])


X = arguments()
OTHER = X.roll(12347)

# name: more arguments, the function in torch, units in the last place that it may be off for a result of normal size
# and, where that says nothing since its terms cancel, the same by absolute size
CASES: dict[str, tuple[tuple[float | torch.Tensor, ...], Callable[..., torch.Tensor], float, float]] = {
    "add": ((OTHER,), torch.add, 0.51, 0),
    "sub": ((OTHER,), torch.sub, 0.51, 0),
    "mul": ((OTHER,), torch.mul, 0.51, 0),
    "div": ((OTHER,), torch.div, 0.51, 0),
    "pow": ((1.7,), torch.pow, 1, 0),
    "neg": ((), torch.neg, 0, 0),
    "abs": ((), torch.abs, 0, 0),
    "square": ((), torch.square, 0.51, 0),
    "reciprocal": ((), torch.reciprocal, 0.51, 0),
    "maximum": ((OTHER,), torch.maximum, 0, 0),
    "minimum": ((OTHER,), torch.minimum, 0, 0),
    "fmod": ((0.75,), torch.fmod, 0, 0),
    "floor": ((), torch.floor, 0, 0),
    "ceil": ((), torch.ceil, 0, 0),
    "round": ((), torch.round, 0, 0),
    "trunc": ((), torch.trunc, 0, 0),
    "sign": ((), torch.sign, 0, 0),
    "exp": ((), torch.exp, 1, 0),
    "expm1": ((), torch.expm1, 2, 0),
    "log": ((), torch.log, 1, 0),
    "log1p": ((), torch.log1p, 1, 0),
    "log2": ((), torch.log2, 1, 0),
    "exp2": ((), torch.exp2, 1, 0),
    "sqrt": ((), torch.sqrt, 0.51, 0),
    "rsqrt": ((), torch.rsqrt, 1.5, 0),
    "sin": ((), torch.sin, 1, 0),
    "cos": ((), torch.cos, 1, 0),
    "tan": ((), torch.tan, 2, 0),
    "tanh": ((), torch.tanh, 3, 0),
    "sinh": ((), torch.sinh, 2, 0),
    "cosh": ((), torch.cosh, 2, 0),
    "erf": ((), torch.erf, 1, 0),
    "atan": ((), torch.atan, 1, 0),
    "relu": ((), F.relu, 0, 0),
    "leaky_relu": ((0.25,), lambda x, slope: F.leaky_relu(x, slope), 0, 0),
    "elu": ((1.5, 1.25, 1.0), lambda x, alpha, scale, _: F.elu(x, alpha) * scale, 2.5, 0),
    "gelu": ((), F.gelu, 0, 2e-7),
    "gelu_tanh": ((), lambda x: F.gelu(x, approximate="tanh"), 0, 4e-7),
    "sigmoid": ((), torch.sigmoid, 2.5, 0),
    "silu": ((), F.silu, 2.5, 1e-36),
    "mish": ((), F.mish, 4, 1e-36),
    "log_sigmoid": ((), F.logsigmoid, 2, 0),
    "softplus": ((2.0, 10.0), F.softplus, 2, 0),
    "softsign": ((), F.softsign, 2, 0),
    "hardswish": ((), F.hardswish, 2.5, 0),
    "hardsigmoid": ((), F.hardsigmoid, 1.5, 0),
    "clamp": ((-1.0, 2.0), torch.clamp, 0, 0),
    "lt": ((OTHER,), torch.lt, 0, 0),
    "le": ((OTHER,), torch.le, 0, 0),
    "gt": ((OTHER,), torch.gt, 0, 0),
    "ge": ((OTHER,), torch.ge, 0, 0),
    "eq": ((OTHER,), torch.eq, 0, 0),
    "ne": ((OTHER,), torch.ne, 0, 0),
    "logical_and": ((OTHER,), torch.logical_and, 0, 0),
    "logical_or": ((OTHER,), torch.logical_or, 0, 0),
    "logical_not": ((), torch.logical_not, 0, 0),
    "isnan": ((), torch.isnan, 0, 0),
    "isinf": ((), torch.isinf, 0, 0),
    "where": ((2.0, 3.0), lambda x, a, b: torch.where(x != 0, a, b), 0, 0),
    "log_sum_exp": ((2.0,), lambda max, sum: torch.where(max.isinf(), max, max + sum.log()), 1, 2e-7),
    "exp_less": ((3.0,), lambda x, max: (x.float() - max).double().exp(), 1, 0),
}


def test_every_scalar_function_is_tried() -> None:
    assert set(CASES) == set(FUNCTIONS)


def spacing(x: torch.Tensor) -> torch.Tensor:
    """Distance from each float to the next larger magnitude."""
    return (x.abs().nextafter(torch.tensor(math.inf)) - x.abs()).double()


@pytest.mark.parametrize("name", CASES)
def test_a_function_is_as_exact_as_it_says(name: str, functions: Functions) -> None:
    others, function, units, absolute = CASES[name]
    found = functions(name, X, *others)
    tensors = [o if isinstance(o, torch.Tensor) else torch.full_like(X, o) for o in others]
    scalars = [o.double() if isinstance(o, torch.Tensor) else o for o in others]
    wanted = function(X.double(), *(tensors if name in ("pow", "log_sum_exp", "where") else scalars)).double()
    assert torch.equal(found.isnan(), wanted.isnan())
    is_normal = (wanted.abs() > 2.0**-126) & (wanted.abs() < MOST) & (X.abs() < MOST / 8)
    error = (found.double() - wanted).abs()
    allowed = units * spacing(wanted.float()) + absolute * (1 + X.abs().double())
    excess = torch.where(is_normal, error - allowed, -1.0)
    assert excess.max() <= 0, f"{name}({X[excess.argmax()].item()!r})"


@pytest.mark.parametrize("name", CASES)
def test_a_function_in_double_is_pytorch_s(name: str, wide_functions: Functions) -> None:
    """Where its terms cancel, PyTorch's own is as far off."""
    others, function, *_ = CASES[name]
    x = torch.cat([torch.linspace(-width, width, 4001, dtype=torch.float64) for width in (1e-3, 1.0, 10.0, 110.0)])
    x = torch.cat([x, torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan], dtype=torch.float64)])
    given = [x.roll(1234) if isinstance(o, torch.Tensor) else o for o in others]
    tensors = [o if isinstance(o, torch.Tensor) else torch.full_like(x, o) for o in given]
    if name == "exp_less":
        wanted = (x - others[0]).exp()
    else:
        wanted = function(x, *(tensors if name in ("pow", "log_sum_exp", "where") else given)).double()
    torch.testing.assert_close(wide_functions(name, x, *given), wanted, rtol=1e-13, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("special", [math.inf, -math.inf, math.nan, 0.0])
def test_special_values_go_where_pytorch_sends_them(name: str, special: float, functions: Functions) -> None:
    others, function, *_ = CASES[name]
    x = torch.full((21,), special)  # a vector and a rest
    given = [o[: len(x)] if isinstance(o, torch.Tensor) else o for o in others]
    tensors = [o if isinstance(o, torch.Tensor) else torch.full_like(x, o) for o in given]
    wanted = function(x.double(), *(tensors if name in ("pow", "log_sum_exp", "where") else given)).float()
    torch.testing.assert_close(functions(name, x, *given), wanted, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_nan_wins_maximum_minimum_and_clamp(number: float, functions: Functions) -> None:
    x, other = torch.tensor([math.nan, 1.0] * 10), torch.tensor([number] * 20)
    for name, function in (("maximum", torch.maximum), ("minimum", torch.minimum)):
        torch.testing.assert_close(functions(name, x, other), function(x, other), equal_nan=True)
        torch.testing.assert_close(functions(name, other, x), function(other, x), equal_nan=True)
    assert functions("clamp", x, 2.0, 0.5).tolist()[1::2] == [0.5] * 10
    assert functions("clamp", x, 2.0, 0.5)[::2].isnan().all()


def test_an_infinite_maximum_is_the_logarithm_of_the_sum(functions: Functions) -> None:
    max, sum = torch.tensor([math.inf, -math.inf, math.inf, math.nan]), torch.tensor([math.nan, 0.0, 1.0, 1.0])
    assert functions("log_sum_exp", max, sum).tolist()[:3] == [math.inf, -math.inf, math.inf]
    assert functions("log_sum_exp", max, sum)[3].isnan()


def test_loops_become_vectors(tmp_path: Path) -> None:
    if not toolchain.compiler() or not toolchain.compiler_version().startswith("gcc"):
        pytest.skip("no GCC")
    file = tmp_path / "functions.cpp"
    file.write_text(source())
    command = [*toolchain.compiler(), "-std=c++17", *FLAGS, "-fopt-info-vec", "-c", "-o", "/dev/null", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    vectors = {int(line) for line in re.findall(r"functions\.cpp:(\d+):\d+: optimized: loop vectorized", told)}
    assert {name for line, name in enumerate(FUNCTIONS, 2) if line not in vectors} == CALLS
