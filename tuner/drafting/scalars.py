"""Scalar expressions: what a Map computes for one element. Pure data.

A Scalar is an operand, a constant, or a function of Scalars. `FUNCTIONS` names every function with its number of
arguments; numerics/functions.hpp has them in C under the same names, `interpret` in torch.
"""

from __future__ import annotations

from dataclasses import dataclass

FUNCTIONS: dict[str, int] = {
    # arithmetic
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "neg": 1, "abs": 1, "square": 1, "reciprocal": 1,
    "maximum": 2, "minimum": 2,  # NaN wins
    "fmod": 2, "floor": 1, "ceil": 1, "round": 1, "trunc": 1, "sign": 1,
    # elementary
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "log2": 1, "exp2": 1, "sqrt": 1, "rsqrt": 1,
    "sin": 1, "cos": 1, "tan": 1, "tanh": 1, "sinh": 1, "cosh": 1, "erf": 1, "atan": 1,
    # activations
    "relu": 1, "leaky_relu": 2,  # x, negative slope
    "elu": 4,  # x, alpha, scale, input_scale
    "gelu": 1, "gelu_tanh": 1, "sigmoid": 1, "silu": 1, "mish": 1, "log_sigmoid": 1,
    "softplus": 3,  # x, beta, threshold
    "softsign": 1, "hardswish": 1, "hardsigmoid": 1,
    "clamp": 3,  # x, low, high; NaN stays
    # truth values, which are 0 and 1
    "lt": 2, "le": 2, "gt": 2, "ge": 2, "eq": 2, "ne": 2, "logical_and": 2, "logical_or": 2, "logical_not": 1,
    "isnan": 1, "isinf": 1,
    "where": 3,
    # of a reduction "max_sum"
    "log_sum_exp": 2,  # max, sum -> log of the sum of exp(x); an infinite max is the result
    "exp_less": 2,  # x, max -> exp(x - max), which is what softmax divides
}  # fmt: skip


@dataclass(frozen=True)
class Scalar:
    """`name` is a function's, "operand" or "constant"; `number` is the operand's place or the constant's value."""

    name: str
    arguments: tuple[Scalar, ...] = ()
    number: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("operand", "constant") and FUNCTIONS.get(self.name) != len(self.arguments):
            raise ValueError(f"{self.name!r} is no function of {len(self.arguments)} arguments")

    @staticmethod
    def operand(k: int) -> Scalar:
        return Scalar("operand", number=k)

    @staticmethod
    def constant(value: float) -> Scalar:
        return Scalar("constant", number=float(value))

    @staticmethod
    def of(name: str, *arguments: Scalar | float) -> Scalar:
        """A function; numbers among the arguments become constants."""
        return Scalar(name, tuple(a if isinstance(a, Scalar) else Scalar.constant(a) for a in arguments))

    def with_operands(self, replacements: tuple[Scalar, ...]) -> Scalar:
        """The expression with operand k replaced by replacements[k]."""
        if self.name == "operand":
            return replacements[int(self.number)]
        if not self.arguments:
            return self
        return Scalar(self.name, tuple(a.with_operands(replacements) for a in self.arguments), self.number)

    def operands(self) -> set[int]:
        if self.name == "operand":
            return {int(self.number)}
        return {k for argument in self.arguments for k in argument.operands()}
