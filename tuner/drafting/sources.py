"""The sources of a draft: the functors in a header, and for each device what includes them with its schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.drafting.functor import Functor
from tuner.drafting.naming import camel
from tuner.drafting.region import Kernel
from tuner.space import Knob


def schedule_name(kernel: Kernel, kernels: Sequence[Kernel]) -> str:
    return "Schedule" if len(kernels) == 1 else f"{camel(kernel.name)}Schedule"


def header(
    title: Sequence[str], functors: Sequence[Functor], ahead: Sequence[str] = (), after: Sequence[str] = ()
) -> str:
    """The functors and launchers, alike on every device, and other parts ahead and after them."""
    lines = [f"// {line}".rstrip() for line in title]
    lines += [
        "// A schedule is the including source's; families/functor.hpp says what a family asks of a functor.",
        "#pragma once", "#include <climits>", "#include <cmath>", "", '#include "core/divide.hpp"',
        '#include "families/functor.hpp"',
        '#include "numerics/element.hpp"', '#include "numerics/functions.hpp"',
    ]  # fmt: skip
    if any(functor.kernel.pooled for functor in functors):
        lines.insert(-2, '#include "families/window_at.hpp"')
    parts = ["\n".join(lines), *ahead]
    for functor in functors:
        geometry = _geometry(functor.kernel)
        parts += [part for part in (geometry, functor.struct, functor.launcher) if part]
    return "\n\n".join([*parts, *after]) + "\n"


def _geometry(kernel: Kernel) -> str:
    window = kernel.window
    if window is None:
        return ""
    more = 3 - len(window.kernel)

    def three(values: tuple[int, ...], filling: int) -> str:
        return f"{{{', '.join(map(str, (filling,) * more + values))}}}"

    return (
        f"struct Fused{camel(kernel.name)}Windows {{  // depth, height, width\n"
        f"  static constexpr int kernel[3] = {three(window.kernel, 1)}, stride[3] = {three(window.stride, 1)};\n"
        f"  static constexpr int padding[3] = {three(window.padding, 0)}, dilation[3] = {three(window.dilation, 1)};\n"
        f"  static constexpr Pool pool = Pool::{window.monoid};\n"
        "};"
    )


@dataclass(frozen=True)
class Schedule:
    """The knobs of a kernel in one source: of its family, in the header `file`; what is ahead of their names."""

    file: str
    struct: str
    prefix: str
    knobs: tuple[Knob, ...]

    def lines(self) -> list[str]:
        lines = []
        for knob in self.knobs:
            macro, words = knob.name.upper(), ""
            if isinstance(knob.default, str):
                default = knob.choices.index(knob.default)
                words = f": {', '.join(f'{k} {choice}' for k, choice in enumerate(knob.choices))}"
            else:
                default = int(knob.default)
            lines += [f"#ifndef {macro}  // {knob.doc}{words}", f"#define {macro} {default}", "#endif"]
        lines.append(f"struct {self.struct} {{")
        for knob in self.knobs:
            kind = "bool" if isinstance(knob.default, bool) else "int"
            lines.append(f"  static constexpr {kind} {knob.name.removeprefix(self.prefix)} = {knob.name.upper()};")
        return [*lines, "};"]


def source(title: str, device: str, schedules: Sequence[Schedule], includes: Sequence[str], header: str) -> str:
    """The source of one device: schedules, then the `header` with what they are for."""
    ending = "cuh" if device == "cuda" else "hpp"
    files = sorted({f"{one.file}.{ending}" for one in schedules} | set(includes))
    if device == "cuda" and not files:
        files = ["core/launch.cuh"]
    parts = [[f"// {title}", *(f'#include "{name}"' for name in files)]]
    if device == "cpu":
        parts.append(['extern "C" const char* tuner_error(int) { return "it does not take these sizes"; }'])
    parts += [one.lines() for one in schedules]
    if schedules:
        parts.append([f'#include "{header}"'])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
